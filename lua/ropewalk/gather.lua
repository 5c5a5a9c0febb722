-- SPDX-License-Identifier: MIT
-- Deferreds from values, and one Deferred for many. Part of ropewalk.deferred,
-- which loads it. The lists may be tables with any keys; what is not a
-- Deferred in them counts as a result that is there already.

local chain = require "ropewalk.chain"
local Failure = require "ropewalk.failure"

local getmetatable, pairs, pcall, type, xpcall = getmetatable, pairs, pcall, type, xpcall
local error, setmetatable, tostring = error, setmetatable, tostring
local format = string.format

local _ENV <const> = nil

---@class ropewalk.Deferred
local Deferred = chain.Deferred

---Calls a function and gives a Deferred whatever it does: returns a value, a
---Failure or a Deferred, or raises.
---
---    rw.Deferred.maybe(user_function, request):add_callback(answer)
---@param fn function
---@return ropewalk.Deferred
function Deferred.maybe(fn, ...)
  local ok, value = xpcall(fn, Failure.caught, ...)
  if not ok then return Deferred.fail(value) end
  if value ~= nil and getmetatable(value) == Deferred then return value end
  local d = Deferred.new()
  d:callback(value)
  return d
end

local function cancel_all(list)
  for _, each in pairs(list) do
    if getmetatable(each) == Deferred then pcall(each.cancel, each) end
  end
end

-- Calls done(key, ok, result) for each, now or when it fires; what it returns
-- becomes the result of that one.
local function watch(list, done)
  for key, each in pairs(list) do
    if getmetatable(each) == Deferred then
      each:add_callbacks(function(result) return done(key, true, result) end,
        function(failure) return done(key, false, failure) end)
    else
      done(key, true, each)
    end
  end
end

local function size(list)
  if type(list) ~= "table" or getmetatable(list) == Deferred then
    error("a table of Deferreds is missing", 3)
  end
  local count = 0
  for _ in pairs(list) do count = count + 1 end
  return count
end

---Waits for all of them; the result has their results under the same keys.
---Fails with "first_error" (cause, index) at the first failure; the rest goes
---on. Cancelling it cancels them all.
---
---    local users = rw.gather { a = load "alice", b = load "bob" }:await()
---@param list table
---@param options? { consume_errors: boolean } true: later failures are not reported
---@return ropewalk.Deferred
function Deferred.gather(list, options)
  local d = Deferred.new(function() cancel_all(list) end)
  local results, left, finished = {}, size(list), false
  local function done(key, ok, result)
    left = left - 1
    if ok then
      results[key] = result
    elseif not finished then
      finished = true
      local failure = Failure.new("first_error", format("%s (of gather, index %s)",
        tostring(result), tostring(key)))
      failure.cause, failure.index = result, key
      failure.frames, failure.where = result.frames, result.where
      d:errback(failure)
      return nil
    end
    if left == 0 and not finished then
      finished = true
      d:callback(results)
    end
    if ok or (options and options.consume_errors) then return ok and result or nil end
    return result
  end
  watch(list, done)
  if size(list) == 0 then d:callback(results) end
  return d
end

---Waits for all and never fails: the result has a pair { ok, result } for each.
---
---    for i, pair in ipairs(rw.Deferred.list(all):await()) do … end
---@param list table
---@param options? table fire_on_one_callback: the result is { result, key } of the first;
--- fire_on_one_errback: fails with the first; consume_errors: failures are not reported
---@return ropewalk.Deferred
function Deferred.list(list, options)
  options = options or {}
  local d = Deferred.new(function() cancel_all(list) end)
  local results, left, finished = {}, size(list), false
  local function done(key, ok, result)
    left = left - 1
    results[key] = { ok, result }
    local early = not finished and options[ok and "fire_on_one_callback" or "fire_on_one_errback"]
    if early and ok then
      finished = true
      d:callback { result, key }
    elseif early then
      finished = true
      local failure = Failure.new("first_error", tostring(result))
      failure.cause, failure.index = result, key
      d:errback(failure)
    elseif left == 0 and not finished then
      finished = true
      d:callback(results)
    end
    if not ok and options.consume_errors then return nil end
    return result
  end
  watch(list, done)
  if size(list) == 0 then d:callback(results) end
  return d
end

local winners = setmetatable({}, { __mode = "k" })

---The key of the one that has won, of a Deferred that `race` made.
---@return any key nil: none has
function Deferred:winner() return winners[self] end

---The first success wins and the others are cancelled; which it was says
---`winner`. When all fail: "all_failed" with `failures`.
---
---    local page = rw.race { fetch(mirror_a), fetch(mirror_b) }:await()
---@param list table
---@return ropewalk.Deferred
function Deferred.race(list)
  if size(list) == 0 then error("race: the list is empty", 2) end
  local d = Deferred.new(function() cancel_all(list) end)
  local failures, left, finished = {}, size(list), false
  local function done(key, ok, result)
    left = left - 1
    if finished then return nil end
    if ok then
      finished = true
      winners[d] = key
      local others = {}
      for k, each in pairs(list) do
        if k ~= key then others[k] = each end
      end
      cancel_all(others)
      d:callback(result)
      return nil
    end
    failures[key] = result
    if left == 0 then
      finished = true
      local failure = Failure.new("all_failed", "all failed, one of them: " .. tostring(result))
      failure.cause, failure.failures = result, failures
      d:errback(failure)
    end
    return nil
  end
  watch(list, done)
  return d
end

return Deferred
