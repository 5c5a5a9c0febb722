-- SPDX-License-Identifier: MIT
-- Factory: what connections have in common. It makes a protocol for each and
-- holds shared state and policy; it does not know where it listens.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local LineProtocol = require "ropewalk.line"
local NetstringProtocol = require "ropewalk.netstring"
local Protocol = require "ropewalk.protocol"

local error, getmetatable, next, rawget, setmetatable, tostring, type, xpcall =
  error, getmetatable, next, rawget, setmetatable, tostring, type, xpcall
local find, format, gsub, lower = string.find, string.format, string.gsub, string.lower
local pack, unpack = table.pack, table.unpack

local _ENV <const> = nil

---@class ropewalk.Factory
---@field protocol? table the class of the protocols that build_protocol makes
---@field reload_policy "finish"|"migrate"|"next_message"
---@field ports integer how many ports it serves
local Factory = Object:extend "Factory"

Factory.protocol = false
Factory.arguments = false
Factory.ports = 0
Factory.live = false

---At a reload: "finish", connections stay with the code they began with;
---"migrate", they go over at once with what protocol:save() gives;
---"next_message", they go over at the next boundary (engines that have them).
Factory.reload_policy = "finish"

-- A hook in Twisted's spelling would never be called.
local function misspelt_hook(class)
  for key in next, class do
    local hook = type(key) == "string" and find(key, "%u")
      and gsub(key, "%u", function(c) return "_" .. lower(c) end)
    if hook and type(class[hook]) == "function" and rawget(class, hook) == nil then
      return format("%s has %s; here it is called %s", tostring(class), key, hook)
    end
  end
end

-- Why this cannot be the class of a factory's protocols.
local function objection(factory, class)
  if type(factory) ~= "table" or not factory.build_protocol then
    return "called with a dot; write rw.Factory:for_protocol(Class)"
  end
  if type(class) ~= "table" then return "the protocol class must be a table, not " .. type(class) end
  local metatable = getmetatable(class)
  if type(metatable) ~= "table" or not metatable.__call then
    return 'a class is needed, such as rw.Protocol:extend "Echo", not a plain table'
  end
  return misspelt_hook(class)
end

---A factory that makes protocols of this class, each with these arguments.
---
---    return rw.server("tcp:7000", rw.Factory:for_protocol(Echo))
---@param protocol table a subclass of rw.Protocol
---@return ropewalk.Factory
function Factory:for_protocol(protocol, ...)
  local why = objection(self, protocol)
  if why then error("for_protocol: " .. why, 2) end
  local factory = self:new()
  factory.protocol = protocol
  local arguments = pack(...)
  if arguments.n > 0 then factory.arguments = arguments end
  return factory
end

---Makes the protocol of a new connection; nil refuses it.
---
---    function Guarded:build_protocol(address)
---      if banned[address.host] then return nil end
---      return rw.Factory.build_protocol(self, address)
---    end
---@param address table { kind, host, port } of the peer
---@return ropewalk.Protocol?
function Factory:build_protocol(address) -- luacheck: ignore 212
  local class, arguments = self.protocol, self.arguments
  if not class then core.misuse "the factory has no protocol: use Factory:for_protocol(Class)" end
  local protocol
  if arguments then
    protocol = class(unpack(arguments, 1, arguments.n))
  else
    protocol = class()
  end
  protocol.factory = self
  return protocol
end

-- What the library's own classes do at connection time, nobody can see.
local LAZY <const> = {
  [Protocol.make_connection] = true, [LineProtocol.make_connection] = true,
  [NetstringProtocol.make_connection] = true,
}

---May the core wait with build_protocol until the first bytes come? It may when
---nobody can tell: neither the factory nor the protocol does anything of its own
---at connection time. An idle connection then costs no Lua memory.
---@return boolean
function Factory:is_lazy()
  local class = self.protocol
  return type(class) == "table" and self.build_protocol == Factory.build_protocol
    and class.connection_made == Protocol.connection_made
    and LAZY[class.make_connection]
    and class.init == Protocol.init and class.connection_lost == Protocol.connection_lost
    and not class.read_connection_lost
end

---Called before the first port opens.
function Factory:start_factory() end -- luacheck: ignore 212

---Called after the last port has closed.
function Factory:stop_factory() end -- luacheck: ignore 212

---A port opens. For ports only.
function Factory:do_start()
  local ports = self.ports
  self.ports = ports + 1
  if ports > 0 then return end
  local ok, why = xpcall(self.start_factory, Failure.caught, self)
  if ok then return end
  self.ports = self.ports - 1 -- the port does not open
  error(why, 0)
end

---A port has closed. For ports only.
function Factory:do_stop()
  local ports = self.ports
  if ports == 0 then return end
  self.ports = ports - 1
  if ports == 1 then self:stop_factory() end
end

local weak = { __mode = "k" }

---Notes a live protocol; make_connection does it.
---@param protocol ropewalk.Protocol
function Factory:track(protocol)
  local live = self.live
  if not live then
    live = setmetatable({}, weak)
    self.live = live
  end
  live[protocol] = true
end

---Forgets it: its connection belongs to another protocol now.
---@param protocol ropewalk.Protocol
function Factory:untrack(protocol)
  if self.live then self.live[protocol] = false end -- not nil: `connections` may be underway
end

local function is_connected(protocol) return protocol.transport and protocol.transport.connected end

---Iterates over the protocols that are connected now; those that come while the loop
---waits are not among them. A lazy factory (is_lazy)
---has none yet for a connection that has not said anything; `factory.lazy = false`
---before it listens changes that.
---
---    for user in factory:connections() do user:send_line "going down" end
function Factory:connections()
  local list, at = {}, 0
  for protocol, is_ours in next, self.live or {} do
    if is_ours then list[#list + 1] = protocol end
  end
  return function()
    repeat at = at + 1 until not list[at] or is_connected(list[at])
    return list[at]
  end
end

---How many connections are open.
---@return integer
function Factory:connection_count()
  local count = 0
  for _ in self:connections() do count = count + 1 end
  return count
end

---Takes over a connection from older code (reload policy "migrate"): makes a
---protocol for it without calling connection_made. Without one the connection stays
---with the older code, and the log says so.
---@param transport ropewalk.Transport
---@param data table what the older protocol's save() gave
---@return ropewalk.Protocol?
function Factory:restore(transport, data)
  local protocol = self:build_protocol(transport.peer)
  if not protocol then return nil end
  protocol.transport = transport
  if protocol.factory then self:track(protocol) end
  if protocol.restored then protocol:restored(data or {}) end
  return protocol
end

return Factory
