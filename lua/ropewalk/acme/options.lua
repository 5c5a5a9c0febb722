-- SPDX-License-Identifier: MIT
-- What ACME is told, from a table or from the options of an endpoint: checked, and
-- with what is left out.

local check = require "ropewalk.endpoint.check"
local core = require "ropewalk.core"

local ipairs, next, type = ipairs, next, type
local find, format, gmatch, lower, match =
  string.find, string.format, string.gmatch, string.lower, string.match

local _ENV <const> = nil

local options = {
  DIRECTORY = "https://acme-v02.api.letsencrypt.org/directory",
}

local MAX_HOSTS <const> = 100

local function text(value)
  return type(value) == "string" and value ~= "" and value or nil, "must be text"
end

local function email(value)
  local ok = type(value) == "string" and #value <= 254 and find(value, "^[^%s,?&%%@]+@[%w.-]+$")
  return ok and value or nil, "must be a mail address"
end

local function url(value)
  local ok = type(value) == "string" and #value <= 2048 and find(value, "^https?://[^%s]+$")
  return ok and value or nil, "must be a URL"
end

---A host name in lower case that an authority can validate, or nil.
function options.host(name)
  name = type(name) == "string" and check.host(name)
  if not name or #name > 200 or find(name, "_", 1, true) or find(name, "%.$") then return nil end
  if check.is_ipv4(name) or check.is_ipv6(name) then return nil end
  return lower(name)
end

local function hosts(value)
  local list, seen = {}, {}
  if type(value) ~= "table" or #value == 0 or #value > MAX_HOSTS then
    return nil, format("must be 1 to %d host names", MAX_HOSTS)
  end
  for _, each in ipairs(value) do
    local name = options.host(each)
    if not name then return nil, "must be host names (no addresses; *. would need DNS-01)" end
    if not seen[name] then list[#list + 1], seen[name] = name, true end
  end
  return list
end

local function fn(value) return type(value) == "function" and value or nil, "must be a function" end

local function positive(value)
  return type(value) == "number" and value > 0 and value or nil, "must be a number above 0"
end

local function secret(value)
  local key = type(value) == "string" and core.base64url_decode(value)
  return key and key ~= "" and value or nil, "must be base64url"
end

-- An endpoint, or true: the script's own site answers.
local function http01(value)
  local kind = type(value)
  if value == true or kind == "string" and value ~= "" or kind == "table" then return value end
  return nil, "must be an endpoint, or true"
end

local CHECKS <const> = {
  email = email, hosts = hosts, directory = url, directory_ca = text, store = text, http01 = http01,
  eab_kid = text, eab_key = secret, allow = fn, retry_policy = fn, timeout = positive,
  order_timeout = positive, max_pending = positive,
}

-- Where systemd lets a service keep its state.
local function state_directory()
  for _, each in ipairs(core.environment()) do
    local path = match(each, "^STATE_DIRECTORY=([^:]+)")
    if path then return path .. "/acme" end
  end
  return nil
end

---@param given table
---@return table? options
---@return string? why not
function options.read(given)
  local result = {}
  for name, value in next, given do
    if not CHECKS[name] then return nil, format('acme: unknown option "%s"', name) end
    local why
    result[name], why = CHECKS[name](value)
    if result[name] == nil then return nil, format("acme: %s %s", name, why) end
  end
  if not result.hosts and not result.allow then return nil, "acme: host= is missing: for which names?" end
  if (result.eab_kid == nil) ~= (result.eab_key == nil) then
    return nil, "acme: eab_kid and eab_key come together"
  end
  result.directory = result.directory or options.DIRECTORY
  result.store = result.store or state_directory()
  if not result.store then
    return nil, "acme: store=DIRECTORY is missing (and there is no STATE_DIRECTORY)"
  end
  return result
end

---From the words of an endpoint.
---@param words table<string, string>
---@param contact string
---@return table? options
---@return string? why not
function options.from_words(words, contact)
  local given, list = {}, {}
  for name, word in next, words do given[name] = word end
  for name in gmatch(words.host or "", "[^,]+") do list[#list + 1] = name end
  given.host, given.hosts = nil, words.host and list
  if contact ~= "none" then given.email = contact end
  local port = words.http01 and check.number(words.http01, 0, 65535)
  if port then given.http01 = format("tcp:%d", port) end
  if words.http01 == "yes" then given.http01 = true end
  return options.read(given)
end

return options
