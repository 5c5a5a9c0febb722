-- SPDX-License-Identifier: MIT
-- Delayed calls: `call_later` of the reactor.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local error, setmetatable, type = error, setmetatable, type
local format = string.format
local core_timer = core.timer

local _ENV <const> = nil

---@class ropewalk.DelayedCall
local DelayedCall = { __name = "DelayedCall" }
DelayedCall.__index = DelayedCall

local function over(self)
  local code = self.cancelled and "already_cancelled" or "already_called"
  error(Failure.new(code, code == "already_called" and "the delayed call was made already"
    or "the delayed call was cancelled already"):at(3), 0)
end

---Gives it up. Raises "already_called" or "already_cancelled" when it is too late.
---
---    if call:active() then call:cancel() end
function DelayedCall:cancel()
  if not self.timer:cancel() then over(self) end
  self.cancelled = true
end

---Makes it happen so many seconds from now instead.
---@param seconds number
function DelayedCall:reset(seconds)
  if not self.timer:active() then over(self) end
  self.timer:reset(seconds)
end

---Makes it happen so many seconds later (or earlier) than planned.
---@param seconds number
function DelayedCall:delay(seconds)
  if not self.timer:active() then over(self) end
  self.timer:delay(seconds)
end

---Is it still to come?
---@return boolean
function DelayedCall:active() return self.timer:active() end

---When it happens, on the scale of `rw.reactor:seconds()`.
---@return number
function DelayedCall:get_time() return self.timer:time() end

---Calls a function later, never in the current call, as a task: it may wait.
---
---    local call = rw.call_later(5, transport.lose_connection, transport)
---@param seconds number
---@param fn function
---@return ropewalk.DelayedCall
local function call_later(seconds, fn, ...)
  if type(seconds) ~= "number" or seconds ~= seconds or seconds < 0 then
    error(format("call_later: seconds must be a number of at least 0, not %s",
      type(seconds) == "number" and seconds or type(seconds)), 2)
  end
  if not fn then error("call_later: a function is missing", 2) end
  return setmetatable({ timer = core_timer(seconds, fn, ...), cancelled = false }, DelayedCall)
end

return { call_later = call_later, DelayedCall = DelayedCall }
