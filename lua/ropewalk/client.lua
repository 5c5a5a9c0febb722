-- SPDX-License-Identifier: MIT
-- rw.client: a service that keeps one connection.
--
--   STOPPED ─→ CONNECTING ─→ PREPARING ─→ CONNECTED
--      ↑           │  ↑          │ failed     │ lost
--      │           ↓  │          ↓            ↓
--      │         WAITING ←──────────── (retry_policy) ─┘
--      └── stop: cancels; a connection that is there is closed first: STOPPING
--
-- A new generation of the script has a new service; the old one stops when its
-- generation retires.

local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local endpoint = require "ropewalk.endpoint"
local log = require "ropewalk.log"
local net = require "ropewalk.listen"
local reactor = require "ropewalk.reactor"
local Service = require "ropewalk.service".Service

local error, ipairs, next, setmetatable, tostring, type, xpcall =
  error, ipairs, next, setmetatable, tostring, type, xpcall
local min, random = math.min, math.random
local find, format = string.find, string.format
local remove = table.remove

local _ENV <const> = nil

---@class ropewalk.ClientService: ropewalk.Service
---@field protocol ropewalk.Protocol|false the live connection's, once it is prepared
---@field failures integer in a row
---@field retry_policy fun(failures: integer): number seconds to wait
---@field prepare_connection fun(protocol: ropewalk.Protocol)|false before others get it; may wait
---@field clock table with call_later
local ClientService = Service:extend "ClientService"

local logger = log.logger "client"
local OPTIONS <const> = { retry_policy = true, prepare_connection = true, clock = true }

---How long to wait after failures: `initial_delay` (1) seconds, `factor` (1.5)
---times longer with each in a row, at most `max_delay` (60); and up to
---`jitter` (0.2) of that more, by chance, so that a thousand clients do not
---come back in one moment.
---
---    rw.client(where, factory, { retry_policy = rw.ClientService.backoff_policy { max_delay = 5 } })
---@param options? { initial_delay?: number, max_delay?: number, factor?: number, jitter?: number,
---  random?: fun(): number }
---@return fun(failures: integer): number
function ClientService.backoff_policy(options)
  options = argument.optional("backoff_policy", 1, options, "table") or {}
  local initial, most = options.initial_delay or 1, options.max_delay or 60
  local factor, jitter = options.factor or 1.5, options.jitter or 0.2
  local draw = options.random or random
  return function(failures)
    argument.expect("retry_policy", 1, failures, "number")
    return min(most, initial * factor ^ min(failures - 1, 100)) * (1 + draw() * jitter)
  end
end

ClientService.retry_policy = ClientService.backoff_policy()
ClientService.protocol = false
ClientService.prepare_connection = false

---A service that keeps a connection to the endpoint.
---
---    local upstream = rw.client("tcp:db.example:5432", rw.Factory:for_protocol(Db))
---    local db = upstream:when_connected():await()
---@param where string|ropewalk.Endpoint
---@param factory ropewalk.Factory
---@param options? { retry_policy?: function, prepare_connection?: function, clock?: table }
function ClientService:init(where, factory, options)
  if type(factory) ~= "table" or not factory.build_protocol then
    error("client: the second argument must be a factory, not " .. type(factory), 3)
  end
  self.endpoint, self.factory, self.clock = endpoint.need(where), factory, reactor
  self.state, self.failures = "STOPPED", 0
  self.waiting, self.stopping = {}, {} -- Deferreds of when_connected, of stop_service
  for key, value in next, argument.optional("client", 3, options, "table") or {} do
    if not OPTIONS[key] then argument.misuse(format("client: there is no option '%s'", tostring(key))) end
    self[key] = value
  end
end

-- Who waits ----------------------------------------------------------------

local function take_all(self, list)
  local all = self[list]
  self[list] = {}
  return all
end

local function tell_connected(self)
  local protocol = self.protocol -- whoever is told may stop the service
  for _, each in ipairs(take_all(self, "waiting")) do
    if not each.d:called() then each.d:callback(protocol) end -- or cancel another
  end
end

