-- SPDX-License-Identifier: MIT
-- Connections in memory for the fake core: listen, connect, transports, and
-- the engines "raw", "line" and "netstring" in a few lines each.

local net = {}
local core, spawn
local servers = {}
local next_port = 40000

local function key_of(endpoint)
  return endpoint.kind == "unix" and endpoint.path or endpoint.port
end

local Address = {}
Address.__index = Address
function Address:__tostring() return self.kind .. ":" .. tostring(self.host) .. ":" .. tostring(self.port) end
function Address:__call() return self end

local function address(host, port)
  return setmetatable({ kind = "tcp", host = host, port = port }, Address)
end

-- Engines: take(state, bytes) calls out(event, …) for each -------------------

local engines = {}

function engines.raw(transport, out)
  local bytes = transport.input
  transport.input = ""
  if bytes ~= "" then out("data", bytes) end
end

function engines.line(transport, out)
  while transport.input ~= "" and not transport.closing and not transport.busy do
    local input = transport.input
    if transport.raw then
      local take = transport.raw == true and #input or math.min(transport.raw, #input)
      transport.input = input:sub(take + 1)
      if transport.raw ~= true then transport.raw = transport.raw - take end
      out("raw", input:sub(1, take))
      if transport.raw == 0 then
        transport.raw = nil
        out("raw_end")
      end
    else
      local first, last
      local delimiter = transport.delimiter
      if delimiter == "any" then
        first, last = input:find("\r?\n")
      else
        first, last = input:find(delimiter == "crlf" and "\r\n" or delimiter, 1, true)
      end
      if not first then
        if #input > transport.limits.max_line then transport:fail("RW_ELIMIT", "line too long") end
        return
      end
      transport.input = input:sub(last + 1)
      out("line", input:sub(1, first - 1))
    end
  end
end

function engines.netstring(transport, out)
  while not transport.closing and not transport.busy do
    local length, colon = transport.input:match("^(%d+)():")
    if not length then return end
    local last = colon + tonumber(length)
    if #transport.input <= last then return end
    local text = transport.input:sub(colon + 1, last)
    transport.input = transport.input:sub(last + 2)
    out("string", text)
  end
end

-- Transports ---------------------------------------------------------------

local Transport = { __name = "transport" }
Transport.__index = Transport

local function new_transport(host, peer)
  return setmetatable({ host = host, peer = peer, connected = true, input = "", delimiter = "any",
    limits = setmetatable({}, { __index = core.limits }), scope = {}, closing = false, output = {} },
    Transport)
end

-- Runs a hook of the protocol; an error in it drops the connection.
local function hook(transport, name, ...)
  local protocol = transport.protocol
  local fn = protocol[name]
  if not fn then return end
  transport.busy = true
  local args = table.pack(...)
  spawn(transport.scope, function()
    local ok, err = xpcall(fn, debug.traceback, protocol, table.unpack(args, 1, args.n))
    transport.busy = false
    if not ok then
      core.log("error", "hook", tostring(err))
      transport:fail("RW_ESCRIPT", "the script failed")
    end
    transport:pump()
  end)
end

function Transport:pump()
  if self.pumping or self.busy or self.closing or self.paused then return end
  self.pumping = true
  local protocol = self.protocol
  while not self.busy and not self.closing and not self.paused do
    local before = self.input
    engines[protocol.engine or "raw"](self, function(event, ...)
      hook(self, protocol.events and protocol.events[event] or "on_" .. event, ...)
    end)
    if self.input == before then break end
  end
  self.pumping = false
end

local function close(self, code, name, message)
  if not self.connected then return end
  self.connected, self.closing = false, true
  core.close_scope(self.scope)
  local Failure = require "ropewalk.failure"
  local reason = Failure.from_close(code, name, message)
  core.spawn_detached(function() self.protocol:connection_lost(reason) end)
end

