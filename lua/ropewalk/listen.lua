-- SPDX-License-Identifier: MIT
-- Listening and connecting: the endpoint and the factory meet here.

local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local datagram = require "ropewalk.datagram"
local endpoint = require "ropewalk.endpoint"
local is_datagram = require "ropewalk.endpoint.kinds".is_datagram

local error, pcall, require, setmetatable, tostring, type, xpcall =
  error, pcall, require, setmetatable, tostring, type, xpcall
local format, lower = string.format, string.lower

local _ENV <const> = nil

local net = {
  resolver = false, -- of ropewalk.names, when a script has installed one
}

local FIRST_FREE_PORT <const> = 1024

-- What the system's word does not say.
local function hint(op, at, name)
  if name == "RW_ENONAME" and at.path then
    return "no such user or group", true
  elseif (name == "RW_ELOCKED" or name == "RW_EUNLOCKED") and at.path then
    return "the lock is " .. at.path .. ".lock"
  elseif op == "listen on" and name == "EACCES" and at.port and at.port < FIRST_FREE_PORT then
    return "ports below 1024 need root, CAP_NET_BIND_SERVICE or systemd:NAME"
  end
end

-- core's `nil, code, message` → Failure with both words of it. `report`: each
-- address that was tried.
local function failed(op, at, code, message, report)
  local name = tostring(code)
  local text = name
  local more, instead = hint(op, at, name)
  if instead then message, more = more, nil end
  if message and lower(message) ~= lower(name) then text = format("%s (%s)", message, name) end
  if more then text = format("%s; %s", text, more) end
  if report and report ~= "" and not core.address_parse(at.host or "") then
    text = format("%s: %s", text, report)
  end
  local failure = Failure.new(name, format("cannot %s %s: %s", op, tostring(at), text))
  failure.name = name
  return failure
end

local function check(what, factory)
  if type(factory) ~= "table" then
    error(what .. ": the factory must be a table, not " .. type(factory), 3)
  end
  if not factory.build_protocol and not factory.http then
    error(what .. ": the factory has no build_protocol; is it a protocol class? "
      .. "Then use rw.Factory:for_protocol(Class)", 3)
  end
end

-- Ports --------------------------------------------------------------------

---@class ropewalk.Port
---@field address table { kind, host, port } where it listens
---@field port? integer
---@field factory ropewalk.Factory
local Port = { __name = "Port" }
Port.__index = Port

---Opens a port at once: port, or nil and a Failure.
---@param where string|ropewalk.Endpoint
---@param factory ropewalk.Factory
---@return ropewalk.Port? port
---@return ropewalk.Failure? failure
function net.open(where, factory)
  check("listen", factory)
  local at, failure = endpoint.parse(where)
  if not at then return nil, failure end
  local protocol
  if is_datagram(at) then
    protocol, failure = datagram.build(factory, at)
    if not protocol then return nil, failure end
  end
  local secured
  if at.tls then
    secured, failure = require "ropewalk.tls".listening(at)
    if not secured then return nil, failure end
  end
  local ok, server, code, message = true
  if factory.do_start then ok, server = pcall(factory.do_start, factory) end
  if not ok then
    if secured and secured.companion then secured.companion:stop() end
    error(server, 0)
  end
  if factory.lazy == nil and factory.is_lazy then factory.lazy = factory:is_lazy() end
  if protocol then
    ok, server, code, message = pcall(core.listen_datagrams, at, protocol, at.limits)
  else
    ok, server, code, message = pcall(core.listen, secured or at, factory, at.limits)
  end
  if not ok or not server then
    if secured and secured.companion then secured.companion:stop() end
    if factory.do_stop then factory:do_stop() end
    if not ok then error(server, 0) end
    return nil, failed("listen on", at, code, message)
  end
  local companion = secured and secured.companion
  if companion then companion:start() end
  local address = server:address()
  local port = setmetatable({ server = server, companion = companion, factory = factory,
    endpoint = at, address = address, port = address and address.port, protocol = protocol, stopping = false }, Port)
  if protocol then protocol.port = port end
  return port
end

---Stops listening. Connections that were accepted stay. The factory's
---stop_factory runs when it was its last port.
---
---    port:stop_listening():await()
---@return ropewalk.Deferred
function Port:stop_listening()
  local d = Deferred.new()
  local stopping = self.stopping
  if stopping then
    if stopping == true then return Deferred.succeed() end
    stopping:add_both(function(result)
      d:callback()
      return result
    end)
    return d
  end
  self.stopping = d
  if self.companion then self.companion:stop() end
  self.server:close(function()
    self.stopping = true
    core.spawn_detached(function() -- stop_factory may wait
      local factory, ok, why = self.factory, true, nil
      if factory.do_stop then ok, why = xpcall(factory.do_stop, Failure.caught, factory) end
      if ok then d:callback() else d:errback(why) end
    end)
  end)
  return d
end

Port.close = Port.stop_listening

function Port:__tostring() return "Port " .. tostring(self.endpoint) end

---Listens.
---
---    local port = rw.listen("tcp:127.0.0.1:0", factory):await()
---    print(port.address.port)
---@param where string|ropewalk.Endpoint
---@param factory ropewalk.Factory
---@return ropewalk.Deferred of a port
function net.listen(where, factory)
  check("listen", factory)
  local port, failure = net.open(where, factory)
  if port then return Deferred.succeed(port) end
  return Deferred.fail(failure)
end

---Connects. Cancelling it gives up.
---
---    local client = rw.connect("tcp:localhost:7000", rw.Factory:for_protocol(Client)):await()
---@param where string|ropewalk.Endpoint
---@param factory ropewalk.Factory
---@return ropewalk.Deferred of the protocol
function net.connect(where, factory)
  check("connect", factory)
  local at, failure = endpoint.parse(where)
  if not at then return Deferred.fail(failure) end
  if is_datagram(at) then
    return datagram.connect(at, factory, function(code, message)
      return failed("connect to", at, code, message)
    end)
  end
  if at.tls then
    at, failure = require "ropewalk.tls".connecting(at)
    if not at then return Deferred.fail(failure) end
  end
  local connector, asking
  local d = Deferred.new(function()
    if connector then connector:cancel() end
    if asking then asking:cancel() end
  end)
  local function done(protocol, code, message, report)
    if d:called() then -- cancelled, while the protocol was being made
      return protocol and protocol.transport:abort_connection()
    end
    -- What follows is the caller's work, not a hook of the connection.
    if protocol then return core.spawn_detached(d.callback, d, protocol) end
    return d:errback(failed("connect to", at, code, message, report))
  end
  local function begin(where_to)
    local code, message
    connector, code, message = core.connect(where_to, factory, done, at.limits)
    if not connector and not d:called() then
      d:errback(failed("connect to", at, code, message))
    end
  end
  if not net.resolver or at.kind ~= "tcp" then
    begin(at)
    return d
  end
  asking = net.resolver.resolve(at.host or "localhost")
  asking:add_callback(function(addresses)
    asking = nil
    if not d:called() then begin(setmetatable({ addresses = addresses }, { __index = at })) end
  end):add_errback(function(why) -- not resolved, or into what is no address
    asking = nil
    if not d:called() then d:errback(why) end
  end)
  return d
end

return net
