-- SPDX-License-Identifier: MIT
-- The life of one test, in place of busted's own: it runs in a task that may
-- wait, within a time; what it was told to undo is undone; and it fails when it
-- leaves something behind, or when errors were logged that it did not expect.

local core = require "ropewalk.core"
local async = require "ropewalk.async"
local cleanup = require "ropewalk.testing.cleanup"
local errors = require "ropewalk.testing.errors"
local Deferred = require "ropewalk.deferred"
local log = require "ropewalk.log"

local error, require, tostring =
  error, require, tostring
local concat, format = table.concat, string.format

local _ENV <const> = nil

local GRACE <const> = 5           -- seconds for a cancelled test to end by itself
local SETTLE <const> = 0.5        -- … and for what was closed to be gone
local SETTLE_STEPS <const> = { 0, 0, 0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1 }

local running -- { element, limit, timer, expire }

local it = {}

---The test that runs may take so many seconds from now on.
---@param seconds number
function it.set_timeout(seconds)
  if not running then error("timeout: no test is running", 2) end
  running.limit = seconds
  running.timer:reset(seconds)
  running.task:limit(seconds)
end

-- Runs fn in a task of its own within the time. Returns what it returns.
local function within(seconds, element, fn)
  local done, inner = Deferred.new(), nil
  local mine = { limit = seconds, element = element }
  local function expire()
    element.timed_out = mine.limit
    element.stuck = mine.task and mine.task:traceback()
    if inner then inner:cancel() end
    mine.timer = core.timer(GRACE, function()
      if not done:called() then done:callback(nil) end
    end)
  end
  mine.timer = core.timer(seconds, expire)
  local outer = running
  running = mine
  inner = async.spawn(function()
    mine.task = core.task()
    mine.task:limit(seconds)
    local results = fn()
    if not done:called() then done:callback(results) end
  end)
  local status = done:await()
  running = outer
  mine.timer:cancel()
  return status
end

-- Living things that were made since the mark; waits a little for those that
-- are on their way out.
local function leftovers(mark)
  local left = core.test.leftovers(mark)
  local waited, step = 0, 1
  while #left > 0 and waited < SETTLE do
    local pause = SETTLE_STEPS[step] or SETTLE_STEPS[#SETTLE_STEPS]
    async.sleep(pause):await()
    waited, step = waited + pause, step + 1
    left = core.test.leftovers(mark)
  end
  return left
end

local function complaint(left, logged)
  local text = {}
  if #left > 0 then
    text[1] = "the test left behind:\n  " .. concat(left, "\n  ")
  end
  if #logged > 0 then
    text[#text + 1] = "errors were logged (rw.testing.flush_logged_errors takes those that are "
      .. "meant):\n" .. concat(logged)
  end
  return concat(text, "\n")
end

---Makes the executor that busted runs for each `it`.
---@param busted table
---@param options ropewalk.spec.Options
function it.executor(busted, options)
  local block = require "busted.block"(busted)

  local rewrite = busted.rewriteMessage
  function busted.rewriteMessage(element, message, ...)
    if element.plain then return message end -- says its places itself
    if not element.timed_out then return rewrite(element, message, ...) end
    return format("the test took longer than %g s; it was here:\n%s", element.timed_out,
      element.stuck or "?")
  end

  -- Everything that may fail counts as a part of the test.
  local function attempt(status, element, fn)
    status:update(busted.safe("it", fn, element))
  end

  local function attempt_in_time(status, element, fn)
    attempt(status, element, function()
      local result = within(options.timeout, element, function()
        return busted.safe("it", fn, element)
      end)
      if not result then error("it cannot be interrupted", 0) end
      status:update(result)
      -- it may have caught what was to end it
      if element.timed_out and status:success() then error("it took too long", 0) end
    end)
  end

  local function clean_up(status, element)
    if cleanup.empty() then return end
    attempt_in_time(status, element, function()
      local failure = cleanup.run()
      if failure then error(failure, 0) end
    end)
  end

  local function body(element, parent)
    local finally
    element.env = element.env or {}
    block.rejectAll(element)
    element.env.finally = function(fn) finally = fn end
    element.env.pending = busted.pending

    local mark, captures = core.test.mark(), log._captures()
    errors.take_log()
    cleanup.active = true
    local ready, ancestor = block.execAll("before_each", parent, true)
    local status = busted.status "success"
    if ready then
      local began = busted.safe_publish("test", { "test", "start" }, element, parent)
      if began then
        attempt_in_time(status, element, element.run)
        if finally then
          block.reject("pending", element)
          attempt_in_time(status, element, finally)
        end
        clean_up(status, element)
      else
        status = busted.status "error"
      end
    end
    block.dexecAll("after_each", ancestor, true)
    clean_up(status, element)
    cleanup.active = false
    if not ready then return end

    async.sleep(0):await()
    local left = options.leftovers and {} or leftovers(mark)
    local _, captured = log._captures(captures) -- it would hide the errors of all tests to come
    if captured > 0 then left[#left + 1] = "a capture of the log (rw.log.capture)" end
    local logged = errors.flush()
    if options.errors then logged = {} end
    element.log = errors.take_log()
    if status:success() and (#left > 0 or #logged > 0) then
      element.plain = true
      attempt(status, element, function() busted.fail(complaint(left, logged), 0) end)
    end
    busted.safe_publish("test", { "test", "end" }, element, parent, tostring(status))
  end

  return function(element)
    local parent = busted.context.parent(element)
    if block.lazySetup(parent) then body(element, parent) end
  end
end

return it
