-- SPDX-License-Identifier: MIT
-- The option `bind` of endpoints: where a connection comes from. ADDRESS or
-- ADDRESS\:PORT, both numeric; an IPv6 address may be in brackets.

local core = require "ropewalk.core"

local tonumber = tonumber
local match = string.match

local _ENV <const> = nil

local WANTED <const> = "bind must be a numeric address, with a port after it or not"

---Reads it into the endpoint's table; returns what is wrong, or nil.
---@param endpoint table gets `bind`, `bind_port`
---@param text? string
---@return string? why
return function(endpoint, text)
  if not text then return nil end
  local host, rest = match(text, "^%[([^%]]*)%](.*)$")
  if not host then host, rest = match(text, "^([%d.]+)(.*)$") end
  if not host or not core.address_parse(host) then return WANTED end
  local port = rest == "" and 0 or tonumber(match(rest, "^:(%d%d?%d?%d?%d?)$"))
  if not port or port > 65535 then return WANTED end
  endpoint.bind, endpoint.bind_port = host, port
  return nil
end
