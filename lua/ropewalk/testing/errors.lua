-- SPDX-License-Identifier: MIT
-- The errors that were logged while the test ran: who expects them takes them,
-- the others fail the test. One state for all spec files.

local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"

local find = string.find

local _ENV <const> = nil

local errors = { log = "" }

local pending = {}

local function gather()
  if not core.test then return end
  local lines, new = core.test.log()
  errors.log = errors.log .. lines
  for i = 1, #new do pending[#pending + 1] = new[i] end
end

---Takes the logged errors that contain a pattern, or all of them. Failures that
---nobody has handled so far are logged now.
---
---    assert.equal(1, #rw.testing.flush_logged_errors "no such user")
---@param pattern? string
---@return string[] lines
function errors.flush(pattern)
  Deferred.flush()
  gather()
  local taken, left = {}, {}
  for i = 1, #pending do
    local matches = not pattern or find(pending[i], pattern)
    local list = matches and taken or left
    list[#list + 1] = pending[i]
  end
  pending = left
  return taken
end

---The log since the last call.
---@return string
function errors.take_log()
  gather()
  local log = errors.log
  errors.log = ""
  return log
end

return errors
