-- SPDX-License-Identifier: MIT
-- rw.pipe: two connections joined in C; and rw.Forwarder, a factory that joins
-- each connection it gets with one that it makes.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Factory = require "ropewalk.factory"
local Failure = require "ropewalk.failure"
local Protocol = require "ropewalk.protocol"
local endpoint = require "ropewalk.endpoint"
local log = require "ropewalk.log"
local net = require "ropewalk.listen"

local error, getmetatable, next, tostring, type = error, getmetatable, next, tostring, type
local format = string.format
local optional, misuse = argument.optional, argument.misuse

local _ENV <const> = nil

local M = {}

local NONE <const> = {}
local TRANSPORT <const> = "ropewalk.transport"

local function transport_of(end_)
  local transport = type(end_) == "table" and end_.transport or end_
  if type(transport) == "userdata" and (getmetatable(transport) or NONE).__name == TRANSPORT then return transport end
  return misuse("pipe: a transport, or a protocol that has one, is needed, not a " .. type(end_))
end

local OPTIONS <const> = { idle = "number", one_way = "boolean", keep_end = "boolean", detach = "boolean" }

local function check(what, options)
  for name, value in next, options do
    local kind = OPTIONS[name]
    if not kind then misuse(format("%s: there is no option '%s'", what, tostring(name))) end
    if type(value) ~= kind then misuse(format("%s: %s must be a %s, not a %s", what, name, kind, type(value))) end
  end
end

---Joins two connections: what comes from one goes to the other, without a call
---of Lua for the bytes. What was read before and not yet seen goes first. The end
---of one is passed on to the other; when both have ended, both are closed and the
---Deferred fires with the numbers of bytes. It fails when one is lost, or when
---nothing moves for `idle` seconds (the limit idle_timeout); both are aborted then.
---Cancelling it aborts both. With `detach` it outlives a reload: it fires then with
---what was moved so far and `detached = true`, and the pipe goes on by itself.
---
---    local moved = rw.pipe(client, server):await()
---    print(moved.sent, moved.received)
---@param a ropewalk.Protocol|ropewalk.Transport
---@param b ropewalk.Protocol|ropewalk.Transport
---@param options? { idle: number, one_way: boolean, keep_end: boolean, detach: boolean }
---one_way: from a to b only, and both stay open after the end of a; keep_end: the end
---of one side is not passed on
---@return ropewalk.Deferred of { sent = bytes from a to b, received = bytes from b to a }
function M.pipe(a, b, options)
  if type(options or NONE) ~= "table" then
    error("pipe: the options must be a table, not " .. type(options), 2)
  end
  check("pipe", options or NONE)
  a, b = transport_of(a), transport_of(b)
  local handle, code, message
  local d = Deferred.new(function() if handle then handle:cancel() end end)
  handle, code, message = core.pipe(a, b, options or NONE,
    function(sent, received, name, why, detached)
      if d:called() then return end -- cancelled, or memory failed when it was told
      if not name then
        return d:callback { sent = sent, received = received, detached = detached or nil }
      end
      local failure = Failure.new(name, format("the pipe broke: %s", why))
      failure.sent, failure.received = sent, received
      return d:errback(failure)
    end)
  if not handle then d:errback(Failure.new(code, format("pipe: %s", message))) end
  return d
end

-- Forwarding ---------------------------------------------------------------

local logger = log.logger "forward"

local Incoming = Protocol:extend "Forwarder.Incoming"

function Incoming:connection_made()
  local factory, transport = self.factory, self.transport
  local where = factory.to
  if type(where) == "function" then where = where(transport.peer) end
  if not where then return transport:abort_connection() end
  transport:pause_producing() -- the pipe goes on
  local other
  local d = net.connect(where, factory.outgoing)
  d:add_callback(function(protocol)
    other = protocol.transport
    return M.pipe(transport, other, factory.options)
  end)
  d:add_callbacks(function(moved)
    logger:debug(moved.detached and "detached" or "forwarded",
      { peer = transport.peer, sent = moved.sent, received = moved.received })
  end, function(failure)
    local level = transport.connected and "warn" or "debug" -- nobody was there, or it broke
    transport:abort_connection()
    if other then other:abort_connection() end
    logger[level](logger, "{peer}: {failure}", { peer = transport.peer, failure = failure })
  end)
end

---@class ropewalk.Forwarder: ropewalk.Factory
---@field to string|ropewalk.Endpoint|fun(peer: table): string?
local Forwarder = Factory:extend "Forwarder"

Forwarder.protocol = Incoming

---A factory that joins each connection to a new one to the endpoint. A function
---instead of the endpoint is asked each time, with the peer's address; it may wait,
---and nil refuses the connection. Connections outlive a reload (`detach`). Options as
---of rw.pipe.
---
---    return rw.server("tcp:127.0.0.1:8081", rw.Forwarder "tcp:127.0.0.1:8080")
---@param to string|ropewalk.Endpoint|fun(peer: table): string?
---@param options? { idle: number }
function Forwarder:init(to, options)
  self.to = type(to) == "function" and to or endpoint.need(to)
  self.options = { detach = true }
  check("Forwarder", optional("Forwarder", 2, options, "table") or NONE)
  for key, value in next, options or NONE do self.options[key] = value end
  self.outgoing = Factory:for_protocol(Protocol)
end

M.Forwarder = Forwarder

return M
