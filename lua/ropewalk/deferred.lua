-- SPDX-License-Identifier: MIT
-- A Deferred is a result that is not there yet: Twisted's, exactly. Callbacks
-- run one after the other, each given the result of the one before; an error
-- or a returned Failure switches to the errbacks, a returned Deferred makes
-- the chain wait for it. How that runs is in chain.lua.
--
-- A failure that nobody took is logged at the end of the turn of the loop,
-- with where its chain began (its first callback) and where it failed.

local chain = require "ropewalk.chain"
local Failure = require "ropewalk.failure"

local error, getmetatable, require, setmetatable, xpcall =
  error, getmetatable, require, setmetatable, xpcall
local debug_traceback = debug.traceback
local format = string.format
local caught, wrap = Failure.caught, Failure.wrap
local append, fire, follow, run = chain.append, chain.fire, chain.follow, chain.run

local _ENV <const> = nil

-- The same lines stand in chain.lua.
-- (One each: Lua folds only the last constant of a declaration.)
local STATE <const> = 1
local RESULT <const> = 2
local HEAD <const> = 3
local TAIL <const> = 4
local FIRST <const> = 5
local PENDING <const> = "pending"
local FIRED <const> = "fired"
local FAILED <const> = "failed"
local RUNNING <const> = "running"
local WAITING <const> = "waiting"
local CHAIN <const> = 1
local WAIT <const> = 2

---@class ropewalk.Deferred
---@field handled? boolean a task took the failure
---@field origin? function|string where the chain began, when no callback says it
local Deferred = chain.Deferred

---A canceller that returns this fires the Deferred itself, later.
Deferred.LATER = {}
local LATER <const> = Deferred.LATER

local debugging = false

---Makes one.
---
---    local d = rw.Deferred(function(d) request:abort() end)
---@param canceller? fun(d: ropewalk.Deferred) what to do when it is cancelled
---@return ropewalk.Deferred
local function new(canceller)
  local self = setmetatable(
    { PENDING, canceller or false, FIRST, FIRST, false, false, false, false }, Deferred)
  if debugging then self.created = debug_traceback("", 2) end
  return self
end
Deferred.new, Deferred.flush = new, chain.flush
setmetatable(Deferred, { __call = function(_, canceller) return new(canceller) end })

local function fire_late(self)
  if self.swallow then
    self.swallow = nil
    return
  end
  error(Failure.new("already_called", "the Deferred has fired already"):at(3), 0)
end

---Fires it with a result. A second time raises "already_called".
---
---    d:callback("pong")
---@param result any neither a Deferred nor more than one value
function Deferred:callback(result)
  if self[STATE] ~= PENDING then return fire_late(self) end
  local class = result ~= nil and getmetatable(result)
  if class == Deferred then error("callback: the result must not be a Deferred", 2) end
  self[RESULT] = result
  if self[TAIL] == FIRST and class ~= Failure then
    self[STATE] = FIRED
    return nil
  end
  self[STATE] = RUNNING
  return run(self)
end

---Fires it with a failure.
---
---    d:errback("the disk is full")
---@param value any what rw.Failure takes
function Deferred:errback(value)
  if self[STATE] ~= PENDING then return fire_late(self) end
  return fire(self, wrap(value):at(2))
end

---Fires it with whatever a function returned: value, Failure or Deferred.
---@param value any
function Deferred:resolve(value)
  if self[STATE] ~= PENDING then return fire_late(self) end
  if value == nil or getmetatable(value) ~= Deferred then return fire(self, value) end
  if not follow(self, value) then return fire(self, self[RESULT]) end
end

-- Adding -------------------------------------------------------------------

local function bind(fn, a, b, c, d)
  if not fn then return fn end
  return function(result) return fn(result, a, b, c, d) end
end

local function kick(self)
  local state = self[STATE]
  if state == FIRED or state == FAILED then
    self[STATE] = RUNNING
    run(self)
  end
  return self
end

-- The short way for a callback on one that has fired with nothing to run.
local function call_now(self, fn)
  self[STATE] = RUNNING
  local ok, value = xpcall(fn, caught, self[RESULT])
  local class = value ~= nil and getmetatable(value)
  if ok and class ~= Deferred and class ~= Failure and self[TAIL] == FIRST then
    self[STATE], self[RESULT] = FIRED, value
    return self
  end
  if not ok then value = wrap(value) end
  -- the long way, in front of what was added meanwhile
  self[RESULT] = nil
  for i = self[TAIL] - 1, FIRST, -1 do self[i + 1] = self[i] end
  self[FIRST], self[TAIL] = function() return value end, self[TAIL] + 1
  run(self)
  return self
end

---What to do with the result; what it returns is the next result. Up to four
---more arguments are passed on.
---
---    d:add_callback(function(row) return row.name end)
---@param fn fun(result: any, ...): any
---@return ropewalk.Deferred self
function Deferred:add_callback(fn, a, b, c, d)
  if not fn then error("add_callback: a function is missing", 2) end
  if a ~= nil or b ~= nil or c ~= nil or d ~= nil then fn = bind(fn, a, b, c, d) end
  local state = self[STATE]
  if state == FIRED then return call_now(self, fn) end
  local tail = self[TAIL]
  self[tail] = fn
  self[TAIL] = tail + 1
  if state ~= PENDING then return kick(self) end
  return self
