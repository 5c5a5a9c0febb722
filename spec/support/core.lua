-- SPDX-License-Identifier: MIT
-- What specs of the library share. Each test runs in a task and may wait.
--
--   local support = require "spec.support.core"
--   support.turn()

local support = {}

-- A function for `it` that waits: any may.
function support.task(fn) return fn end

-- Lets this turn of the loop end, with what is done at its end: a timer of no seconds
-- may fire in the same turn.
function support.turn()
  require "ropewalk.async".sleep(0):await()
  local over = require "ropewalk.deferred"()
  require "ropewalk.core".turn_end(function() over:callback() end)
  over:await()
end

-- Waits until the condition gives something, and returns it; fails after so many
-- seconds, at the caller's line, with the message (or what that function says).
function support.eventually(condition, message, seconds)
  for _ = 1, (seconds or 20) / 0.01 do
    local value = condition()
    if value then return value end
    require "ropewalk.async".sleep(0.01):await()
  end
  error(type(message) == "function" and message() or message or "it did not happen", 2)
end

-- An error that was logged once, and is meant.
function support.expect_error(pattern)
  local found = require "ropewalk.testing".flush_logged_errors(pattern)
  if #found ~= 1 then error(("%d errors %q were logged"):format(#found, pattern), 2) end
end

return support