function Transport:fail(name, message)
  local other = self.other
  core.timer(0, function()
    close(self, -1, name, message)
    close(other, -1, "ECONNRESET", "connection reset by peer")
  end)
  self.closing = true
end

function Transport:write(bytes)
  if not self.connected or self.closed_write then return true end
  if type(bytes) == "table" then bytes = table.concat(bytes) end
  local other = self.other
  core.timer(0, function()
    if other.closing then return end
    other.input = other.input .. bytes
    other:pump()
  end)
  return true
end

function Transport:send(event, text)
  if event == "line" then
    if text:find("[\r\n]") then error("a line must not contain its end", 2) end
    return self:write(text .. "\r\n")
  end
  if event == "string" then return self:write(#text .. ":" .. text .. ",") end
  return self:write(text)
end

function Transport:lose_connection()
  if self.closing then return end
  self.closing = true
  core.timer(0, function()
    close(self, 0, "RW_EOF", "closed cleanly")
    local other = self.other
    core.timer(0, function() close(other, 0, "RW_EOF", "closed cleanly") end)
  end)
end

function Transport:abort_connection()
  if not self.connected then return end
  self.closing = true
  core.timer(0, function()
    close(self, -1, "RW_EABORTED", "aborted by this side")
    close(self.other, -1, "ECONNRESET", "connection reset by peer")
  end)
end

function Transport:lose_write() self.closed_write = true end
function Transport:pause_producing() self.paused = true end
function Transport:resume_producing()
  self.paused = false
  self:pump()
end
function Transport:set_delimiter(delimiter) self.delimiter = delimiter end
function Transport:set_raw(n) self.raw = n or true end
function Transport:set_lines(rest)
  self.raw = nil
  if rest then self.input = rest .. self.input end
end
function Transport:set_option() end
function Transport:set_timeout() end
function Transport:drained() return self.connected end

-- Listening and connecting ---------------------------------------------------

local Server = { __name = "server" }
Server.__index = Server

function Server:address() return address(self.host, self.port) end

function Server:close(fn)
  if servers[self.key] == self then servers[self.key] = nil end
  core.timer(0, fn)
end

local function connect(server, factory, done)
  local port = next_port
  next_port = port + 1
  local near, far = address("127.0.0.1", port), address("127.0.0.1", server.port)
  local client, accepted = new_transport(near, far), new_transport(far, near)
  client.other, accepted.other = accepted, client
  local ok, theirs = pcall(server.factory.build_protocol, server.factory, near)
  if not ok then core.log("error", "hook", tostring(theirs)) end
  local ours = factory:build_protocol(far)
  if not ours then return done(nil, "ECANCELED", "the factory refused") end
  client.protocol = ours
  hook(client, "make_connection", client)
  if not ok or not theirs then
    core.timer(0, function() close(client, 0, "RW_EOF", "closed") end)
  else
    accepted.protocol = theirs
    hook(accepted, "make_connection", accepted)
  end
  done(ours)
end

function net.attach(the_core, the_spawn)
  core, spawn = the_core, the_spawn

  function core.listen(endpoint, factory)
    local key = key_of(endpoint)
    if key == 0 then
      key, next_port = next_port, next_port + 1
    end
    if key == 1 then return nil, "EACCES", "permission denied" end
    if servers[key] then return nil, "EADDRINUSE", "address already in use" end
    local server = setmetatable({ key = key, host = endpoint.host or "::",
      port = endpoint.kind == "tcp" and key or nil, factory = factory }, Server)
    servers[key] = server
    return server
  end

  function core.connect(endpoint, factory, done)
    local cancelled = false
    local timer = core.timer(0.001, function()
      if cancelled then return end
      local server = servers[key_of(endpoint)]
      if not server then return done(nil, "ECONNREFUSED", "connection refused") end
      connect(server, factory, done)
    end)
    return { cancel = function()
      cancelled = true
      timer:cancel()
    end }
  end
end

return net
