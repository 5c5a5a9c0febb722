-- SPDX-License-Identifier: MIT
-- Waiting. The only file that parks a task: functions made by `async` run in a
-- task of their own, and `d:await()` in any task parks it until the Deferred
-- fires. While one task waits, the others go on.
--
-- A Deferred that `async` made is cancelled from the outside in: the one that
-- the task waits for is cancelled, and what that one then says is raised at the
-- await, so that pcall, <close> variables and loops end as they should. The
-- same happens when the scope of the task (its connection, its generation) closes.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local chain = require "ropewalk.chain"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"

local error, getmetatable, setmetatable, xpcall = error, getmetatable, setmetatable, xpcall
local coroutine_running = coroutine.running
local getinfo, getlocal = debug.getinfo, debug.getlocal
local park, spawn, current_task, turn_end = core.park, core.spawn, core.task, core.turn_end
local caught, origins, set_canceller = Failure.caught, chain.origins, chain.set_canceller
local LATER <const> = Deferred.LATER
local callable, check_seconds = argument.callable, argument.seconds

local _ENV <const> = nil

local async = {}

local cancelled = setmetatable({}, { __mode = "k" }) -- task → true: raise at the next await

-- Waiting ------------------------------------------------------------------

-- What a parked task hangs on a Deferred. When that fires, chain.c does as `wake` does,
-- which says whether somebody took the result.
local Waiter = {}
Waiter.__index = Waiter

-- The task may not be parked yet, if it was interrupted on its way there.
function Waiter:insist()
  if self.seen or self.task:resume() or self.task:done() then return end
  turn_end(function() self:insist() end)
end

function Waiter:wake(failed, result)
  if self.fired then return false end
  self.fired, self.failed, self.result = true, failed, result
  self:insist()
  return true
end

-- The scope of the task closed.
local function give_up(waiter)
  waiter.on:cancel()
  if not waiter.fired then waiter:wake(true, Failure.new("cancelled", "cancelled")) end
end

local function wait(d)
  local task = current_task()
  if not task then
    error("await: there is nothing to wait in here; call it in a hook, a handler, "
      .. "or a function made by rw.async", 2)
  end
  if cancelled[task] then
    cancelled[task] = nil
    d:cancel()
    if not d:peek() then error(Failure.new("cancelled", "cancelled"), 0) end
    return d:await()
  end
  local waiter = setmetatable({ task = task, on = d, co = coroutine_running(), fired = false,
    failed = false, result = nil, seen = false }, Waiter)
  task:on_cancel(function() give_up(waiter) end)
  d:add_waiter(waiter)
  task:waits(waiter)
  while not waiter.fired do park() end
  waiter.seen = true
  task:waits(nil)
  task:on_cancel(nil)
  if waiter.failed then error(waiter.result, 0) end
  return waiter.result
end
Deferred.wait = wait

---Waits for a Deferred in the running task; anything else is returned as it is.
---
---    local value = rw.await(maybe_a_deferred)
---@param value any
---@return any
function async.await(value)
  if value ~= nil and getmetatable(value) == Deferred then return value:await() end
  return value
end

-- Tasks with a result ------------------------------------------------------

local main

-- Adds to the traceback who waits for this Deferred, and who waits for them.
local function add_waiters(failure, d)
  local waiter = d:waiter()
  for _ = 1, 20 do
    if not waiter then break end
    failure:add_frames("awaited by", waiter.co)
    local level, owner = 0, nil
    while true do
      local info = getinfo(waiter.co, level, "f")
      if not info then break end
      if info.func == main then
        local _, value = getlocal(waiter.co, level, 1)
        owner = value
      end
      level = level + 1
    end
    waiter = owner and owner:waiter()
  end
end

function main(d, fn, ...)
  local ok, result = xpcall(fn, caught, ...)
  if ok then
    if getmetatable(result) == Deferred then
      origins[d] = fn
      local task = current_task()
      if cancelled[task] then -- after its last wait: what it has returned is that
        cancelled[task] = nil
        result:cancel()
      end
    end
    return d:resolve(result)
  end
  local failure = Failure.wrap(result)
  if not failure.shown_waiters then
    failure.shown_waiters = true
    add_waiters(failure, d)
  end
  origins[d] = fn
  return d:errback(failure)
end

local function cancel_task(task)
  local waiter = task:waiter()
  if waiter and not waiter.fired then waiter.on:cancel() else cancelled[task] = true end
  return LATER
end

local function start(fn, ...)
  local d = Deferred.new()
  local task = spawn(main, d, fn, ...)
  if not d:called() then set_canceller(d, function() return cancel_task(task) end) end
  return d
end

---Makes a function that runs in a task of its own: at once, until it waits for
---the first time. Each call returns a Deferred of what the function returns.
---
---    local fetch = rw.async(function(key)
---      local row = db:query("select …", key):await()
---      return row.name
---    end)
---    fetch("a"):add_callback(print)
---@param fn function
---@return fun(...): ropewalk.Deferred
function async.async(fn)
  callable("async", 1, fn)
  return function(...) return start(fn, ...) end
end

---Runs a function in a task of its own now.
---
---    rw.spawn(function() while true do rw.sleep(60):await() sweep() end end)
---@param fn function
---@return ropewalk.Deferred
function async.spawn(fn, ...)
  callable("spawn", 1, fn)
  return start(fn, ...)
end

---Fires after so many seconds. Cancelling it frees the timer.
---
---    rw.sleep(0.5):await()
---@param seconds number
---@param value? any the result
---@return ropewalk.Deferred
function async.sleep(seconds, value)
  local d
  local timer = core.timer(check_seconds("sleep", 1, seconds), function()
    if not d:called() then d:callback(value) end
  end)
  d = Deferred.new(function() timer:cancel() end)
  return d
end

return async
