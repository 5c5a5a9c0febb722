-- SPDX-License-Identifier: MIT
-- What the scripts beside this file say properties with.

local getmetatable, ipairs, math_type, next, pcall, type = getmetatable, ipairs, math.type, next, pcall, type
local error, rawequal, select, tostring = error, rawequal, select, tostring
local byte, format, sub = string.byte, string.format, string.sub

local _ENV <const> = nil

local property = {}

---@param holds any
---@param what string
function property.check(holds, what, ...)
  if not holds then error(select("#", ...) > 0 and format(what, ...) or what, 2) end
  return holds
end

---Are they the same, tables by what is in them?
function property.same(a, b)
  if rawequal(a, b) then return true end
  if type(a) ~= type(b) then return false end
  if type(a) ~= "table" then return a == b and math_type(a) == math_type(b) end
  if getmetatable(a) ~= getmetatable(b) then return false end
  for key, value in next, a do if not property.same(value, b[key]) then return false end end
  for key in next, b do if a[key] == nil then return false end end
  return true
end

---Calls what may fail by raising what `allowed(error)` knows: the results, or
---nothing and the error. Anything else that is raised is a finding.
function property.attempt(allowed, fn, ...)
  local function settle(ok, first, ...)
    if ok then return first, ... end
    if not allowed(first) then error("raised: " .. tostring(first), 0) end
    return nil, first
  end
  return settle(pcall(fn, ...))
end

---A byte off the front, and what is behind it.
---@param text string
---@return integer
---@return string
function property.byte(text) return byte(text) or 0, sub(text, 2) end

---The ways to cut a text that are tried: whole, and so on. `feed` is called with
---a function that gives the next piece or nil.
---@param text string
---@param where integer
---@param feed fun(next_piece: fun(): string?): any
---@return any[] results a list of { n =, … }
function property.cuts(text, where, feed)
  local results = {}
  local least = #text // 500 + 1 -- many pieces of a long text would only take long
  for _, size in ipairs { #text + 1, least, least + where % 7 + 1, least + where } do
    local at = 1
    results[#results + 1] = { feed(function()
      if at > #text then return nil end
      local piece = sub(text, at, at + size - 1)
      at = at + size
      return piece
    end) }
  end
  return results
end

return property
