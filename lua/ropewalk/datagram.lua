-- SPDX-License-Identifier: MIT
-- DatagramProtocol: one object per socket. Its hooks are tasks of their own: one
-- that waits does not hold up the next datagram.
--
--   make_connection ─▶ start_protocol ─▶ datagram_received … ─▶ stop_protocol

local argument = require "ropewalk.argument"
local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"

local error, ipairs, require, setmetatable, tostring, type, xpcall =
  error, ipairs, require, setmetatable, tostring, type, xpcall
local misuse = argument.misuse

local _ENV <const> = nil

local methods = core.datagram_methods or {}
local close = methods.close

-- Protocol -----------------------------------------------------------------

---@class ropewalk.DatagramProtocol
---@field transport ropewalk.DatagramTransport
---@field factory ropewalk.Factory
---@field port ropewalk.Port|false where it listens
local DatagramProtocol = Object:extend "DatagramProtocol"

DatagramProtocol.transport = false
DatagramProtocol.factory = false
DatagramProtocol.port = false

---Ties the protocol to its socket. Called by the library.
---@param transport ropewalk.DatagramTransport
function DatagramProtocol:make_connection(transport)
  self.transport = transport
  return self:start_protocol()
end

---The socket is there; datagrams come once this has returned.
---
---    function Discovery:start_protocol() self.transport:join_group "239.1.2.3" end
function DatagramProtocol:start_protocol() end -- luacheck: ignore 212

---A datagram came.
---
---    function Echo:datagram_received(bytes, address) self.transport:write(bytes, address) end
---@param bytes string
---@param address ropewalk.Address
function DatagramProtocol:datagram_received(bytes, address) end -- luacheck: ignore 212

---Nobody listens at the other end: of connected sockets, when the system is told.
---A UNIX peer is looked for again by the next datagram.
function DatagramProtocol:connection_refused() end -- luacheck: ignore 212

---The socket is closed, or belongs to newer code: the last hook.
function DatagramProtocol:stop_protocol() end -- luacheck: ignore 212

-- Transport ----------------------------------------------------------------

---What a datagram protocol writes to. `write(bytes[, address])` sends at once or
---queues: true; false when the queue is full and the datagram was dropped; nil and
---a Failure (code "EMSGSIZE": longer than a datagram can be). Without an address
---it goes to the peer of a connected socket. `connect(address)` gives the socket a
---peer. Addresses are those of datagrams, or text: "127.0.0.1:53", "unix:/run/x".
---@class ropewalk.DatagramTransport
---@field host ropewalk.Address of this side
---@field peer? ropewalk.Address the peer's, when connected
---@field connected boolean is it open?
---@field write fun(self, bytes: string, address?: any): boolean?, ropewalk.Failure?
---@field connect fun(self, address: any): boolean?, ropewalk.Failure?

---Closes the socket. Hooks that wait are cancelled.
---@return ropewalk.Deferred
function methods:stop_listening()
  local port = self.protocol.port
  if port then return port:stop_listening() end
  close(self)
  return Deferred.succeed()
end

methods.lose_connection, methods.close = methods.stop_listening, methods.stop_listening

---May it send to broadcast addresses?
---@param allowed boolean
function methods:set_broadcast_allowed(allowed) return self:set_option("broadcast", allowed) end

---How many hops datagrams go.
---@param hops integer
function methods:set_ttl(hops) return self:set_option("ttl", hops) end

---How many hops datagrams to groups go; 1 by default.
---@param hops integer
function methods:set_multicast_ttl(hops) return self:set_option("multicast_ttl", hops) end

---Does this machine get what it sends to groups?
---@param on boolean
function methods:set_loopback_mode(on) return self:set_option("loopback", on) end

---By which interface datagrams to groups go out: its address or name.
---@param interface string
function methods:set_outgoing_interface(interface) return self:outgoing_interface(interface) end

---Receives what is sent to the group. Being a member already is fine.
---
---    transport:join_group("239.1.2.3", "127.0.0.1")
---@param group string
---@param interface? string its address or name; the system's choice when left out
---@return boolean? joined
---@return ropewalk.Failure? failure
function methods:join_group(group, interface) return self:group(true, group, interface) end

---@param group string
---@param interface? string
function methods:leave_group(group, interface) return self:group(false, group, interface) end

-- Listening, connecting ----------------------------------------------------

local datagram = { DatagramProtocol = DatagramProtocol }

local HOST_MAX <const> = 107 -- bytes that an address has room for; a name may be longer

-- What build_protocol is given. Of an inherited socket nothing is known yet, and a name
-- that is too long to be one is no address.
local function address_of(at)
  local host = at.host or ""
  if at.kind == "udp" and #host <= HOST_MAX then return core.address("udp", host, at.port) end
  if at.kind == "unixgram" then return core.address("unix", at.path) end
  return core.address("none", "")
end

---The protocol that serves the socket; nil and a Failure when the factory has none.
---@param factory ropewalk.Factory
---@param at ropewalk.Endpoint
function datagram.build(factory, at)
  if factory.http then misuse(tostring(at) .. ": a web site is not served by datagrams") end
  local protocol = factory:build_protocol(address_of(at))
  if not protocol then return nil, Failure.new("refused", "the factory has no protocol for it") end
  if type(protocol) ~= "table" or not protocol.datagram_received then
    misuse(tostring(at) .. ": the factory's protocol must be a rw.DatagramProtocol")
  end
  return protocol
end

-- What needs no looking up. A text without a host, and "localhost", is 127.0.0.1:
-- unlike with TCP, nobody would notice that ::1 has no one listening.
local function is_known(host)
  return not host or host == "" or host == "localhost" or core.address_parse(host) ~= nil
end

---A connected socket: Deferred of the protocol. Of a name's addresses it is the
---first that there is a route to.
---@param at ropewalk.Endpoint
---@param factory ropewalk.Factory
---@param failed fun(code: string, message: string): ropewalk.Failure
---@return ropewalk.Deferred
function datagram.connect(at, factory, failed)
  local protocol, failure = datagram.build(factory, at)
  if not protocol then return Deferred.fail(failure) end
  local transport, asking
  local d = Deferred.new(function()
    if asking then asking:cancel() end
    if transport then close(transport) end
  end)
  local function open(where)
    local code, message
    transport, code, message = core.connect_datagrams(where, protocol, at.limits)
    return transport or failed(code, message)
  end
  local function begin()
    core.spawn_detached(function()
      local ok, why = xpcall(protocol.make_connection, Failure.caught, protocol, transport)
      if ok then transport:begin() else close(transport) end
      if ok and not d:called() then d:callback(protocol) end
      if ok then return end
      if d:called() then error(why, 0) end -- for the log
      d:errback(why)
    end, d)
  end
  if is_known(at.host) then
    local refused = open(at)
    if not transport then return Deferred.fail(refused) end
    begin()
    return d
  end
  asking = require "ropewalk.names".resolve(at.host)
  asking:add_callbacks(function(addresses)
    asking = nil
    if d:called() then return end
    local refused
    for _, address in ipairs(addresses) do
      refused = open(setmetatable({ host = address }, { __index = at }))
      if transport then return begin() end
    end
    d:errback(refused)
  end):add_errback(function(why)
    asking = nil
    if not d:called() then d:errback(why) end
  end)
  return d
end

return datagram
