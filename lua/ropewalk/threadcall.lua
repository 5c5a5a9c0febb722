-- SPDX-License-Identifier: MIT
-- Functions that a thread has the loop run: a way back, for what only the loop has
-- (connections, what the script knows). A thread that waits is idle until then; it
-- goes on, too, when its call is cancelled or its pool stopped.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"

local error, setmetatable, tostring, type, xpcall = error, setmetatable, tostring, type, xpcall
local format = string.format
local expect = argument.expect

local _ENV <const> = nil

local threadcall = {}

---C calls it with what a function raised: a Failure as plain data.
---@return table
function threadcall.describe(value, code)
  local failure = Failure.wrap(value)
  local text = function(v) return v ~= nil and tostring(v) or nil end
  return {
    code = code or text(failure.code), message = text(failure.message), name = text(failure.name),
    op = text(failure.op), where = text(failure.where), traceback = text(failure.traceback),
    cause = failure.cause and threadcall.describe(failure.cause),
  }
end

-- On the loop --------------------------------------------------------------

local exposed = {} -- name → function

---Gives a function of the script a name by which threads can call it
---(rw.blocking_call_from_thread, rw.call_from_thread).
---
---    rw.thread.expose("price", function(item) return prices[item] end)
---@param name string
---@param fn function
function threadcall.expose(name, fn)
  expect("expose", 1, name, "string")
  exposed[name] = argument.callable("expose", 2, fn)
end

local function run(shipment)
  local function go(fn, ...)
    if type(fn) == "string" then
      fn = exposed[fn] or error(format("there is no function '%s' (rw.thread.expose)", fn), 0)
    end
    local result = fn(...)
    if Deferred.is(result) then return result:await() end
    return result
  end
  return go(core.unship(shipment))
end

---C calls it with what a thread asks for.
function threadcall.answer(ask, shipment, waits)
  local _ <close> = setmetatable({}, { __close = function() ask:answer(false) end })
  local ok, value = xpcall(run, Failure.caught, shipment)
  if waits and ok then
    local why
    ok, why = ask:answer(true, value)
    if not ok then value = Failure.new("error", "the result for a thread " .. why) end
  end
  if ok then return end
  if waits then ask:answer(false, threadcall.describe(value))
  else log.failure(value, "a function called from a thread failed") end
end

-- In the thread ------------------------------------------------------------

local NO_ANSWER <const> = {
  timeout = "the loop has not answered in time (limit thread_answer)",
  ended = "the function was ended before it had a result",
}

local function check_call(what, fn)
  if not core.thread_ask then
    argument.misuse(format("%s is for functions that run in a thread", what))
  end
  if type(fn) ~= "string" then argument.callable(what, 1, fn) end
end

---In a thread: has the loop run a function, and waits for its result, or raises
---the Failure. A function in a field of a module is that of the script's module
---there; another is copied; a string is a name given by `rw.thread.expose`. It may
---wait for Deferreds.
---
---    rw.defer_to_thread(function()
---      local row = rw.blocking_call_from_thread(store.find, "alice")
---      return render(row)
---    end)
---@param fn function|string
---@param ... any copied
---@return any
function threadcall.blocking_call_from_thread(fn, ...)
  check_call("blocking_call_from_thread", fn)
  local ok, result = core.thread_ask(true, fn, ...)
  if ok == nil then
    if result == "timeout" then log.warn("a thread waits no longer", { limit = "thread_answer" }) end
    error(Failure.new(result == "timeout" and result or "cancelled", NO_ANSWER[result]), 0)
  end
  local value = core.unship(result)
  if ok then return value end
  error(value and Failure.wrap(value) or Failure.new("cancelled", NO_ANSWER.ended), 0)
end

---In a thread: has the loop run a function, and does not wait; its failure is
---logged. False when the loop does not keep up (limit thread_queue); then nothing
---happens.
---
---    rw.call_from_thread("progress", done, total)
---@param fn function|string
---@param ... any copied
---@return boolean
function threadcall.call_from_thread(fn, ...)
  check_call("call_from_thread", fn)
  return core.thread_ask(false, fn, ...)
end

return threadcall
