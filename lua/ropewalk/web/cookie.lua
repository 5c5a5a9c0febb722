-- SPDX-License-Identifier: MIT
--- The Set-Cookie field (RFC 6265bis §4.1). Strict: what a browser might read
--- in another way than it was meant is an error of the script.

local core = require "ropewalk.core"

local error, ipairs, math, pairs, string, table, tostring, type =
  error, ipairs, math, pairs, string, table, tostring, type
local _ENV <const> = nil

local MAX_BYTES = 4096 -- name and value; browsers drop larger ones

local cookie = {}

local same_sites = { Strict = true, Lax = true, None = true }

--- What the name's prefix promises (RFC 6265bis §4.1.3): missing options are
--- filled in, contrary ones refused.
local function check_prefix(name, o, level)
  local lower = name:lower()
  local host = lower:sub(1, 7) == "__host-"
  if not host and lower:sub(1, 9) ~= "__secure-" then return end
  if o.secure == nil then o.secure = true end
  if not o.secure then error("cookie " .. name .. " must be secure", level + 1) end
  if host and (o.path ~= "/" or o.domain) then
    error("cookie " .. name .. " must have the path / and no domain", level + 1)
  end
end

local checks = {
  path = function(v) return type(v) == "string" and v:find("^/[^%c;]*$") end,
  domain = function(v)
    return type(v) == "string" and v:find("^%.?[%w-][%w.-]*$")
  end,
  max_age = function(v) return math.type(v) == "integer" end,
  expires = function(v) return math.type(v) and v >= 0 and v < 253402300800 end, -- the year 10000
  same_site = function(v) return v == false or same_sites[v] end,
}

local known = { path = true, domain = true, max_age = true, expires = true, secure = true,
                http_only = true, same_site = true, partitioned = true }

local function check(name, value, o, level)
  level = level + 1
  if type(name) ~= "string" or not core.is_token(name) then
    error("a cookie's name is a token", level)
  end
  if type(value) ~= "string" or value:find('[%c%s",;\\\x7f-\xff]') then
    error("cookie " .. name .. ": no blanks, quotes, commas, semicolons or bytes"
      .. " beyond ASCII in the value; encode it (core.base64url_encode)", level)
  end
  if #name + #value > MAX_BYTES then
    error("cookie " .. name .. " is longer than 4096 bytes", level)
  end
  for _, key in ipairs { "path", "domain", "max_age", "expires", "same_site" } do
    if o[key] ~= nil and not checks[key](o[key]) then
      error("cookie " .. name .. ": bad " .. key, level)
    end
  end
  check_prefix(name, o, level)
  if (o.same_site == "None" or o.partitioned) and not o.secure then
    error("cookie " .. name .. ": same_site None and partitioned ask for secure", level)
  end
end

--- The value of a Set-Cookie field. Options: `max_age` and `expires` (seconds;
--- without either the cookie lives as long as the browser), `path` ("/"),
--- `domain`, `secure`, `http_only` (true), `same_site` ("Lax", "Strict",
--- "None", false), `partitioned`.
---
---     cookie.format("id", "x1", { max_age = 3600, secure = true })
---     --> "id=x1; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"
---@param name string
---@param value string
---@param options? table
---@param level? integer of the caller to blame
---@return string
function cookie.format(name, value, options, level)
  local o = { path = "/", same_site = "Lax", http_only = true }
  for key, option in pairs(options or {}) do
    if not known[key] then
      error("cookie " .. tostring(name) .. ": there is no option " .. tostring(key), (level or 1) + 1)
    end
    o[key] = option
  end
  check(name, value, o, (level or 1) + 1)
  local parts = { name .. "=" .. value, "Path=" .. o.path }
  local function add(text) parts[#parts + 1] = text end
  if o.domain then add("Domain=" .. o.domain) end
  if o.max_age then add(string.format("Max-Age=%d", o.max_age)) end
  if o.expires then add("Expires=" .. core.http_date(o.expires)) end
  if o.http_only then add "HttpOnly" end
  if o.same_site then add("SameSite=" .. o.same_site) end
  if o.secure then add "Secure" end
  if o.partitioned then add "Partitioned" end
  return table.concat(parts, "; ")
end

return cookie
