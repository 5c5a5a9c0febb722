-- SPDX-License-Identifier: MIT
-- Scripts that end: `return rw.run(main, …)` runs a function in a task and then
-- stops the process, with the status that the function said.

local Service = require "ropewalk.service".Service
local async = require "ropewalk.async"
local core = require "ropewalk.core"
local log = require "ropewalk.log"

local error, math_type, pack, type, unpack = error, math.type, table.pack, type, table.unpack

local _ENV <const> = nil

---@class ropewalk.Main: ropewalk.Service
local Main = Service:extend "Main"

Main.task = false

function Main:init(fn, ...) self.fn, self.arguments = fn, pack(...) end

local function status_of(result)
  if result == nil or result == true then return 0 end
  if math_type(result) == "integer" and result >= 0 and result <= 255 then return result end
  log.error("rw.run: the function returned {result}, which is no exit status",
    { result = result })
  return 1
end

function Main:start_service()
  self.running = true
  self.task = async.spawn(self.fn, unpack(self.arguments, 1, self.arguments.n))
  self.task:add_callbacks(status_of, function(failure)
    if not self.running then return nil end -- cancelled: others took over
    log.failure(failure, "rw.run")
    return 1
  end):add_callback(function(status)
    if self.running then core.stop(status) end
  end)
end

-- The process stops, or newer code is live: what is under way is cancelled, and
-- may clean up.
function Main:stop_service()
  self.running = false
  if not self.task then return nil end
  self.task:cancel()
  return self.task
end

---Runs a function in a task of its own, then stops the process. The status is 0,
---or the number that it returns; 1 when it fails, which is logged with its
---traceback. For a script to return.
---
---    return rw.run(function(name) print(fetch(name):await()) end, rw.args[1])
---@param fn function
---@return ropewalk.Service
return function(fn, ...)
  if type(fn) ~= "function" then error("run: a function is missing", 2) end
  return Main(fn, ...)
end
