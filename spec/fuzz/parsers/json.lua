-- SPDX-License-Identifier: MIT
-- JSON: a plain recognizer of RFC 8259 has to agree on what is JSON, and what is
-- read and written is read as the same.

local core = require "ropewalk.core"
local property = require "property"

local must, same = property.check, property.same
local byte, find, match, sub = string.byte, string.find, string.match, string.sub

local MAX_DEPTH <const> = 100
local BLANK <const> = "^[ \t\r\n]*"

-- Each gives where it ends, or nil.
local value

local function blank(text, at) return select(2, find(text, BLANK, at)) + 1 end

local function low_half(text, at)
  local digits = match(text, "^\\u([dD][c-fC-F]%x%x)", at)
  return digits and at + 6
end

local function escape(text, at)
  if find(text, '^["\\/bfnrt]', at + 1) then return at + 2 end
  local digits = match(text, "^u(%x%x%x%x)", at + 1)
  if not digits then return nil end
  local code = tonumber(digits, 16)
  if code >= 0xDC00 and code <= 0xDFFF then return nil end
  if code >= 0xD800 and code <= 0xDBFF then return low_half(text, at + 6) end
  return at + 6
end

local function characters(text, at)
  while true do
    local c = byte(text, at)
    if not c or c < 32 then return nil end
    if c == 34 then return at + 1 end
    at = c == 92 and escape(text, at) or c ~= 92 and at + 1
    if not at then return nil end
  end
end

local function number(text, at)
  local _, last = find(text, "^%-?%d+", at)
  if not last or find(text, "^%-?0%d", at) then return nil end
  if find(text, "^%.%d", last + 1) then _, last = find(text, "^%.%d+", last + 1) end
  if find(text, "^[eE][+-]?%d", last + 1) then _, last = find(text, "^[eE][+-]?%d+", last + 1) end
  return last + 1
end

-- Members, commas between, up to the bracket.
local function list(text, at, close, member, depth)
  if depth > MAX_DEPTH then return nil end
  at = blank(text, at)
  if sub(text, at, at) == close then return at + 1 end
  while true do
    at = member(text, blank(text, at), depth)
    at = at and blank(text, at)
    if not at then return nil end
    local c = sub(text, at, at)
    if c == close then return at + 1 end
    if c ~= "," then return nil end
    at = at + 1
  end
end

local function field(text, at, depth)
  at = byte(text, at) == 34 and characters(text, at + 1)
  at = at and blank(text, at)
  if not at or sub(text, at, at) ~= ":" then return nil end
  return value(text, blank(text, at + 1), depth)
end

function value(text, at, depth)
  local c = sub(text, at, at)
  if c == "{" then return list(text, at + 1, "}", field, depth + 1) end
  if c == "[" then return list(text, at + 1, "]", value, depth + 1) end
  if c == '"' then return characters(text, at + 1) end
  local _, last = find(text, "^true", at)
  if not last then _, last = find(text, "^null", at) end
  if not last then _, last = find(text, "^false", at) end
  return last and last + 1 or number(text, at)
end

local function is_json(text)
  if not core.utf8_valid(text) then return false end
  local last = value(text, blank(text, 1), 0)
  return last ~= nil and blank(text, last) == #text + 1
end

return function(text)
  local read, why = core.json_decode(text)
  if read == nil then
    must(type(why) == "string", "no reason")
    must(not is_json(text) or find(why, "infin"), "not read: %s", why)
    return
  end
  must(is_json(text), "read, and is none")
  local written, not_written = core.json_encode(read)
  must(written, "not written: %s", not_written)
  must(same(core.json_decode(written), read), "%q is read as another", written)
  must(same(core.json_decode(core.json_encode(read, true)), read), "pretty, and read as another")
end
