-- SPDX-License-Identifier: MIT
-- What may stand in a word of an endpoint: numbers, hosts, networks. Each gives
-- the value, or nil.

local core = require "ropewalk.core"

local ipairs, pairs, pcall, tonumber, tostring, type = ipairs, pairs, pcall, tonumber, tostring, type
local find, format, gmatch, gsub, match, sub =
  string.find, string.format, string.gmatch, string.gsub, string.match, string.sub
local mtype = math.type

local _ENV <const> = nil

local check = {}

---A whole number without a sign.
---@return integer?
function check.number(word, low, high)
  if not find(word, "^%d+$") or #word > 15 then return nil end
  local value = tonumber(word)
  return value >= low and value <= high and value or nil
end

---A number above 0, with a fraction or without.
---@return number?
function check.positive(word)
  local value = find(word, "^%d+%.?%d*$") and #word <= 15 and tonumber(word)
  return value and value > 0 and value or nil
end

---@return boolean?
function check.flag(word)
  if word == "1" or word == "yes" or word == "true" then return true end
  if word == "0" or word == "no" or word == "false" then return false end
  return nil
end

---@return boolean
function check.is_ipv4(word)
  local a, b, c, d = match(word, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  for _, part in ipairs { a or "x", b, c, d } do
    if not check.number(part, 0, 255) or find(part, "^0%d") then return false end
  end
  return true
end

---@return boolean
function check.is_ipv6(word)
  local groups, rest = 0, match(word, "^([^%%]*)%%?[%w_.%-]*$")
  if not rest or not find(rest, ":", 1, true) then return false end
  local _, doubles = gsub(rest, "::", "")
  if doubles > 1 or find(rest, ":::", 1, true) then return false end
  local v4 = match(rest, ":(%d+%.%d+%.%d+%.%d+)$")
  if v4 then
    if not check.is_ipv4(v4) then return false end
    rest, groups = sub(rest, 1, -#v4 - 1) .. "0", 1
  end
  if find(rest, "^:[^:]") or find(rest, "[^:]:$") then return false end
  for group in gmatch(rest, "[^:]+") do
    if not find(group, "^%x%x?%x?%x?$") then return false end
    groups = groups + 1
  end
  if doubles == 1 then return groups <= 7 end -- "::" stands for one at least (RFC 4291 §2.2)
  return groups == 8
end

---A name or an address, which comes without its brackets.
---@return string?
function check.host(word)
  local inner = match(word, "^%[(.*)%]$")
  if inner then return check.is_ipv6(inner) and inner or nil end
  if check.is_ipv6(word) then return word end
  if find(word, "[\128-\255]") then word = core.host_to_ascii(word) or "" end
  if #word > 253 or not find(word, "^[%w_][%w_.%-]*$") then return nil end
  if find(word, "^[%d.]+$") and not check.is_ipv4(word) then return nil end
  return word
end

---A network, "10.0.0.0/8" or "[fd00::/8]", or one address; without brackets.
---@return string?
function check.network(word)
  word = match(word, "^%[(.*)%]$") or word
  local address, bits = match(word, "^([^/]+)/?(%d*)$")
  if not address or (bits == "" and find(word, "/", 1, true)) then return nil end
  address = match(address, "^%[(.*)%]$") or address
  local v6 = check.is_ipv6(address) and not find(address, "%", 1, true)
  if not v6 and not check.is_ipv4(address) then return nil end
  if bits == "" then return address end
  return check.number(bits, 0, v6 and 128 or 32) and address .. "/" .. bits or nil
end

local RANGES <const> = { port = 65535, bind_port = 65535, fd = 1048576, index = 1023, backlog = 65535,
  keepalive = 32767, mode = 4095 }
local SIZES <const> = { host = 255, path = 107, bind_path = 107, name = 255, user = 32, group = 32 }

---What is wrong with the fields of an endpoint that was not read from text, or nil.
---@return string? why
function check.unfit(endpoint)
  for field, most in pairs(RANGES) do
    local value = endpoint[field]
    if value ~= nil and not (mtype(value) == "integer" and value >= 0 and value <= most) then
      return format("an endpoint whose %s is %s, not an integer from 0 to %d", field, tostring(value), most)
    end
  end
  for field, most in pairs(SIZES) do
    local value = endpoint[field]
    if value ~= nil and (type(value) ~= "string" or #value > most or find(value, "[%z\1-\31\127]")) then
      return format("an endpoint whose %s is no text of at most %d bytes", field, most)
    end
  end
  local timeout = endpoint.timeout
  if timeout ~= nil and not (type(timeout) == "number" and timeout > 0) then
    return format("an endpoint whose timeout is %s, not a number of seconds", tostring(timeout))
  end
  return nil
end

---@return boolean
function check.is_limit(name)
  local ok, value = pcall(function() return core.limits[name] end)
  return ok and value ~= nil
end

return check
