-- SPDX-License-Identifier: MIT
-- Patterns of binary frames, for rw.frame:
--
--   "> magic:I2=0xCAFE kind:B length:I4 payload crc:I4"
--
-- A pattern is string.pack's, with blanks between the items: a byte order first
-- ("<" or ">", which is the default), then fields of fixed size, each with a name
-- in front, or without, and in the header perhaps with a constant behind it. The
-- field `length` is the length of `payload`; "s4" is short for "length:I4 payload".
-- What follows the payload is the trailer.

local error, ipairs, pcall, tonumber = error, ipairs, pcall, tonumber
local concat, unpack = table.concat, table.unpack
local find, format, gmatch, gsub, match, packsize, rep, spack =
  string.find, string.format, string.gmatch, string.gsub, string.match, string.packsize, string.rep,
  string.pack

local _ENV <const> = nil

local pattern = {}

local MAX_PART <const> = 64 -- bytes of a header, of a trailer

---A header or a trailer.
---@class ropewalk.Pattern.Part
---@field order string "<" or ">"
---@field codes string[] the format's items
---@field names (string|integer)[]
---@field size integer
---@field fixed string[] the bytes of constants, zeros elsewhere
---@field mask string[]

---@class ropewalk.Pattern
---@field order string
---@field header ropewalk.Pattern.Part
---@field trailer ropewalk.Pattern.Part
---@field constants table<string|integer, any>
---@field offset? integer where the length is in the header
---@field width? integer

local function bad(why, ...) error({ why = format(why, ...) }, 0) end

-- "kind:B=3" → name, code, text of the constant
local function cut(word)
  local field, constant = match(word, "^([^=]+)=?(.*)$")
  if not field then bad('"%s" is no field', word) end
  local name, code = match(field, "^([%a_][%w_]*):(.+)$")
  if not find(word, "=", 1, true) then constant = nil end
  return name, code or field, constant
end

local function size_of(code)
  local known = find(code, "^[bBhHiIlLjJTfdn]%d*$") or find(code, "^c%d+$")
  local ok, size = pcall(packsize, "=" .. code)
  if not known or not ok then bad('"%s" is no format of a fixed size', code) end
  return size
end

local function constant_bytes(order, code, text)
  local value = find(code, "^c") and text or tonumber(text)
  if not value then bad('"%s" is no number', text) end
  local ok, bytes = pcall(spack, order .. code, value)
  if not ok then bad("%s does not fit into %s", text, code) end
  return bytes, value
end

local RESERVED <const> = { payload = true, header = true, trailer = true }

local function claim(result, name)
  if RESERVED[name] then bad('a field cannot be called "%s"', name) end
  for _, part in ipairs { result.header, result.trailer } do
    for _, other in ipairs(part.names) do
      if other == name then bad('there are two fields "%s"', name) end
    end
  end
end

local function add_length(result, part, code, size, constant)
  if part == result.trailer then bad "the length is behind the payload" end
  if not find(code, "^[IBHLJ]%d*$") or size > 8 or constant then
    bad "the length must be an unsigned number of at most 8 bytes"
  end
  result.offset, result.width = part.size, size
end

local function add(result, part, word)
  local name, code, constant = cut(word)
  local size = size_of(code)
  if not name then
    result.unnamed = result.unnamed + 1
    name = result.unnamed
  end
  claim(result, name)
  if name == "length" then add_length(result, part, code, size, constant) end
  local bytes, mask = rep("\0", size), rep("\0", size)
  if constant then
    if part == result.trailer then bad "a constant behind the payload" end
    bytes, result.constants[name] = constant_bytes(result.order, code, constant)
    mask = rep("\xff", size)
  end
  local n = #part.names + 1
  part.names[n], part.codes[n], part.fixed[n], part.mask[n] = name, code, bytes, mask
  part.size = part.size + size
  if part.size > MAX_PART then bad("more than %d bytes before or behind the payload", MAX_PART) end
end

local function new_part() return { names = {}, codes = {}, fixed = {}, mask = {}, size = 0 } end

local function read(text)
  local order, items = match(text, "^%s*([<>]?)%s*(.*)$")
  if order == "" then order = ">" end
  local result = { order = order, header = new_part(), trailer = new_part(), constants = {},
    unnamed = 0 }
  local part = result.header
  items = gsub(" " .. items .. " ", "%s[%a_]*:?s(%d+)%f[%s]", " length:I%1 payload")
  for word in gmatch(items, "%S+") do
    if word ~= "payload" then
      add(result, part, word)
    elseif part == result.trailer then
      bad "there are two payloads"
    else
      part = result.trailer
    end
  end
  if not result.offset then bad 'there is no length ("length:I4", or "s4")' end
  return result
end

---Reads a pattern; nil and why not.
---@param text string
---@return ropewalk.Pattern? pattern
---@return string? why
function pattern.parse(text)
  local ok, result = pcall(read, text)
  if ok then
    for _, part in ipairs { result.header, result.trailer } do
      part.code = result.order .. concat(part.codes)
    end
    return result
  end
  if not result.why then error(result, 0) end
  return nil, result.why
end

---What the C engine has to know: the class's field frame_format.
---@param result ropewalk.Pattern
---@param counts "payload"|"rest"|"all" what the length counts: the payload; all behind itself; all
---@param max? integer
---@return table
function pattern.engine_format(result, counts, max)
  local header, trailer = result.header, result.trailer
  local counted = { payload = 0, all = header.size + trailer.size,
    rest = header.size - result.offset - result.width + trailer.size }
  return {
    header = header.size, trailer = trailer.size, offset = result.offset, width = result.width,
    little = result.order == "<", adjust = -counted[counts], max = max,
    fixed = concat(header.fixed), mask = concat(header.mask),
  }
end

---A part's bytes, from the fields of a frame.
---@param part ropewalk.Pattern.Part
---@param frame table
---@param constants table
---@param length integer what the field `length` says
---@return string? bytes
---@return string? why
function pattern.pack(part, frame, constants, length)
  local values = {}
  for i, name in ipairs(part.names) do
    local value = constants[name]
    if value == nil then value = frame[name] end
    if name == "length" then value = length end
    if value == nil then return nil, format("the field %s is missing", name) end
    values[i] = value
  end
  local ok, bytes = pcall(spack, part.code, unpack(values))
  if ok then return bytes end
  local index, why = match(bytes, "^bad argument #(%d+) to '[^']*' %((.*)%)$")
  return nil, index and format("the field %s: %s", part.names[index - 1], why) or bytes
end

return pattern
