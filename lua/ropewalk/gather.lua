-- SPDX-License-Identifier: MIT
-- Deferreds from values, and one Deferred for many. Part of ropewalk.deferred,
-- which loads it. The lists may be tables with any keys; what is not a
-- Deferred in them counts as a result that is there already.

local argument = require "ropewalk.argument"
local chain = require "ropewalk.chain"
local Failure = require "ropewalk.failure"

local getmetatable, next, pairs, pcall, setmetatable, tostring, xpcall =
  getmetatable, next, pairs, pcall, setmetatable, tostring, xpcall
local format = string.format
local expect, optional = argument.expect, argument.optional

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

local function cancel_all(list, but)
  for key, each in pairs(list) do
    if key ~= but and getmetatable(each) == Deferred then pcall(each.cancel, each) end
  end
end

-- Calls done(key, ok, result, left) for each, now or when it fires; what it
-- returns becomes the result of that one. Gives the Deferred for all of them.
local function watch(what, list, done)
  expect(what, 1, list, "table")
  local all, left, counted = Deferred.new(function() cancel_all(list) end), 0, {}
  for key in pairs(list) do left, counted[key] = left + 1, false end
  local function one(result, key, ok)
    left = left - 1
    result = done(all, key, ok, result, left)
    counted[key] = true
    return result
  end
  local function uncounted(failure, key) -- there was no memory to count it
    if counted[key] then return failure end
    if not all:called() then all:errback(failure) end
    return nil
  end
  for key, each in pairs(list) do
    if getmetatable(each) == Deferred then
      each:add_callbacks(one, function(failure) return one(failure, key, false) end, key, true)
        :add_errback(uncounted, key)
    else
      one(each, key, true)
    end
  end
  return all
end

local function first_error(failure, key, whose)
  local first = Failure.new("first_error", format("%s (of %s, index %s)", tostring(failure),
    whose, tostring(key)))
  first.cause, first.index = failure, key
  first.frames, first.where = failure.frames, failure.where
  return first
end

local NO_OPTIONS <const> = {}

---Waits for all of them; the result has their results under the same keys.
---Fails with "first_error" (cause, index) at the first failure; the rest goes
---on, and later failures are reported. Cancelling it cancels them all.
---
---    local users = rw.gather { a = load "alice", b = load "bob" }:await()
---@param list table
---@param options? { consume_errors: boolean } true: failures are not reported
---@return ropewalk.Deferred
function Deferred.gather(list, options)
  local consume = (optional("gather", 2, options, "table") or NO_OPTIONS).consume_errors
  local results, finished = {}, false
  local all = watch("gather", list, function(all, key, ok, result, left)
    if ok then
      results[key] = result
      if left == 0 and not finished then all:callback(results) end
      return result
    elseif finished then
      return not consume and result or nil
    end
    finished = true
    all:errback(first_error(result, key, "gather"))
    return nil
  end)
  if next(list) == nil then all:callback(results) end
  return all
end

---Waits for all and never fails: the result has a pair { ok, result } for each.
---
---    for i, pair in ipairs(rw.Deferred.list(all):await()) do … end
---@param list table
---@param options? table fire_on_one_callback: the result is { result, key } of the first;
--- fire_on_one_errback: fails with the first, as gather; consume_errors: failures are not reported
---@return ropewalk.Deferred
function Deferred.list(list, options)
  options = optional("list", 2, options, "table") or NO_OPTIONS
  local results, finished = {}, false
  local all = watch("list", list, function(all, key, ok, result, left)
    results[key] = { ok, result }
    if not finished then
      if ok and options.fire_on_one_callback then
        finished = true
        all:callback { result, key }
      elseif not ok and options.fire_on_one_errback then
        finished = true
        all:errback(first_error(result, key, "list"))
      elseif left == 0 then
        all:callback(results)
      end
    end
    if not ok and options.consume_errors then return nil end
    return result
  end)
  if next(list) == nil then all:callback(results) end
  return all
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
  if next(expect("race", 1, list, "table")) == nil then argument.refuse("race", 1, "the list is empty") end
  local failures, finished = {}, false
  return watch("race", list, function(all, key, ok, result, left)
    if finished then return nil end
    if ok then
      finished, winners[all] = true, key
      cancel_all(list, key)
      all:callback(result)
      return nil
    end
    failures[key] = result
    if left == 0 then
      local failure = Failure.new("all_failed", "all failed, one of them: " .. tostring(result))
      failure.cause, failure.failures = result, failures
      all:errback(failure)
    end
    return nil
  end)
end

return Deferred
