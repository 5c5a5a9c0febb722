-- SPDX-License-Identifier: MIT
--- multipart/form-data (RFC 7578, RFC 2046 §5.1) as it comes. Holds one piece
--- and the length of a delimiter; strict: what is malformed raises 400, what
--- is too much 413.

local core = require "ropewalk.core"
local response = require "ropewalk.web.response"

local error, type = error, type
local _ENV <const> = nil

local MAX_PARTS = 1000       -- tiny parts that cost more than they weigh
local MAX_PART_HEAD = 8192   -- heads without an end
local MAX_PREAMBLE = 8192    -- bytes before the first delimiter

local multipart = {}

local function bad(detail)
  error(response.error(400, "malformed multipart body: " .. detail), 0)
end

--- Is it a boundary (RFC 2046 §5.1.1)?
---@param text any
---@return boolean
function multipart.is_boundary(text)
  return type(text) == "string" and #text <= 70
    and text:find "^[%w'()+_,./:=? -]*[%w'()+_,./:=?-]$" ~= nil
end

--- A window on the body: `data` from `at` on is what has come and not gone.
local function window(next_piece)
  local w = { data = "", at = 1 }
  --- One piece more; false at the end of the body.
  function w.more()
    local piece = next_piece()
    if not piece then return false end
    w.data = w.data:sub(w.at) .. piece
    w.at = 1
    return true
  end
  --- Takes up to the plain text and the text itself; nil if it does not come
  --- within max bytes.
  function w.take_until(text, max)
    local from = w.at
    while true do
      local first, last = w.data:find(text, from, true)
      if first then
        if first - w.at > max then return nil end
        local taken = w.data:sub(w.at, first - 1)
        w.at = last + 1
        return taken
      end
      local looked = #w.data - w.at - #text + 2 -- bytes at which it does not begin
      if looked > max or not w.more() then return nil end
      from = looked > 0 and looked + 1 or 1
    end
  end
  --- Takes n bytes, which have to be there.
  function w.take(n)
    while #w.data - w.at + 1 < n do
      if not w.more() then bad "it ends too early" end
    end
    local taken = w.data:sub(w.at, w.at + n - 1)
    w.at = w.at + n
    return taken
  end
  return w
end

local function parse_disposition(field)
  local kind, params = core.media_type("x/" .. field)
  if kind ~= "x/form-data" or not params.name then
    bad "a part without Content-Disposition: form-data and a name"
  end
  local filename = params.filename
  if filename then -- a name, not a path, whatever the browser sent
    filename = (filename:match "^.*[/\\](.*)$" or filename):gsub("%c", "")
  end
  return params.name, filename
end

local function parse_head(text)
  local headers = {}
  for line in (text .. "\r\n"):gmatch "(.-)\r\n" do
    if line ~= "" then
      local name, value = line:match "^([^:%s]+):[ \t]*(.*)$"
      value = name and value:match "^.*[^ \t]" or ""
      if not name or value:find "[\r\n\0]" then bad "a field of a part" end
      headers[name:lower()] = value
    end
  end
  local name, filename = parse_disposition(headers["content-disposition"] or "")
  return { name = name, filename = filename, headers = headers,
           type = headers["content-type"] or (filename and "application/octet-stream") }
end

--- The pieces of one part, up to the delimiter.
local function part_chunks(w, delimiter)
  local ended = false
  return function()
    while not ended do
      local first, last = w.data:find(delimiter, w.at, true)
      if first then
        local rest = w.data:sub(w.at, first - 1)
        w.at, ended = last + 1, true
        if rest ~= "" then return rest end
        return nil
      end
      -- what cannot be the beginning of a delimiter may go
      local sure = #w.data - #delimiter + 1
      if sure >= w.at then
        local piece = w.data:sub(w.at, sure)
        w.at = sure + 1
        return piece
      end
      if not w.more() then bad "it ends in a part" end
    end
  end
end

--- Iterates over the parts: {name, filename, type, headers, chunks}, `chunks`
--- being an iterator over the content. What was not taken of a part is skipped.
---
---     for part in multipart.parts(request:chunks(), boundary) do
---       for piece in part.chunks do … end
---     end
---@param next_piece fun(): string|nil
---@param boundary string
---@return fun(): table|nil
function multipart.parts(next_piece, boundary)
  local w, delimiter = window(next_piece), "\r\n--" .. boundary
  local count, current = 0, nil
  w.data = "\r\n" -- the first delimiter may lack its own
  return function()
    if current then
      for _ in current.chunks do end -- luacheck: ignore 542
    elseif not w.take_until(delimiter, MAX_PREAMBLE) then
      bad "no delimiter"
    end
    local tail = w.take(2)
    if tail == "--" then
      for _ in next_piece do end -- luacheck: ignore 542
      return nil
    end
    while tail ~= "\r\n" do -- blanks may follow a delimiter
      if not tail:find "^[ \t]" then bad "a delimiter" end
      tail = tail:sub(2) .. w.take(1)
    end
    count = count + 1
    if count > MAX_PARTS then error(response.error(413, "too many parts"), 0) end
    local head = w.take_until("\r\n\r\n", MAX_PART_HEAD)
    if not head then bad "the head of a part" end
    current = parse_head(head)
    current.chunks = part_chunks(w, delimiter)
    return current
  end
end

return multipart
