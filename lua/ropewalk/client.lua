-- SPDX-License-Identifier: MIT
-- rw.client: a service that keeps one connection. Lost or refused, it tries
-- again: after 1 s, then 1.5 times longer each time up to 60 s, each with some
-- jitter so that a thousand clients do not come back in the same moment.

local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local endpoint = require "ropewalk.endpoint"
local log = require "ropewalk.log"
local net = require "ropewalk.listen"
local reactor = require "ropewalk.reactor"
local Service = require "ropewalk.service".Service

local error, ipairs, next, setmetatable, tostring, type =
  error, ipairs, next, setmetatable, tostring, type
local min, random = math.min, math.random

local _ENV <const> = nil

---@class ropewalk.ClientService: ropewalk.Service
---@field protocol? ropewalk.Protocol the live connection's
---@field retry_policy fun(failures: integer): number seconds to wait
---@field prepare_connection? fun(protocol: ropewalk.Protocol): any before others get it
local ClientService = Service:extend "ClientService"

local logger = log.logger "client"

---The time to wait after so many failures in a row.
---@param failures integer
---@return number seconds
function ClientService.retry_policy(failures)
  return min(60, 1.5 ^ min(failures - 1, 12)) * (1 + random() * 0.2)
end

ClientService.protocol = false
ClientService.prepare_connection = false
ClientService.attempt, ClientService.timer, ClientService.preparing = false, false, false

---A service that keeps a connection to the endpoint.
---
---    local upstream = rw.client("tcp:db.example:5432", rw.Factory:for_protocol(Db))
---    local db = upstream:when_connected():await()
---@param where string|ropewalk.Endpoint
---@param factory ropewalk.Factory
---@param options? { retry_policy: function, prepare_connection: function, clock: table }
function ClientService:init(where, factory, options)
  if type(factory) ~= "table" or not factory.build_protocol then
    error("client: the second argument must be a factory, not " .. type(factory), 3)
  end
  self.endpoint, self.factory = endpoint.need(where), factory
  self.clock, self.waiting, self.failures = reactor, {}, 0
  for key, value in next, options or {} do self[key] = value end
end

-- The protocol tells this service when its connection is lost, or goes on with
-- another protocol.
local function watch(self, protocol)
  local lost, switched = protocol.connection_lost, protocol.protocol_switched
  protocol.connection_lost = function(this, reason)
    self:disconnected(this, reason)
    if lost then return lost(this, reason) end
  end
  protocol.protocol_switched = function(this, other)
    watch(self, other)
    if self.protocol == this then self.protocol = other end
    if self.preparing == this then self.preparing = other end
    if switched then return switched(this, other) end
  end
  return protocol
end

local function watched(self)
  local factory = self.factory
  return setmetatable({ build_protocol = function(_, address)
    local protocol = factory:build_protocol(address)
    return protocol and watch(self, protocol)
  end }, { __index = factory })
end

local function answer(self, ok, result)
  local waiting = self.waiting
  self.waiting = {}
  for _, each in ipairs(waiting) do
    local cancelled = each.d:called()
    local enough = each.fail_after and self.failures >= each.fail_after
    if not cancelled and ok then
      each.d:callback(result)
    elseif not cancelled and enough then
      each.d:errback(result)
    elseif not cancelled then
      self.waiting[#self.waiting + 1] = each
    end
  end
end

local function connect(self)
  self.timer = false
  local attempt = net.connect(self.endpoint, watched(self))
  self.attempt = attempt
  attempt:add_callback(function(protocol)
    if not self.prepare_connection then return protocol end
    self.preparing = protocol
    return Deferred.maybe(self.prepare_connection, protocol):add_callbacks(
      function() return protocol end,
      function(failure)
        protocol.connection_lost = nil
        protocol.transport:lose_connection()
        return failure
      end)
  end)
  attempt:add_callbacks(function(protocol)
    self.preparing = false
    self.attempt, self.failures, self.protocol = false, 0, protocol
    answer(self, true, protocol)
  end, function(failure)
    self.attempt, self.preparing = false, false
    if self.running then self:failed(failure) end
  end)
end

---An attempt failed; the next one follows.
function ClientService:failed(failure)
  self.failures = self.failures + 1
  local seconds = self.retry_policy(self.failures)
  logger:info("{endpoint}: {failure}; trying again in {seconds} s",
    { endpoint = self.endpoint, failure = failure, seconds = seconds })
  self.timer = self.clock:call_later(seconds, function() connect(self) end)
  answer(self, false, failure)
end

---The connection was lost.
function ClientService:disconnected(protocol, reason)
  if self.preparing == protocol then return self.attempt:cancel() end
  if self.protocol ~= protocol then return end
  self.protocol = false
  local stopping = self.stopping
  if stopping then
    self.stopping = nil
    return stopping:callback()
  end
  if self.running then self:failed(reason) end
end

function ClientService:start_service()
  if self.attempt or self.timer or self.protocol then return end
  self.running = true
  connect(self)
end

---Fires with the protocol, now or at the next connection.
---
---    local db = upstream:when_connected(3):await()
---@param fail_after? integer fails after so many failed attempts in a row
---@return ropewalk.Deferred
function ClientService:when_connected(fail_after)
  if self.protocol then return Deferred.succeed(self.protocol) end
  local d = Deferred.new()
  self.waiting[#self.waiting + 1] = { d = d, fail_after = fail_after }
  return d
end

---Closes the connection, or gives up; fires when it is closed.
---@return ropewalk.Deferred?
function ClientService:stop_service()
  self.running = false
  if self.timer then self.timer:cancel() end
  self.timer = false
  if self.attempt then self.attempt:cancel() end
  local waiting = self.waiting
  self.waiting = {}
  for _, each in ipairs(waiting) do
    if not each.d:called() then
      each.d:errback(Failure.new("cancelled", "the client service was stopped"))
    end
  end
  if not self.protocol then return nil end
  self.stopping = self.stopping or Deferred.new()
  self.protocol.transport:lose_connection()
  return self.stopping
end

function ClientService:__tostring() return "client " .. tostring(self.endpoint) end

return ClientService
