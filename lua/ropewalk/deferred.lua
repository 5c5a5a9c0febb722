-- SPDX-License-Identifier: MIT
-- A Deferred is a result that is not there yet: Twisted's, exactly. Callbacks
-- run one after the other, each given the result of the one before; an error
-- or a returned Failure switches to the errbacks, a returned Deferred makes
-- the chain wait for it. C runs them (src/bind/chain.c), where the methods
-- below without a body are.
--
-- A failure that nobody took is logged at the end of the turn of the loop,
-- with where its chain began (its first callback) and where it failed.

local chain = require "ropewalk.chain"
local Failure = require "ropewalk.failure"

local getmetatable, require, setmetatable, type, xpcall =
  getmetatable, require, setmetatable, type, xpcall
local debug_traceback = debug.traceback
local caught, wrap = Failure.caught, Failure.wrap
local created, dependent, make, set_canceller, take_canceller, waits_for =
  chain.created, chain.dependent, chain.make, chain.set_canceller, chain.take_canceller,
  chain.waits_for

local _ENV <const> = nil

---@class ropewalk.Deferred
---@operator call(function?): ropewalk.Deferred
local Deferred = chain.Deferred
local resolve = Deferred.resolve

---A canceller that returns this fires the Deferred itself, later.
Deferred.LATER = {}
local LATER <const> = Deferred.LATER

---Reports what is unhandled now.
Deferred.flush = chain.flush

-- Making -------------------------------------------------------------------

---@alias ropewalk.canceller fun(d: ropewalk.Deferred): any

---Makes one; `rw.Deferred(canceller)` is the same.
---
---    local d = rw.Deferred(function(d) request:abort() end)
---@param canceller? ropewalk.canceller what to do when it is cancelled
---@return ropewalk.Deferred
---@overload fun(canceller?: ropewalk.canceller): ropewalk.Deferred
local new = Deferred.new
local metatable = { __call = make }
setmetatable(Deferred, metatable)

---Records where each Deferred is made; costs about 5 µs each.
---@param on boolean
function Deferred.set_debugging(on)
  local function record(canceller)
    local d = new(canceller)
    created[d] = debug_traceback("", 2)
    return d
  end
  Deferred.new = on and record or new
  metatable.__call = on and function(_, canceller) return record(canceller) end or make
end

---A Deferred that has fired with the value.
---
---    return rw.succeed(cache[key])
---@param value any
---@return ropewalk.Deferred
---@diagnostic disable-next-line: duplicate-set-field
Deferred.succeed = Deferred.succeed

---A Deferred that has failed.
---
---    return rw.fail("no such user")
---@param value any what rw.Failure takes
---@return ropewalk.Deferred
function Deferred.fail(value)
  local d = Deferred.new()
  resolve(d, wrap(value):at(2))
  return d
end

---@param value any
---@return boolean
function Deferred.is(value) return getmetatable(value) == Deferred end

-- Firing -------------------------------------------------------------------

-- What C gives. `add_…` pass any further arguments on to the function.
---@class ropewalk.Deferred
---@field callback fun(self, result: any) fires it; a second time raises "already_called"
---@field resolve fun(self, value: any) fires it with a value, a Failure or a Deferred
---@field add_callback fun(self, fn: function, ...): ropewalk.Deferred for a result
---@field add_errback fun(self, fn: function, ...): ropewalk.Deferred for a failure
---@field add_both fun(self, fn: function, ...): ropewalk.Deferred for either
---@field add_callbacks fun(self, callback: function?, errback: function?, ...): ropewalk.Deferred
--- one of the two is called: the errback does not see the callback's errors
---@field chain_deferred fun(self, other: ropewalk.Deferred): ropewalk.Deferred fires another one
---@field pause fun(self) what is added waits, until as many unpause
---@field unpause fun(self)
---@field await fun(self): any waits in a task; the result, or the failure is raised
---@field peek fun(self): boolean, any has it fired (and does not wait)? then its result, too
---@field called fun(self): boolean was it fired at all?
---@field handled fun(self) its failure counts as handled

---Fires it with a failure.
---
---    d:errback("the disk is full")
---@param value any what rw.Failure takes
function Deferred:errback(value) return resolve(self, wrap(value):at(2)) end

-- Waiting ------------------------------------------------------------------

-- ropewalk.async puts its own here.
function Deferred.wait(d)
  require "ropewalk.async"
  return Deferred.wait(d)
end

---The parked task that waits for it, maybe through others, for tracebacks.
---@return table? waiter
function Deferred:waiter()
  local at = self
  for _ = 1, 1000 do
    at = dependent(at)
    if type(at) ~= "userdata" then return at end
  end
  return nil
end

-- Cancelling ---------------------------------------------------------------

---Gives it up. Not fired: its canceller is called once, then it fails with
---"cancelled" unless it fired something itself. Waiting for another one: that
---one is cancelled. Fired: nothing happens.
---
---    d:cancel()
function Deferred:cancel()
  local inner = waits_for(self)
  if inner then return inner:cancel() end
  if self:called() then return end
  local canceller = take_canceller(self)
  if canceller then
    local ok, later = xpcall(canceller, caught, self)
    if self:called() then return end
    if not ok then return self:errback(later) end
    if later == LATER then return set_canceller(self, canceller) end
  end
  return resolve(self, Failure.new("cancelled", "cancelled"))
end

require "ropewalk.gather"
require "ropewalk.timeout"

return Deferred
