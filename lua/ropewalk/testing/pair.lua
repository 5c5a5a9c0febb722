-- SPDX-License-Identifier: MIT
-- Two protocols joined in memory: no port, no descriptor, but the same streams,
-- engines, filters and limits as on the network.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local async = require "ropewalk.async"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"

local setmetatable = setmetatable

local _ENV <const> = nil

---@class ropewalk.testing.Pair
---@field client ropewalk.Protocol
---@field server? ropewalk.Protocol nil when the factory refused
local Pair = Object:extend "Pair"

-- The factory, but what it builds is remembered.
local function remembering(factory, pair)
  local proxy = { lazy = false }
  function proxy:build_protocol(address) -- luacheck: ignore 212
    pair.server = factory:build_protocol(address)
    return pair.server
  end
  return setmetatable(proxy, { __index = factory })
end

---Connects a client's protocol with a server's.
---
---    local pair = rw.testing.pair(server_factory, client_factory):await()
---    pair.client:send_line "hello"
---    pair:pump()
---@param server ropewalk.Factory|table a factory or a site
---@param client ropewalk.Factory
---@return ropewalk.Deferred of the pair
function Pair.connect(server, client)
  argument.factory("pair", 1, server)
  argument.factory("pair", 2, client)
  local pair, d = Pair(), Deferred()
  local function done(protocol, code, message)
    if not protocol then return d:errback(Failure.new(code, message)) end
    pair.client = protocol
    d:callback(pair)
  end
  local _, code, message = core.pair(server.http and server or remembering(server, pair),
    client, done)
  if code then return Deferred.fail(Failure.new(code, message)) end
  return d
end

local QUIET <const> = 3 -- turns without a byte

---Lets all that is on its way arrive: waits until no byte has moved for some
---turns of the loop.
function Pair:pump()
  local moved, quiet = -1, 0
  while quiet < QUIET do
    async.sleep(0):await()
    local stats = core.stats()
    local now = stats.bytes_in + stats.bytes_out
    quiet = now == moved and quiet + 1 or 0
    moved = now
  end
  return self
end

---Closes both ends and waits until they are gone.
function Pair:close()
  self.client.transport:abort_connection()
  return self:pump()
end

return Pair
