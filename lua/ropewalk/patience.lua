-- SPDX-License-Identifier: MIT
-- TimeoutMixin: a protocol that loses its patience. Unlike the idle time-out of
-- the transport, the script says what counts as a sign of life.

local argument = require "ropewalk.argument"
local timer = require "ropewalk.timer"

local _ENV <const> = nil

---Give it to `extend` as the fields to begin with, then set a time.
---
---    local Pop3 = rw.LineProtocol:extend("Pop3", rw.TimeoutMixin)
---    function Pop3:connection_made() self:set_timeout(600) end
---    function Pop3:line_received(line)
---      self:reset_timeout()
---      …
---    end
---@class ropewalk.TimeoutMixin
---@field timeout_grace number seconds from timing out to the abort
---@field call_later function rw.call_later, or that of a test's clock
local TimeoutMixin = { timeout_grace = 15, call_later = timer.call_later }

local function cancel(self)
  local running = self._timeout_timer
  self._timeout_timer = nil
  if running and running:active() then running:cancel() end
end

local function expired(self)
  self._timeout_timer = nil
  self.timeout = nil
  return self:timeout_connection()
end

---Begins to wait, anew; nil: no more.
---@param seconds? number
---@return number? before what was set until now
function TimeoutMixin:set_timeout(seconds)
  local before = self.timeout
  cancel(self)
  self.timeout = seconds
  if seconds then argument.seconds("set_timeout", 1, seconds) end
  if seconds then self._timeout_timer = self.call_later(seconds, expired, self) end
  return before
end

---A sign of life: the time begins anew. Without a time-out nothing happens.
function TimeoutMixin:reset_timeout()
  local running, seconds = self._timeout_timer, self.timeout
  if running and running:active() then
    running:reset(seconds)
  elseif seconds then -- the connection came from older code
    self:set_timeout(seconds)
  end
end

---The time is over. By default the connection is closed, and aborted when that
---does not come to an end within timeout_grace.
function TimeoutMixin:timeout_connection()
  local transport = self.transport
  transport:lose_connection()
  self.call_later(self.timeout_grace, transport.abort_connection, transport)
end

return TimeoutMixin
