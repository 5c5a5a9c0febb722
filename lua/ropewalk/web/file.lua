-- SPDX-License-Identifier: MIT
--- The response that a file is: conditions, ranges, and the bytes by sendfile.
--- Small files are read and go out with the head in one write.

local conditional = require "ropewalk.web.conditional"
local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local mime = require "ropewalk.web.mime"
local range = require "ropewalk.web.range"
local response = require "ropewalk.web.response"

local error, ipairs, math, string, table, tostring, type =
  error, ipairs, math, string, table, tostring, type
local _ENV <const> = nil

local ACCEPT_RANGES = { "Accept-Ranges", "bytes" }
local NOSNIFF = { "X-Content-Type-Options", "nosniff" }
local INLINE = 65536 -- bytes up to which a file is read into memory

local M = {}

local errors = { EACCES = 403, EPERM = 403, EMFILE = 503, ENFILE = 503, ENOMEM = 503,
                 EIO = 500 }

--- The response for a file that could not be opened.
---@param code string
---@return ropewalk.web.Response
function M.refused(code)
  return response.error(errors[tostring(code)] or 404)
end

local function etag_of(file)
  return string.format('"%x-%x.%x-%x"', file.size, file.mtime, file.mtime_ns, file.inode)
end

-- Under a filter (TLS, a throttle, a traffic log) there is no sendfile: slice by slice.
local function send_slices(request, file, offset, left)
  while left > 0 do
    local n = left < INLINE and left or INLINE
    if not request:send_slice(file, offset, n) then -- the peer has gone, or the file has become
      request:close() -- shorter: the length was a promise
      return nil
    end
    offset, left = offset + n, left - n
  end
  return true
end

local function send(request, file, offset, length)
  if length == 0 then return true end
  if request:can_send_file() then return request:send_file(file, offset, length) end
  return send_slices(request, file, offset, length)
end

--- A producer that sends pieces: strings, and {offset, length} of the file, which is
--- closed however that ends: also when the peer goes away in the middle.
local function sender(file, pieces)
  return function(request)
    local ok, _ <close> = true, file
    for _, piece in ipairs(pieces) do
      if piece.length then
        ok = send(request, file, piece.offset, piece.length)
      else
        ok = request:write(piece.text)
      end
      if not ok then break end
    end
    return ok and true or false
  end
end

local function nothing() end

local function whole(request, file, code, headers, offset, length)
  if request.method == "HEAD" then
    file:close()
    return response.made(code, headers, nil, length, nothing)
  end
  if length > INLINE then
    return response.made(code, headers, nil, length,
      sender(file, { { offset = offset, length = length } }))
  end
  local bytes = length == 0 and "" or file:read(offset, length)
  file:close()
  if not bytes or #bytes ~= length then -- it has become shorter
    return response.error(500)
  end
  return response.made(code, headers, bytes)
end

local function multipart(file, headers, kind, ranges)
  local boundary = core.hex_encode(core.random(16))
  local pieces, total = {}, 0
  local function add(text)
    pieces[#pieces + 1] = { text = text }
    total = total + #text
  end
  for i, r in ipairs(ranges) do
    add(table.concat { i > 1 and "\r\n" or "", "--", boundary, "\r\nContent-Type: ",
      kind, "\r\nContent-Range: ",
      string.format("bytes %d-%d/%d", r.first, r.last, file.size), "\r\n\r\n" })
    local length = r.last - r.first + 1
    pieces[#pieces + 1] = { offset = r.first, length = length }
    total = total + length
  end
  add("\r\n--" .. boundary .. "--\r\n")
  headers[#headers + 1] = { "Content-Type", "multipart/byteranges; boundary=" .. boundary }
  return response.made(206, headers, nil, total, sender(file, pieces))
end

--- The response for an open, regular file. Options: `type`, `types`, `max_age`.
---@param request table
---@param file table of core.dir
---@param name string
---@param options table
---@return ropewalk.web.Response
function M.respond(request, file, name, options)
  local etag, mtime, size = etag_of(file), file.mtime, file.size
  local headers = { -- a time that is still to come would be no answer (RFC 9110 §8.8.2.1)
    { "ETag", etag }, { "Last-Modified", core.http_date(math.min(mtime, core.time() // 1 | 0)) },
    ACCEPT_RANGES, NOSNIFF,
  }
  if options.max_age then
    headers[5] = { "Cache-Control", string.format("public, max-age=%d", options.max_age) }
  end
  local code = conditional.check(request, etag, mtime)
  if code then
    file:close()
    if code == 304 then return response.made(304, headers) end
    return response.error(code)
  end
  local ranges
  if request.method == "GET" and conditional.range_counts(request, etag, mtime) then
    ranges = range.parse(request.headers["range"], size)
  end
  if ranges == false then
    file:close()
    return response.error(416, nil, { ["Content-Range"] = string.format("bytes */%d", size) })
  end
  local kind = options.type or mime.of(name, options.types)
  if ranges and #ranges > 1 then return multipart(file, headers, kind, ranges) end
  headers[#headers + 1] = { "Content-Type", kind }
  if not ranges then return whole(request, file, 200, headers, 0, size) end
  local first, last = ranges[1].first, ranges[1].last
  headers[#headers + 1] = { "Content-Range", string.format("bytes %d-%d/%d", first, last, size) }
  return whole(request, file, 206, headers, first, last - first + 1)
end

--- A file of the script's choosing, with conditions and ranges; the path is
--- trusted. Options as for web.static: `type`, `max_age`.
---
---     site:get("/logo", function(request) return web.file(request, "img/logo.svg") end)
---@param request table
---@param path string
---@param options? table
---@return ropewalk.web.Response
function M.file(request, path, options)
  local parent, name = argument.expect("file", 2, path, "string"):match "^(.-)([^/]+)$"
  if not name then error("web.file: bad path", 2) end
  parent = parent == "" and "." or parent
  argument.object("file", 1, request, "peer_address", "request")
  local max_age = (argument.optional("file", 3, options, "table") or {}).max_age
  if max_age ~= nil and (type(max_age) ~= "number" or not math.tointeger(max_age) or max_age < 0) then
    error("web.file: max_age is a whole number of seconds", 2)
  end
  local dir, _, message = core.dir(parent)
  if not dir then error("web.file: " .. parent .. ": " .. tostring(message), 2) end
  local file, code = dir:open(name)
  dir:close()
  if not file then return M.refused(code) end
  if not file.is_regular then
    file:close()
    return response.error(404)
  end
  return M.respond(request, file, name, options or {})
end

return M
