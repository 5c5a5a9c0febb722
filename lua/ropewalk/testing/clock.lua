-- SPDX-License-Identifier: MIT
-- A clock for tests that stands still until it is told. What takes a clock
-- cannot tell it from the reactor.

local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"

local error, ipairs, setmetatable, type = error, ipairs, setmetatable, type
local max = math.max
local sleep = async.sleep
local insert, pack, remove, unpack = table.insert, table.pack, table.remove, table.unpack

local _ENV <const> = nil

local IDLE <const> = 0.001 -- nothing is due: looks again after so long

---@class ropewalk.testing.Clock
local Clock = Object:extend "Clock"

---    local clock = rw.testing.Clock()
---    local loop = rw.LoopingCall(tick)
---    loop.clock = clock
---    loop:start(1)
---    clock:advance(10)
function Clock:init() self.now, self.calls, self.turn = 0, {}, 0 end

---@return number
function Clock:seconds() return self.now end

local Call = { __name = "DelayedCall" }
Call.__index = Call

local function insert_call(clock, call)
  call.turn = clock.turn
  local at = #clock.calls + 1
  while at > 1 and clock.calls[at - 1].time_ > call.time_ do at = at - 1 end
  insert(clock.calls, at, call)
end

local function take_call(call)
  for i, each in ipairs(call.clock.calls) do
    if each == call then return remove(call.clock.calls, i) end
  end
  local code = call.cancelled and "already_cancelled" or "already_called"
  error(Failure.new(code, "the delayed call is over"), 0)
end

function Call:cancel()
  take_call(self)
  self.cancelled = true
end

function Call:reset(seconds)
  argument.seconds("reset", 1, seconds)
  take_call(self)
  self.time_ = self.clock.now + seconds
  insert_call(self.clock, self)
end

function Call:delay(seconds)
  argument.expect("delay", 1, seconds, "number")
  take_call(self)
  self.time_ = self.time_ + seconds
  insert_call(self.clock, self)
end

function Call:active()
  for _, each in ipairs(self.clock.calls) do
    if each == self then return true end
  end
  return false
end

function Call:get_time() return self.time_ end

---As the reactor's.
function Clock:call_later(seconds, fn, ...)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    error("call_later: seconds must be a number of at least 0", 2)
  end
  local call = setmetatable({ clock = self, time_ = self.now + seconds, fn = fn,
    arguments = pack(...), cancelled = false }, Call)
  insert_call(self, call)
  return call
end

-- The next one that is due and was made before this turn.
local function take_due(clock, turn)
  for i, call in ipairs(clock.calls) do
    if call.time_ > clock.now then return nil end
    if call.turn < turn then return remove(clock.calls, i) end
  end
  return nil
end

---Lets time pass in one turn: what is due is called in order of time. What
---these calls add waits for the next turn, as with the reactor.
---@param seconds number
function Clock:advance(seconds)
  argument.seconds("advance", 1, seconds)
  self.now, self.turn = self.now + seconds, self.turn + 1
  local turn = self.turn
  local call = take_due(self, turn)
  while call do
    call.fn(unpack(call.arguments, 1, call.arguments.n))
    call = take_due(self, turn)
  end
end

---Advances by each of the steps.
---
---    clock:pump { 0.5, 0.5, 1 }
---@param steps number[]
function Clock:pump(steps)
  for _, seconds in ipairs(argument.expect("pump", 1, steps, "table")) do self:advance(seconds) end
end

---Runs a function in a task and lets time jump to what is due next whenever a
---turn of the loop has brought nothing else: hours pass at once. `patience` is how
---long, in real seconds, to wait before a jump for what comes from outside.
---
---    clock:auto_advance(function() assert.equal("late", slow_answer(clock):await()) end)
---@param fn function
---@param patience? number
---@return any ... what the function returns
function Clock:auto_advance(fn, patience)
  argument.callable("auto_advance", 1, fn)
  if patience ~= nil then argument.seconds("auto_advance", 2, patience) end
  local task, over = async.spawn(fn), false
  task:add_both(function(...)
    over = true
    return ...
  end)
  task:handled() -- its failure is ours
  local _ <close> = setmetatable({}, { __close = function() task:cancel() end })
  while not over do
    local soonest = self.calls[1]
    sleep(soonest and (patience or 0) or IDLE):await()
    soonest = self.calls[1]
    if soonest and not over then self:advance(max(0, soonest.time_ - self.now)) end
  end
  return task:await()
end

---The calls that are still to come, the next one first.
---@return table[]
function Clock:pending() return self.calls end

return Clock
