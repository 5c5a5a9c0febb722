-- SPDX-License-Identifier: MIT
--- The Range field (RFC 9110 §14). A set that is malformed, overlaps or has
--- more than 10 members is ignored, which RFC 9110 §14.2 allows: the whole is
--- sent. None of them satisfiable: 416.

local math, table = math, table
local _ENV <const> = nil

local MAX_RANGES = 10 -- many small ranges cost more than they ask for
local MAX_FIELD = 512

local range = {}

--- One member → first and last byte, or false (not satisfiable), or nil.
local function parse_one(text, size)
  local first, last = text:match "^(%d*)%-(%d*)$"
  if not first or #first > 15 or #last > 15 then return nil end
  first, last = math.tointeger(first), math.tointeger(last)
  if not first then
    if not last then return nil end
    if last == 0 or size == 0 then return false end
    return math.max(size - last, 0), size - 1
  end
  if last and last < first then return nil end
  if first >= size then return false end
  return first, math.min(last or size - 1, size - 1)
end

local function overlap(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted, function(a, b) return a.first < b.first end)
  for i = 2, #sorted do
    if sorted[i].first <= sorted[i - 1].last then return true end
  end
end

--- The ranges of a field: a list of {first, last}, in the order asked for;
--- false when none can be satisfied; nil when the field is to be ignored.
---
---     range.parse("bytes=0-9,-5", 100) --> {{first=0, last=9}, {first=95, last=99}}
---@param field string|nil
---@param size integer
---@return table|false|nil
function range.parse(field, size)
  if not field or #field > MAX_FIELD then return nil end
  local set = field:match "^[Bb][Yy][Tt][Ee][Ss]=(.*)$"
  if not set then return nil end
  local list, count = {}, 0
  for member in (set .. ","):gmatch "%s*([^,]-)%s*," do
    if member ~= "" then
      local first, last = parse_one(member, size)
      if first == nil then return nil end
      count = count + 1
      if count > MAX_RANGES then return nil end
      if first then list[#list + 1] = { first = first, last = last } end
    end
  end
  if count == 0 or overlap(list) then return nil end
  return #list > 0 and list
end

return range
