-- SPDX-License-Identifier: MIT
-- The order in which to try the servers of a service (RFC 2782).

local argument = require "ropewalk.argument"

local ipairs, type = ipairs, type
local format = string.format
local sort, random = table.sort, math.random
local expect, optional = argument.expect, argument.optional

local _ENV <const> = nil

local service = {}

-- Takes one of those from `first` to `last`, by weight (RFC 2782).
local function choose(records, first, last, draw)
  local total = 0
  for i = first, last do total = total + records[i].weight end
  local at = draw(0, total)
  for i = first, last do
    at = at - records[i].weight
    if at <= 0 then return i end
  end
  return last
end

---Service records in the order in which to try them (RFC 2782): by priority,
---and among equals by chance, as their weights say.
---
---    local first = rw.names.order_services(records)[1]
---@param records ropewalk.names.Record[]
---@param draw? fun(low: integer, high: integer): integer math.random
---@return ropewalk.names.Record[] records the same list
function service.order(records, draw)
  for i, record in ipairs(expect("order_services", 1, records, "table")) do
    if type(record) ~= "table" or type(record.priority) ~= "number" or type(record.weight) ~= "number" then
      argument.refuse("order_services", 1, format("entry %d is no service record", i))
    end
  end
  draw = optional("order_services", 2, draw, "function") or random
  sort(records, function(a, b)
    if a.priority ~= b.priority then return a.priority < b.priority end
    return a.weight < b.weight -- those of weight 0 first, says the RFC
  end)
  local first = 1
  while first <= #records do
    local last = first
    while records[last + 1] and records[last + 1].priority == records[first].priority do
      last = last + 1
    end
    for i = first, last - 1 do
      local chosen = choose(records, i, last, draw)
      local record = records[chosen]
      for k = chosen, i + 1, -1 do records[k] = records[k - 1] end
      records[i] = record
    end
    first = last + 1
  end
  return records
end

return service
