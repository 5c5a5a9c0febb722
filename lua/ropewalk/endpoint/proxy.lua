-- SPDX-License-Identifier: MIT
-- "proxy:ENDPOINT": the PROXY protocol around any stream endpoint. Listening,
-- each connection begins with a header that says who is behind it; only trusted
-- peers may say so. Connecting, we send the header.

local check = require "ropewalk.endpoint.check"
local kinds = require "ropewalk.endpoint.kinds"

local ipairs, pairs = ipairs, pairs
local concat, insert = table.concat, table.insert
local find, format, gmatch, gsub = string.find, string.format, string.gmatch, string.gsub

local _ENV <const> = nil

local MAX_NETWORKS <const> = 32 -- as in src/bind/port.h

local GROUPS <const> = {
  loopback = { "127.0.0.0/8", "::1" },
  private = { "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16",
    "fc00::/7", "fe80::/10" },
  any = { "0.0.0.0/0", "::/0" },
}

local function read_trust(text)
  local networks, shown = {}, {}
  for word in gmatch(text .. ",", "([^,]*),") do
    local group, network = GROUPS[word], check.network(word)
    if not group and not network then
      return nil, format('trust: "%s" is no network (there are groups: any, loopback, private)', word)
    end
    for _, each in ipairs(group or { network }) do insert(networks, each) end
    insert(shown, group and word
      or find(network, ":", 1, true) and gsub(network, "^[^/]+", "[%0]") or network)
  end
  if #networks > MAX_NETWORKS then
    return nil, format("trust: more than %d networks", MAX_NETWORKS)
  end
  return networks, concat(shown, ",")
end

return function(_, options, _, inner)
  local trust, version = kinds.take(options, "trust"), kinds.take(options, "version")
  local proxy, shown = { trust = GROUPS.loopback, version = 2 }, ""
  if trust then
    local networks, why = read_trust(trust)
    if not networks then return nil, why end
    proxy.trust, shown = networks, ":trust=" .. why
  end
  if version then
    proxy.version = check.number(version, 1, 2)
    if not proxy.version then return nil, format('version must be 1 or 2, not "%s"', version) end
    shown = shown .. format(":version=%d", proxy.version)
  end
  local at, why = inner "proxy:tcp:8080"
  if not at then return nil, why end
  if at.proxy then return nil, "proxy: inside of proxy:" end
  if kinds.is_datagram(at) then return nil, "the PROXY protocol needs a stream" end
  local result = {}
  for key, value in pairs(at) do result[key] = value end
  result.proxy, result.text = proxy, "proxy:" .. at.text .. shown
  return result
end
