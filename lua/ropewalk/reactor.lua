-- SPDX-License-Identifier: MIT
-- The reactor as an object: time and what happens at the start and the stop.
-- Whatever schedules something takes a clock, an object with `call_later` and
-- `seconds`; this is the real one, rw.testing.Clock a fake.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local async = require "ropewalk.async"
local log = require "ropewalk.log"
local timer = require "ropewalk.timer"

local error, ipairs, pcall, setmetatable = error, ipairs, pcall, setmetatable
local insert, pack, remove, unpack = table.insert, table.pack, table.remove, table.unpack
local call_later, core_now = timer.call_later, core.now
local callable, expect, optional = argument.callable, argument.expect, argument.optional

local _ENV <const> = nil

---@class ropewalk.Reactor
---@field running boolean
---@field started boolean the services have started
local Reactor = { __name = "Reactor" }
Reactor.__index = Reactor

local logger = log.logger "reactor"
local PHASES <const> = { before = true, during = true, after = true }

---Calls a function later.
---
---    rw.reactor:call_later(5, fn, argument)
---@return ropewalk.DelayedCall
function Reactor:call_later(seconds, fn, ...) -- luacheck: ignore 212
  return call_later(seconds, fn, ...)
end

---The time that timers go by, in seconds; it never goes back.
---@return number
function Reactor:seconds() return core_now() end -- luacheck: ignore 212

---Runs a function in a task of its own.
---@return ropewalk.Deferred
function Reactor:spawn(fn, ...) return async.spawn(fn, ...) end -- luacheck: ignore 212

---Calls a function once the services have started; at once if they have.
function Reactor:call_when_running(fn, ...)
  callable("call_when_running", 1, fn)
  if self.started then return fn(...) end
  return self:add_system_event_trigger("after", "startup", fn, ...)
end

---Stops the process, as SIGTERM does. Asked again it does nothing: what ends is not hurried.
---@param status? integer exit status
function Reactor:stop(status) -- luacheck: ignore 212
  core.stop(optional("stop", 1, status, "number"))
end

---Has a function called at an event: "startup" or "shutdown". What "before"
---triggers return is waited for; one that fails hurts no other.
---
---    rw.reactor:add_system_event_trigger("before", "shutdown", save_all)
---@param phase "before"|"during"|"after"
---@param event "startup"|"shutdown"
---@param fn function
---@return table trigger for remove_system_event_trigger
function Reactor:add_system_event_trigger(phase, event, fn, ...)
  if not PHASES[phase] then error('phase must be "before", "during" or "after"', 2) end
  local list = self.triggers[event]
  callable("add_system_event_trigger", 3, fn)
  if not list then error('event must be "startup" or "shutdown"', 2) end
  local trigger = { phase = phase, event = event, fn = fn, arguments = pack(...) }
  insert(list, trigger)
  return trigger
end

---@param trigger table
function Reactor:remove_system_event_trigger(trigger)
  local list = self.triggers[expect("remove_system_event_trigger", 1, trigger, "table").event] or {}
  for i, each in ipairs(list) do
    if each == trigger then return remove(list, i) end
  end
  error("there is no such trigger (any more)", 2)
end

---Runs the triggers of one phase; fires when the "before" ones are ready.
---@return ropewalk.Deferred
function Reactor:fire(phase, event)
  local waiting = {}
  for _, trigger in ipairs { unpack(self.triggers[event]) } do
    if trigger.phase == phase then
      local arguments = trigger.arguments
      local d = Deferred.maybe(trigger.fn, unpack(arguments, 1, arguments.n))
      d:add_errback(function(failure)
        pcall(logger.failure, logger, failure, "a trigger of " .. event .. " failed")
      end)
      if phase == "before" then insert(waiting, d) end
    end
  end
  return Deferred.gather(waiting)
end

return setmetatable({ running = false, started = false, triggers = { startup = {}, shutdown = {} } }, Reactor)
