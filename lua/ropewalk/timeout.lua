-- SPDX-License-Identifier: MIT
-- Time-outs of Deferreds. Part of ropewalk.deferred, which loads it.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local chain = require "ropewalk.chain"
local Failure = require "ropewalk.failure"

local getmetatable = getmetatable
local format = string.format

local _ENV <const> = nil

---@class ropewalk.Deferred
local Deferred = chain.Deferred

---Cancels it when it has not fired in time; it then fails with "timeout".
---Covers the callbacks added before.
---
---    db:query("select 1"):add_timeout(5)
---@param seconds number
---@param on_timeout? fun(result: any, seconds: number): any makes the result instead
---@param clock? table with call_later; the reactor when left out
---@return ropewalk.Deferred self
function Deferred:add_timeout(seconds, on_timeout, clock)
  argument.seconds("add_timeout", 1, seconds)
  if on_timeout ~= nil then argument.callable("add_timeout", 2, on_timeout) end
  if clock ~= nil then argument.object("add_timeout", 3, clock, "call_later", "clock") end
  local timed_out = false
  local function expire()
    timed_out = true
    self:cancel()
  end
  local timer
  if clock then
    timer = clock:call_later(seconds, expire)
  else
    timer = core.timer(seconds, expire)
  end
  return self:add_both(function(result)
    if not timed_out then
      if timer:active() then timer:cancel() end
      return result
    end
    if on_timeout then return on_timeout(result, seconds) end
    if getmetatable(result) ~= Failure then return result end
    result:trap("cancelled")
    local failure = Failure.new("timeout", format("timed out after %g s", seconds))
    failure.where = chain.began(self)
    return failure
  end)
end

return Deferred
