-- SPDX-License-Identifier: MIT
-- The core for specs: the real one inside `ropewalk test`, else the fake one
-- beside this file, so that the same specs run under a plain lua5.4.
--
--   local support = require "spec.support.core"
--   it("waits", support.task(function() rw.sleep(0.01):await() end))

local real = pcall(require, "ropewalk.core")
local fake

if not real then
  fake = require "spec.support.fake_core"
  package.loaded["ropewalk.core"] = fake
end

local support = { real = real, fake = fake }
local core = require "ropewalk.core"

-- A function for `it` that runs in a task, so that it may wait.
function support.task(fn)
  if not fake then return fn end
  return function() return fake.run(fn) end
end

local function sleep(seconds) require "ropewalk.async".sleep(seconds):await() end

-- Lets this turn of the loop end.
function support.turn()
  if core.task() then return sleep(0) end
  fake.turn()
end

-- Lets time pass: at once with the fake core.
support.pass = sleep

-- An error that was logged once, and is meant.
function support.expect_error(pattern)
  if fake then return end
  local found = require "ropewalk.testing".flush_logged_errors(pattern)
  if #found ~= 1 then error(("%d errors %q were logged"):format(#found, pattern), 2) end
end

return support
