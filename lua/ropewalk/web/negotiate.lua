-- SPDX-License-Identifier: MIT
--- The Accept field (RFC 9110 §12.5.1).

local ipairs, tonumber = ipairs, tonumber
local _ENV <const> = nil

local negotiate = {}

local MAX_RANGES = 50 -- members looked at: the field is the peer's

--- → list of {type, subtype, q, has it other parameters?}
local function parse(field)
  local ranges = {}
  for member in field:gmatch "[^,]+" do
    local kind, sub, rest = member:match "^%s*([^%s/;]+)/([^%s;]+)(.*)$"
    if kind then
      local q = tonumber(rest:lower():match ";%s*q=([%d.]+)") or 1
      local first = rest:lower():match "^%s*;%s*([^%s;=]+)"
      ranges[#ranges + 1] = { kind:lower(), sub:lower(), q <= 1 and q or 1, first and first ~= "q" }
    end
    if #ranges == MAX_RANGES then break end
  end
  return ranges
end

--- q of a type: of the most specific range that fits it.
local function quality(ranges, offered)
  local kind, sub = offered:lower():match "^([^/]+)/([^;%s]+)"
  local best, q = 0, 0
  for _, range in ipairs(ranges) do
    -- one with parameters is of a special kind of it: better than nothing
    local rank = range[1] == kind and range[2] == sub and (range[4] and 3 or 4)
      or range[1] == kind and range[2] == "*" and 2
      or range[1] == "*" and range[2] == "*" and 1 or 0
    if rank > best then best, q = rank, range[3] end
  end
  return q
end

--- The offered type that the peer likes best, or nil.
---
---     negotiate.best("text/*;q=0.5, text/html", "text/plain", "text/html") --> "text/html"
---@param field string|nil
---@param ... string
---@return string|nil
function negotiate.best(field, ...)
  if not field or not field:find "%S" then return (...) end
  local ranges, best, best_q = parse(field), nil, 0
  for _, offered in ipairs { ... } do
    local q = quality(ranges, offered)
    if q > best_q then best, best_q = offered, q end
  end
  return best
end

return negotiate
