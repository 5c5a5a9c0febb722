-- SPDX-License-Identifier: MIT
-- LoopingCall: a function again and again, on a beat that does not drift. It
-- never overlaps itself: while it waits (or the Deferred that it returned has
-- not fired) beats are skipped, and the next call is on the beat again.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"
local log = require "ropewalk.log"
local reactor = require "ropewalk.reactor"
local Service = require "ropewalk.service".Service
local Failure = require "ropewalk.failure"
local NO_MEMORY <const> = require "ropewalk.chain".NO_MEMORY

local error, ipairs, pcall = error, ipairs, pcall
local floor = math.floor
local insert, pack, unpack = table.insert, table.pack, table.unpack
local callable = argument.callable

local _ENV <const> = nil

---@class ropewalk.LoopingCall
---@field running boolean
---@field interval? number
---@field clock table
local LoopingCall = Object:extend "LoopingCall"

LoopingCall.running = false
LoopingCall.interval = false
LoopingCall.call, LoopingCall.deferred, LoopingCall.counting = false, false, false
LoopingCall.pending, LoopingCall.ending = false, false -- a call under way; who is told of its end
LoopingCall.broken = false -- why it ends, if that could not be told

---    local loop = rw.LoopingCall(sweep, cache)
---    loop:start(60):add_errback(rw.log.failure, "sweeping")
---@param fn function
function LoopingCall:init(fn, ...)
  callable("LoopingCall", 1, fn)
  self.fn, self.arguments, self.clock = fn, pack(...), reactor
end

---A loop whose function gets the number of beats since the last call: 1, or
---more when some were skipped.
---
---    rw.LoopingCall.with_count(function(beats) total = total + beats end):start(1)
---@param fn fun(beats: integer)
---@return ropewalk.LoopingCall
function LoopingCall.with_count(fn)
  local loop = LoopingCall(fn)
  loop.counting = true
  return loop
end

-- The beats that have passed since the start, at this time.
local function beats(self, now)
  if self.interval == 0 then return 0 end
  -- a timer may fire a hair early on the scale of floating point
  return floor((now - self.started) / self.interval + 1e-9)
end

local begin

local function schedule(self)
  local now = self.clock:seconds()
  local delay = 0
  if self.interval > 0 then
    delay = self.started + (beats(self, now) + 1) * self.interval - now
  end
  if self.clock == reactor then
    self.call = core.timer(delay, begin, self) -- again, if memory fails
  else
    self.call = self.clock:call_later(delay, begin, self)
  end
end

local function fire(self, d, failure)
  if d:called() then return end -- it was cancelled
  if failure then d:errback(failure) else d:callback(self) end
end

local function finish(self, failure)
  local d = self.deferred
  self.running = false
  if d then fire(self, d, failure) end
end

local function go_on(self)
  if self.now then begin(self) else schedule(self) end
end

local function tell_ended(self, failure)
  for _, d in ipairs(self.ending) do fire(self, d, failure) end
  self.ending = false
end

local function is_idle(self) return not (self.call or self.pending) end

-- A call is over. If the loop was stopped since it began, and perhaps started anew,
-- several times, the new one has waited for this.
local function over(self, failure)
  self.pending = false
  if self.ending then
    tell_ended(self, failure)
    if self.running and is_idle(self) then go_on(self) end
  elseif failure then
    finish(self, failure)
  else
    schedule(self)
  end
end

-- There was no memory for the next call, or for telling who waits.
local function give_up(self, failure)
  if self.ending then tell_ended(self, failure) end
  if is_idle(self) then finish(self, failure) end
end

local function run(self)
  local arguments = self.arguments
  local d
  if self.counting then
    local count = 1
    if self.interval > 0 then
      local beat = beats(self, self.clock:seconds())
      count = beat - self.last_beat
      self.last_beat = beat
    end
    if count < 1 then return schedule(self) end
    self.pending = true
    d = async.spawn(self.fn, count)
  else
    self.pending = true
    d = async.spawn(self.fn, unpack(arguments, 1, arguments.n))
  end
  self.pending = d
  d:add_callback(function() return over(self) end)
    :add_errback(function(failure)
      if self.pending == d then return over(self, failure) end
      return give_up(self, failure)
    end)
end

-- What fails here is memory: who waits for the loop is told, by the next call of this
-- when there is none for that, either.
function begin(self)
  self.call = false
  if not self.broken then
    local ok, why = pcall(run, self)
    if ok then return end
    self.pending, self.broken = false, NO_MEMORY
    if why ~= NO_MEMORY.message then self.broken = Failure.wrap(why) end
  end
  give_up(self, self.broken)
end

---Begins. Fires when stopped, with the loop; fails with the first failure of
---the function, which ends the loop.
---@param seconds number
---@param now? boolean false: the first call after the first interval
---@return ropewalk.Deferred
function LoopingCall:start(seconds, now)
  if self.running then error("start: the loop runs already", 2) end
  argument.seconds("start", 1, seconds)
  self.running, self.interval, self.broken = true, seconds, false
  self.started = self.clock:seconds()
  self.last_beat = now == false and 0 or -1
  local d
  d = Deferred.new(function() if self.running and self.deferred == d then self:stop() end end)
  self.deferred, self.now = d, now ~= false
  if not self.pending then go_on(self) end
  return d
end

---Ends; a call under way is finished first.
function LoopingCall:stop()
  if not self.running then error("stop: the loop does not run", 2) end
  if self.pending then
    local ending = self.ending or {}
    insert(ending, self.deferred) -- when memory fails, nothing has changed
    self.ending, self.deferred, self.running = ending, false, false
    return
  end
  self.running = false
  if self.call then
    self.call:cancel()
    self.call = false
    finish(self)
  end
end

---The next call comes one interval from now, and the beat goes from there.
function LoopingCall:reset()
  if not self.running then error("reset: the loop does not run", 2) end
  if self.call then
    self.call:cancel()
    self.started, self.last_beat = self.clock:seconds(), 0
    schedule(self)
  end
end

-- As a service -------------------------------------------------------------

---@class ropewalk.TimerService: ropewalk.Service
---@field loop ropewalk.LoopingCall
local TimerService = Service:extend "TimerService"

---A service that calls a function every so many seconds while it runs.
---
---    return { rw.server("tcp:80", site), rw.TimerService(60, sweep) }
---@param seconds number
---@param fn function
function TimerService:init(seconds, fn, ...)
  argument.seconds("TimerService", 1, seconds)
  callable("TimerService", 2, fn)
  self.seconds, self.loop = seconds, LoopingCall(fn, ...)
  self.done = false
end

function TimerService:start_service()
  self.running = true
  self.done = self.loop:start(self.seconds)
  self.done:add_errback(function(failure)
    log.failure(failure, "a TimerService ended")
  end)
end

function TimerService:stop_service()
  self.running = false
  local loop = self.loop
  if loop.running then loop:stop() end
  if not loop.pending then return nil end
  local d = Deferred.new()
  self.done:add_both(function() d:callback() end)
  return d
end

LoopingCall.TimerService = TimerService
return LoopingCall
