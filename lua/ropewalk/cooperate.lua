-- SPDX-License-Identifier: MIT
-- cooperate: long work in slices. The core preempts a task that computes, so
-- this is for work that shall be paused, resumed and stopped from outside.

local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"
local core = require "ropewalk.core"

local error = error

local _ENV <const> = nil

local SLICE <const> = 0.01 -- seconds of work before others get their turn

---@class ropewalk.CooperativeTask
local Task = Object:extend "CooperativeTask"

-- Until it has fired, or the task is stopped; its result stays its own.
local function wait_for(self, value)
  local gate = Deferred.new(function() value:cancel() end)
  self.gate = gate
  value:add_callbacks(function(result)
    if not gate:called() then gate:callback() end
    return result
  end, function(failure)
    if gate:called() then return failure end
    return gate:errback(failure)
  end)
  gate:await()
  self.gate = false
end

local function work(self, step, state, value)
  local until_ = core.hrtime() + SLICE
  while not self.stopped do
    if self.paused > 0 then
      self.wake = Deferred.new()
      self.wake:await()
      until_ = core.hrtime() + SLICE
    else
      value = step(state, value)
      if value == nil then return end
      if Deferred.is(value) then
        wait_for(self, value)
        until_ = core.hrtime() + SLICE
      elseif core.hrtime() >= until_ then
        async.sleep(0):await()
        until_ = core.hrtime() + SLICE
      end
    end
  end
  error(Failure.new("stopped", "the task was stopped"), 0)
end

---Calls an iterator until it gives nil, about 10 ms at a time; what it gives may
---be a Deferred, which is waited for.
---
---    local task = rw.cooperate(io.lines "big.csv")
---    task:when_done():await()
---@param step function
---@return ropewalk.CooperativeTask
local function cooperate(step, state, value)
  argument.callable("cooperate", 1, step)
  local self = Task()
  self.paused, self.stopped, self.wake, self.gate = 0, false, false, false
  self.done = async.spawn(function()
    async.sleep(0):await()
    return work(self, step, state, value)
  end)
  return self
end

---Fires when the iterator is at its end; fails with "stopped", or its error.
---@return ropewalk.Deferred
function Task:when_done()
  local d = Deferred.new()
  self.done:add_callbacks(function(result)
    d:callback(result)
    return result
  end, function(failure)
    self.done:handled()
    d:errback(failure)
    return failure
  end)
  return d
end

---Pauses; as many resumes are needed as there were pauses.
function Task:pause() self.paused = self.paused + 1 end

function Task:resume()
  if self.paused == 0 then error("resume: the task is not paused", 2) end
  self.paused = self.paused - 1
  local wake = self.wake
  if self.paused == 0 and wake then
    self.wake = false
    wake:callback()
  end
end

---Ends it before its time, also while it waits for a Deferred, which goes on.
function Task:stop()
  self.stopped = true
  self.done:handled()
  local wake = self.wake or self.gate
  self.wake, self.gate = false, false
  if wake and not wake:called() then wake:callback() end
end

return cooperate
