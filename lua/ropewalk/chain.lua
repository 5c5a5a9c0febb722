-- SPDX-License-Identifier: MIT
-- How a Deferred runs: the inside of ropewalk.deferred, private to it.
--
--   PENDING ──callback/errback──▶ RUNNING ──▶ FIRED or FAILED ◀─┐
--                                  │   ▲           │ add_…      │
--                    returned one  ▼   │ it fired  ▼            │
--                               WAITING       RUNNING ──────────┘
--
-- The fields sit in the array part, the callbacks behind them: a function is a
-- callback alone; false begins a triple: false, callback, errback; or false,
-- CHAIN, the Deferred that waits for this one; or false, WAIT, a parked task.
-- Slot RESULT is the canceller before it fires, the inner one while waiting.
-- All of it is iterative: a chain of 100,000 Deferreds needs no deeper stack
-- than one of two. Library code is not preempted, only what it calls.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local error, getmetatable, require, type, xpcall = error, getmetatable, require, type, xpcall
local getinfo = debug.getinfo
local format = string.format
local turn_end = core.turn_end
local caught, wrap = Failure.caught, Failure.wrap

local _ENV <const> = nil

-- The same lines stand in deferred.lua: constants cost nothing there either.
-- (One each: Lua folds only the last constant of a declaration.)
local STATE <const> = 1
local RESULT <const> = 2
local HEAD <const> = 3
local TAIL <const> = 4
local FIRST <const> = 5
local FIRED <const> = "fired"
local FAILED <const> = "failed"
local RUNNING <const> = "running"
local WAITING <const> = "waiting"
local CHAIN <const> = 1
local WAIT <const> = 2

local Deferred = { __name = "Deferred" }
Deferred.__index = Deferred

local chain = { Deferred = Deferred }

-- Unhandled failures -------------------------------------------------------

local suspects, suspect_count = {}, 0

---Called with each failure that nobody handled: (failure, began, deferred).
---The log module puts its own function here.
Deferred.report = false

-- Where the chain began: what was said, or the first callback's definition.
local function began(self)
  local origin = self.origin
  for i = FIRST, FIRST + 2 do
    origin = origin or type(self[i]) == "function" and self[i]
  end
  if type(origin) ~= "function" then return origin or nil end
  local info = getinfo(origin, "S")
  return format("%s:%d", info.short_src, info.linedefined)
end
chain.began = began

---Reports what is unhandled now; the end of each turn does it.
function chain.flush()
  local list, count = suspects, suspect_count
  suspects, suspect_count = {}, 0
  for i = 1, count do
    local self = list[i]
    self.suspect = nil
    if self[STATE] == FAILED and not self.handled and not self.reported then
      self.reported = true
      if not Deferred.report then require "ropewalk.log" end
      Deferred.report(self[RESULT], began(self), self)
    end
  end
end

local function suspect(self)
  if self.suspect or self.handled or self.reported then return end
  self.suspect = true
  suspect_count = suspect_count + 1
  suspects[suspect_count] = self
  if suspect_count == 1 then turn_end(chain.flush) end
end

-- Running ------------------------------------------------------------------

local function append(self, callback, errback)
  local tail = self[TAIL]
  self[tail], self[tail + 1], self[tail + 2] = false, callback, errback
  self[TAIL] = tail + 3
end

-- The end of a chain: nothing more to run now.
local function settle(self)
  local result = self[RESULT]
  if result ~= nil and getmetatable(result) == Failure then
    self[STATE] = FAILED
    return suspect(self)
  end
  for i = FIRST, self[TAIL] - 1 do self[i] = false end
  self[HEAD], self[TAIL] = FIRST, FIRST
  self[STATE] = FIRED
end

-- Gives up the result to whoever chained.
local function take(self)
  local result = self[RESULT]
  self[RESULT] = nil
  if self[STATE] == FAILED then self[STATE] = FIRED end
  return result
end

-- The callback returned a Deferred: true when we must wait for it.
local function follow(self, inner)
  local state = inner[STATE]
  if inner == self then error("a callback returned the Deferred that it runs for", 0) end
  if state == FIRED or state == FAILED then
    self[RESULT] = take(inner)
    return false
  end
  self[STATE], self[RESULT] = WAITING, inner
  append(inner, CHAIN, self)
  return true
end

-- Runs callbacks until there are none left, one waits, or one raises. Returns
-- a Deferred which was waiting for us and has our result now.
local function step(self)
  local result = self[RESULT]
  local failed = result ~= nil and getmetatable(result) == Failure
  local i = self[HEAD]
  while i < self[TAIL] do
    local fn, other = self[i]
    if fn then
      i = i + 1
      if failed then fn = false end
    else
      fn, other = self[i + 1], self[i + 2]
      i = i + 3
      if fn == CHAIN then
        self[HEAD], self[RESULT] = i, nil
        other[STATE], other[RESULT] = RUNNING, result
        return other
      elseif fn == WAIT then
        if other.wake(other, failed, result) and failed then self.handled = true end
        fn = false
      elseif failed then
        fn = other
      end
    end
    self[HEAD] = i
    if fn then
      local value = fn(result)
      result, failed = value, false
      self[RESULT] = value
      if value ~= nil then
        local class = getmetatable(value)
        if class == Failure then
          failed = true
        elseif class == Deferred then
          if follow(self, value) then return nil end
          result = self[RESULT]
          failed = result ~= nil and getmetatable(result) == Failure
        end
      end
    end
  end
  return nil
end

local function run(self)
  local stack, depth = nil, 0
  while true do
    local ok, chainee = xpcall(step, caught, self)
    if not ok then
      self[RESULT] = wrap(chainee)
    else
      if chainee and self[HEAD] < self[TAIL] then
        stack, depth = stack or {}, depth + 1
        stack[depth] = self
      elseif self[STATE] == RUNNING then
        settle(self)
      end
      if chainee then
        self = chainee
      elseif depth > 0 then
        self, depth = stack[depth], depth - 1
      else
        return
      end
    end
  end
end

local function fire(self, result)
  self[RESULT] = result
  if self[TAIL] == FIRST then return settle(self) end
  self[STATE] = RUNNING
  return run(self)
end

chain.append, chain.follow, chain.run, chain.fire = append, follow, run, fire

return chain