local function tell_failed(self, failure)
  local over = {} -- whoever is told may stop the service, and the others with it
  for _, each in ipairs(take_all(self, "waiting")) do
    each.left = each.left and each.left - 1
    local list = each.left and each.left <= 0 and over or self.waiting
    list[#list + 1] = each
  end
  for _, each in ipairs(over) do
    if not each.d:called() then each.d:errback(failure) end
  end
end

---Fires with the protocol: now, or with the next connection. Fails when the
---service stops, or after so many more attempts that failed.
---
---    local db = upstream:when_connected(3):await()
---@param fail_after_failures? integer
---@return ropewalk.Deferred
function ClientService:when_connected(fail_after_failures)
  if self.protocol then return Deferred.succeed(self.protocol) end
  if self.was_stopped then
    return Deferred.fail(Failure.new("cancelled", "the client service is stopped"))
  end
  local entry = { left = fail_after_failures }
  entry.d = Deferred.new(function()
    for i, each in ipairs(self.waiting) do
      if each == entry then return remove(self.waiting, i) end
    end
  end)
  self.waiting[#self.waiting + 1] = entry
  return entry.d
end

-- One connection after the other -------------------------------------------

local connect

-- An attempt failed, or the connection was lost.
local function retry(self, failure)
  self.state, self.failures = "WAITING", self.failures + 1
  local seconds = self.retry_policy(self.failures)
  local why, where = tostring(failure), tostring(self.endpoint)
  if not find(why, where, 1, true) then why = where .. ": " .. why end
  logger:info(format("%s; trying again in %.1f s", why, seconds),
    { endpoint = self.endpoint, failures = self.failures })
  self.timer = self.clock:call_later(seconds, function() connect(self) end)
  tell_failed(self, failure)
end

-- The connection that there was is gone.
local function disconnected(self, session, reason)
  session.gone = true
  if self.session ~= session then return end
  self.session, self.protocol = nil, false
  if session.preparing then session.preparing:cancel() end
  if self.state ~= "STOPPING" then
    -- one that could not be prepared: that is why, not that we closed it
    return retry(self, session.failure or reason)
  end
  self.state = "STOPPED"
  for _, d in ipairs(take_all(self, "stopping")) do d:callback() end
  if self.running then connect(self) end
end

local function nothing() end

-- The factory's protocols, which tell when their connection is gone: after
-- their own connection_lost, however that ends; or goes on with another protocol.
local function watch(self, session, protocol)
  local lost = protocol.connection_lost or nothing
  local switched = protocol.protocol_switched or nothing
  protocol.connection_lost = function(this, reason)
    local ok, failure = xpcall(lost, Failure.caught, this, reason)
    disconnected(self, session, reason)
    if not ok then error(failure, 0) end
  end
  protocol.protocol_switched = function(this, other)
    watch(self, session, other)
    if session.protocol == this then session.protocol = other end
    if self.protocol == this then self.protocol = other end
    return switched(this, other)
  end
  return protocol
end

local function watched(self, session)
  local factory = self.factory
  return setmetatable({ build_protocol = function(_, address)
    local protocol = factory:build_protocol(address)
    if type(protocol) ~= "table" then return protocol end -- C says what is wrong
    if not protocol.factory then protocol.factory = factory end
    return watch(self, session, protocol)
  end }, { __index = factory })
end

local function connected(self, session)
  if self.session ~= session or self.state ~= "PREPARING" or session.gone then return end
  self.state, self.failures, self.protocol = "CONNECTED", 0, session.protocol
  tell_connected(self)
end

-- `disconnected` goes on with it when the connection has ended.
local function unprepared(self, session, failure)
  if self.session ~= session or self.state ~= "PREPARING" then return end
  session.failure = failure
  session.protocol.transport:lose_connection()
end

local function prepare(self, session, protocol)
  session.protocol, self.state = protocol, "PREPARING"
  if not self.prepare_connection then return connected(self, session) end
  session.preparing = Deferred.maybe(self.prepare_connection, protocol)
  session.preparing:add_callbacks(
    function() connected(self, session) end,
    function(failure) unprepared(self, session, failure) end)
end

function connect(self)
  local session = {}
  self.state, self.session, self.timer = "CONNECTING", session, nil
  session.attempt = net.connect(self.endpoint, watched(self, session))
  session.attempt:add_callbacks(function(protocol)
    -- lost at once: `disconnected` has seen to it
    if self.session == session and not session.gone then prepare(self, session, protocol) end
  end, function(failure)
    if self.session ~= session then return end
    self.session = nil
    retry(self, failure)
  end)
end

-- The service --------------------------------------------------------------

function ClientService:start_service()
  self.running, self.was_stopped = true, false
  if self.state == "STOPPED" then connect(self) end
end

---Gives up what is under way, or closes the connection; fires when it is gone.
---@return ropewalk.Deferred?
function ClientService:stop_service()
  self.running, self.was_stopped = false, true
  local session, state = self.session, self.state
  local was_protocol = session and session.protocol
  self.state = was_protocol and "STOPPING" or "STOPPED"
  self.protocol = false
  if self.timer then self.timer:cancel() end
  self.timer = nil
  if not was_protocol then self.session = nil end
  for _, each in ipairs(take_all(self, "waiting")) do
    if not each.d:called() then each.d:errback(Failure.new("cancelled", "the client service was stopped")) end
  end
  if state == "CONNECTING" then session.attempt:cancel() end
  if not was_protocol then return nil end
  if state == "PREPARING" and session.preparing then session.preparing:cancel() end
  local d = Deferred.new()
  self.stopping[#self.stopping + 1] = d
  session.protocol.transport:lose_connection()
  return d
end

function ClientService:__tostring() return "client " .. tostring(self.endpoint) end

return ClientService
