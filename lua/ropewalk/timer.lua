-- SPDX-License-Identifier: MIT
-- Delayed calls: `call_later` of the reactor. C makes them (src/bind/timer.c).

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local error = error

local _ENV <const> = nil

---@class ropewalk.DelayedCall
---@field cancel fun(self: ropewalk.DelayedCall) gives it up; raises "already_called" or
--- "already_cancelled" when it is too late, as reset and delay do
---@field reset fun(self: ropewalk.DelayedCall, seconds: number) so many seconds from now instead
---@field delay fun(self: ropewalk.DelayedCall, seconds: number) so many seconds later than
--- planned, or earlier
---@field active fun(self: ropewalk.DelayedCall): boolean is it still to come?
---@field get_time fun(self: ropewalk.DelayedCall): number when, on `rw.reactor:seconds()`'s scale
local DelayedCall = { __name = "DelayedCall" }
DelayedCall.__index = DelayedCall

local function over(cancelled)
  if cancelled then
    error(Failure.new("already_cancelled", "the delayed call was cancelled already"):at(3), 0)
  end
  error(Failure.new("already_called", "the delayed call was made already"):at(3), 0)
end

---Calls a function later, never in the current call, as a task: it may wait.
---
---    local call = rw.call_later(5, transport.lose_connection, transport)
---@type fun(seconds: number, fn: function, ...): ropewalk.DelayedCall
local call_later = core.delayed_call(DelayedCall, over)

return { call_later = call_later, DelayedCall = DelayedCall, over = over }
