-- SPDX-License-Identifier: MIT
-- The option `bind` of endpoints: where a connection comes from. ADDRESS or
-- ADDRESS\:PORT, both numeric; an IPv6 address may be in brackets.

local core = require "ropewalk.core"

local tonumber = tonumber
local match, sub = string.match, string.sub

local _ENV <const> = nil

local WANTED <const> = "bind must be a numeric address, with a port after it or not"

---Reads it into the endpoint's table; returns what is wrong, or nil.
---@param endpoint table gets `bind`, `bind_port`
---@param text? string
---@return string? why
return function(endpoint, text)
  if not text then return nil end
  local host, port = match(text, "^(%[[^%]]*%]):?(%d*)$")
  if host then host = sub(host, 2, -2) else host, port = match(text, "^([%d.]+):?(%d*)$") end
  if not host or not core.address_parse(host) or #port > 5 then return WANTED end
  port = tonumber(port) or 0
  if port > 65535 then return WANTED end
  endpoint.bind, endpoint.bind_port = host, port
  return nil
end
