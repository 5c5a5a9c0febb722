-- SPDX-License-Identifier: MIT
-- What is to be undone when the running test ends, the last thing first. Its
-- state is one for all spec files: `ropewalk test` loads it before any of them.

local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"

local error, type, xpcall = error, type, xpcall
local pack, unpack = table.pack, table.unpack

local _ENV <const> = nil

local cleanup = { active = false }

local stack = {}

---Calls the function when the test ends, however it ends; it may wait.
---
---    rw.testing.add_cleanup(server.stop_service, server)
---@param fn function
function cleanup.add(fn, ...)
  if type(fn) ~= "function" then error("add_cleanup: a function is missing", 2) end
  if not cleanup.active then core.misuse "add_cleanup: no test is running" end
  stack[#stack + 1] = { fn, pack(...) }
end

---@return boolean
function cleanup.empty() return #stack == 0 end

---Runs them all, also when some fail; returns the first failure.
---@return ropewalk.Failure?
function cleanup.run()
  local first
  while #stack > 0 do
    local entry = stack[#stack]
    stack[#stack] = nil
    local ok, result = xpcall(entry[1], Failure.caught, unpack(entry[2], 1, entry[2].n))
    if ok and Deferred.is(result) then
      ok, result = xpcall(result.await, Failure.caught, result)
    end
    if not ok then first = first or Failure.wrap(result) end
  end
  return first
end

return cleanup
