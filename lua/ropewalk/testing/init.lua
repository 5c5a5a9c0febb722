-- SPDX-License-Identifier: MIT
-- Doubles for tests: a clock that stands still, a transport that remembers, and
-- looks at Deferreds. What takes a clock or a transport cannot tell them from
-- the real ones.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local cleanup = require "ropewalk.testing.cleanup"
local errors = require "ropewalk.testing.errors"
local fixture = require "ropewalk.testing.fixture"
local Pair = require "ropewalk.testing.pair"

local error, require, tostring, type =
  error, require, tostring, type
local concat, insert = table.concat, table.insert
local math_type = math.type

local _ENV <const> = nil

local testing = {}

testing.Clock = require "ropewalk.testing.clock"

-- Transport ----------------------------------------------------------------

---An address, as a transport's `peer`.
---
---    local transport = rw.testing.StringTransport { peer = rw.testing.address("192.0.2.9", 4000) }
---@param host string
---@param port integer
---@return ropewalk.Address address
function testing.address(host, port)
  argument.expect("address", 1, host, "string")
  if math_type(port) ~= "integer" or port < 0 or port > 65535 then
    argument.refuse("address", 2, "a port is expected")
  end
  return core.address("tcp", host, port)
end

---A transport that collects what is written. Tests look at its fields:
---`disconnecting`, `aborted`, `producing`, `events` (what went through `send`).
---@class ropewalk.testing.StringTransport
local StringTransport = Object:extend "StringTransport"

---    local transport = rw.testing.StringTransport()
---    local echo = Echo()
---    echo:make_connection(transport)
---    echo:data_received "hi"
---    assert(transport:value() == "hi")
function StringTransport:init(options)
  options = argument.optional("StringTransport", 1, options, "table") or {}
  self.peer = options.peer or testing.address("192.0.2.1", 54321)
  self.host = options.host or testing.address("192.0.2.2", 7000)
  self.parts, self.events, self.options, self.limits = {}, {}, {}, {}
  self.connected, self.disconnecting, self.aborted = true, false, false
  self.producing, self.write_closed, self.buffered = true, false, 0
end

function StringTransport:write(bytes)
  if not self.connected or self.disconnecting then return true end
  if type(bytes) == "table" then bytes = concat(bytes) end
  insert(self.parts, tostring(bytes))
  return true
end

function StringTransport:send(event, ...)
  if not self.connected then return true end
  insert(self.events, { event, ... })
  if event == "line" then return self:write((...) .. "\r\n") end
  if event == "string" then return self:write(#... .. ":" .. ... .. ",") end
  return self:write((...))
end

---All that was written.
---@return string
function StringTransport:value() return concat(self.parts) end

---Forgets it.
function StringTransport:clear() self.parts, self.events = {}, {} end

function StringTransport:lose_connection() self.disconnecting = true end

function StringTransport:abort_connection()
  self.aborted, self.disconnecting, self.connected = true, true, false
end

function StringTransport:lose_write() self.write_closed = true end
function StringTransport:pause_producing() self.producing = false end
function StringTransport:resume_producing() self.producing = true end
function StringTransport:set_option(name, value)
  argument.expect("set_option", 1, name, "string")
  self.options[name] = value
end
function StringTransport:set_timeout(seconds) self.timeout = seconds end
function StringTransport:set_raw(n) self.raw = n or true end
function StringTransport:set_lines(rest) self.raw, self.rest = nil, rest end
function StringTransport:set_delimiter(delimiter) self.delimiter = delimiter end
function StringTransport:drained() return self.connected end

testing.StringTransport = StringTransport

---Makes the factory's protocol and connects it to a new StringTransport.
---
---    local echo, transport = rw.testing.connected(factory)
---@param factory ropewalk.Factory
---@return ropewalk.Protocol protocol
---@return ropewalk.testing.StringTransport transport
function testing.connected(factory, options)
  argument.object("connected", 1, factory, "build_protocol", "factory")
  local transport = StringTransport(options)
  local protocol = factory:build_protocol(transport.peer)
  protocol:make_connection(transport)
  return protocol, transport
end

-- Deferreds ----------------------------------------------------------------

---The result of a Deferred that has fired; raises when it has not, or failed.
---
---    assert(rw.testing.success_result_of(d) == 42)
---@param d ropewalk.Deferred
---@return any
function testing.success_result_of(d)
  argument.object("success_result_of", 1, d, "peek", "Deferred")
  local fired, result = d:peek()
  if not fired then error("the Deferred has not fired: " .. tostring(d), 2) end
  if Failure.is_failure(result) then
    d:handled()
    error("the Deferred has failed: " .. result:describe(), 2)
  end
  return result
end

---The Failure of a Deferred that has failed; it counts as handled.
---@param d ropewalk.Deferred
---@param ... string|table codes or classes, one of which it must be
---@return ropewalk.Failure
function testing.failure_result_of(d, ...)
  argument.object("failure_result_of", 1, d, "peek", "Deferred")
  local fired, result = d:peek()
  if not fired then error("the Deferred has not fired: " .. tostring(d), 2) end
  if not Failure.is_failure(result) then
    error("the Deferred has not failed, its result is " .. tostring(result), 2)
  end
  d:handled()
  if ... and not result:check(...) then
    error("the Deferred has failed in another way: " .. result:describe(), 2)
  end
  return result
end

---Raises when the Deferred has fired.
---@param d ropewalk.Deferred
function testing.assert_no_result(d)
  argument.object("assert_no_result", 1, d, "peek", "Deferred")
  local fired, result = d:peek()
  if fired then
    if Failure.is_failure(result) then d:handled() end
    error("the Deferred has fired already, with " .. tostring(result), 2)
  end
end

testing.pair = Pair.connect

-- For `ropewalk test` -----------------------------------------------------

testing.add_cleanup = cleanup.add
testing.flush_logged_errors = errors.flush
testing.patch, testing.temp_dir, testing.temp_file =
  fixture.patch, fixture.temp_dir, fixture.temp_file

---The running test may take so many seconds from now on.
---
---    rw.testing.timeout(300)
---@param seconds number
function testing.timeout(seconds)
  if type(seconds) ~= "number" or seconds <= 0 then
    error("timeout: a number of seconds is needed", 2)
  end
  return require "ropewalk.spec.it".set_timeout(seconds)
end

---Is it a Deferred?
testing.is_deferred = Deferred.is

-- Simulation (docs/simulation.md) ------------------------------------------

---Runs a function in a simulated world; see simulate.lua.
---@return ropewalk.simulate.Result
function testing.simulate(...) return require "ropewalk.simulate".simulate(...) end

---The same with many seeds.
function testing.simulate_many(...) return require "ropewalk.simulate".simulate_many(...) end

return testing