end

---What to do with a failure; what it returns is the next result.
---
---    d:add_errback(function(failure) failure:trap("timeout") return nil end)
---@param fn fun(failure: ropewalk.Failure, ...): any
---@return ropewalk.Deferred self
function Deferred:add_errback(fn, a, b, c, d)
  if not fn then error("add_errback: a function is missing", 2) end
  if a ~= nil or b ~= nil or c ~= nil or d ~= nil then fn = bind(fn, a, b, c, d) end
  local tail = self[TAIL]
  self[tail], self[tail + 1], self[tail + 2] = false, false, fn
  self[TAIL] = tail + 3
  if self[STATE] ~= PENDING then return kick(self) end
  return self
end

---What to do in either case.
---
---    d:add_both(function(result) lock:release() return result end)
---@param fn fun(result: any, ...): any
---@return ropewalk.Deferred self
function Deferred:add_both(fn, a, b, c, d)
  if not fn then error("add_both: a function is missing", 2) end
  if a ~= nil or b ~= nil or c ~= nil or d ~= nil then fn = bind(fn, a, b, c, d) end
  local tail = self[TAIL]
  self[tail], self[tail + 1], self[tail + 2] = false, fn, fn
  self[TAIL] = tail + 3
  if self[STATE] ~= PENDING then return kick(self) end
  return self
end

---One of the two is called; the errback does not see the callback's errors.
---
---    d:add_callbacks(on_row, on_failure)
---@param callback? fun(result: any, ...): any
---@param errback? fun(failure: ropewalk.Failure): any
---@return ropewalk.Deferred self
function Deferred:add_callbacks(callback, errback, a, b, c, d)
  if a ~= nil or b ~= nil or c ~= nil or d ~= nil then callback = bind(callback, a, b, c, d) end
  local tail = self[TAIL]
  self[tail], self[tail + 1], self[tail + 2] = false, callback or false, errback or false
  self[TAIL] = tail + 3
  if self[STATE] ~= PENDING then return kick(self) end
  return self
end

---Fires another one with this one's result.
---@param other ropewalk.Deferred
---@return ropewalk.Deferred self
function Deferred:chain_deferred(other)
  return self:add_callbacks(function(result) other:callback(result) end,
    function(failure) other:errback(failure) end)
end

---Has a task woken when it fires: for ropewalk.async only.
---@param waiter table wake(waiter, failed, result) → boolean
function Deferred:add_waiter(waiter)
  append(self, WAIT, waiter)
  return kick(self)
end

-- Cancelling ---------------------------------------------------------------

---Gives it up. Not fired: its canceller is called once, then it fails with
---"cancelled" unless it fired something itself. Waiting for another one: that
---one is cancelled. Fired: nothing happens.
---
---    d:cancel()
function Deferred:cancel()
  local state = self[STATE]
  if state == WAITING then return self[RESULT]:cancel() end
  if state ~= PENDING then return end
  local canceller = self[RESULT]
  if canceller then
    self[RESULT] = false
    local ok, later = xpcall(canceller, caught, self)
    if self[STATE] ~= PENDING then return end
    if not ok then return self:errback(later) end
    if later == LATER then
      self[RESULT] = canceller
      return
    end
  else
    self.swallow = true
  end
  return fire(self, Failure.new("cancelled", "cancelled"))
end

-- Looking ------------------------------------------------------------------

---Waits for the result in a task, and returns it or raises the failure.
---
---    local row = db:query("select …"):await()
---@return any result
function Deferred:await()
  local state = self[STATE]
  if state == FIRED then return self[RESULT] end
  if state == FAILED then
    self.handled = true
    error(self[RESULT], 0)
  end
  if not Deferred.wait then require "ropewalk.async" end
  return Deferred.wait(self)
end

---Has it fired (and is not waiting)? Then also its result.
---@return boolean fired
---@return any result a Failure when it failed
function Deferred:peek()
  local state = self[STATE]
  if state == FIRED or state == FAILED then return true, self[RESULT] end
  return false
end

---Was callback or errback called?
---@return boolean
function Deferred:called() return self[STATE] ~= PENDING end

---Records where each Deferred is made; costs about 5 µs each.
---@param on boolean
function Deferred.set_debugging(on) debugging = on end

---Every parked task that waits for it, for tracebacks.
---@return table? waiter
function Deferred:waiter()
  for i = self[HEAD], self[TAIL] - 1 do
    if self[i] == WAIT then return self[i + 1] end
    if self[i] == CHAIN then
      local waiter = self[i + 1]:waiter()
      if waiter then return waiter end
    end
  end
  return nil
end

function Deferred:__tostring() return format("Deferred (%s)", self[STATE]) end

---@param value any
---@return boolean
function Deferred.is(value) return getmetatable(value) == Deferred end

require "ropewalk.gather"
require "ropewalk.timeout"

return Deferred
