-- SPDX-License-Identifier: MIT
-- multipart/form-data: what is read does not depend on how it was cut, is what a
-- reader that has it all in one string finds, and what is wrong is a 400 or a 413.

local Response = require("ropewalk.web.response").Response
local multipart = require "ropewalk.web.multipart"
local property = require "property"

local must, same = property.check, property.same
local concat = table.concat

local BOUNDARY <const> = "b"
local DELIMITER <const> = "\r\n--" .. BOUNDARY

local function refused(e)
  return getmetatable(e) == Response and (e.status == 400 or e.status == 413)
end

local function read(next_piece)
  local list = {}
  for part in multipart.parts(next_piece, BOUNDARY) do
    local pieces = {}
    for piece in part.chunks do
      must(piece ~= "", "an empty piece")
      pieces[#pieces + 1] = piece
    end
    list[#list + 1] = { part.name, part.filename or false, part.type or false, concat(pieces) }
  end
  return list
end

-- What stands between the delimiters, as the bytes of head and content.
local function plain(body)
  local list, at = {}, 1
  body = "\r\n" .. body
  while true do
    local first, last = body:find(DELIMITER, at, true)
    list[#list + 1] = body:sub(at, (first or #body + 1) - 1)
    if not first or body:sub(last + 1, last + 2) == "--" then return list end
    at = last + 1
  end
end

local function compare(list, body)
  local pieces = plain(body)
  must(#pieces == #list + 1, "%d parts, not %d", #list, #pieces - 1)
  for i, part in ipairs(list) do
    local _, head = pieces[i + 1]:find "\r\n\r\n"
    must(head and pieces[i + 1]:sub(head + 1) == part[4], "another content")
    must(type(part[1]) == "string", "no name")
    must(not part[2] or not part[2]:find "[/\\%c]", "a name that is a path")
  end
end

return function(bytes)
  local where, body = property.byte(bytes)
  local results = property.cuts(body, where, function(next_piece)
    return property.attempt(refused, read, next_piece)
  end)
  local first = results[1]
  for i = 2, #results do
    local other = results[i]
    must(same(first[1], other[1]), "the cuts change it")
    must(not first[2] == not other[2] and (not first[2] or first[2].status == other[2].status),
      "another refusal")
  end
  if first[1] then compare(first[1], body) end
  must(multipart.is_boundary(bytes) == (#bytes > 0 and #bytes <= 70 and not bytes:find " $"
    and not bytes:find "[^%w'()+_,./:=? -]"), "a boundary?")
end
