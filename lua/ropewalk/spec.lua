-- SPDX-License-Identifier: MIT
-- `ropewalk test`: runs the system's busted inside the server. C calls
-- run(arguments) in a task, so specs wait for Deferreds where they like.

local core = require "ropewalk.core"
local async = require "ropewalk.async"

local error, ipairs, os, package, require, table, tostring, xpcall, G =
  error, ipairs, os, package, require, table, tostring, xpcall, _G
local debug, io = debug, io
local _ENV <const> = nil

local spec = {}

local ROOTS <const> = { "/usr/local", "/usr" }

local function use_system_modules()
  local paths, cpaths = {}, {}
  for _, root in ipairs(ROOTS) do
    local share = root .. "/share/lua/5.4"
    paths[#paths + 1] = share .. "/?.lua;" .. share .. "/?/init.lua"
    cpaths[#cpaths + 1] = root .. "/lib/lua/5.4/?.so"
  end
  -- Debian's folders for C modules are named after the machine
  local listing <close> = io.popen "ls -d /usr/lib/*/lua/5.4 2>/dev/null"
  for folder in listing:lines() do cpaths[#cpaths + 1] = folder .. "/?.so" end
  package.path = package.path .. ";" .. table.concat(paths, ";")
  package.cpath = package.cpath .. ";" .. table.concat(cpaths, ";")
end

--- Counts what busted tells, for the last line.
local function subscribe(busted, totals)
  busted.subscribe({ "test", "end" }, function(_, _, status)
    if status == "success" then
      totals.passed = totals.passed + 1
    elseif status == "pending" then
      totals.skipped = totals.skipped + 1
    else
      totals.failed = totals.failed + 1
    end
    return nil, true
  end)
  for _, what in ipairs { "file", "describe" } do -- errors outside of a test
    busted.subscribe({ "error", what }, function()
      totals.failed = totals.failed + 1
      return nil, true
    end)
  end
end

local DONE = {}

local function protected(arguments, totals)
  use_system_modules()
  G.arg = arguments
  arguments[0] = "ropewalk test"
  os.exit = function(status) -- luacheck: ignore
    if status == true or status == nil then status = 0 end
    totals.status = status or 1
    error(DONE, 0)
  end
  local make = require "busted.core"
  package.loaded["busted.core"] = function()
    local busted = make()
    subscribe(busted, totals)
    return busted
  end
  local function nested() -- busted asks who called, twice
    require "busted.runner" { standalone = false }
    return nil
  end
  nested()
end

--- Runs busted with its own options; returns the exit status.
---@param arguments string[]
---@return integer
function spec.run(arguments)
  local totals = { passed = 0, failed = 0, skipped = 0 }
  local ok, e = xpcall(protected, function(e)
    if e == DONE then return e end
    return debug.traceback(tostring(e), 2)
  end, arguments, totals)
  if not ok and e ~= DONE then
    io.stderr:write("ropewalk test: ", tostring(e), "\n")
    totals.status = 1
  end
  io.stdout:write(("%d passed, %d failed, %d skipped\n"):format(
    totals.passed, totals.failed, totals.skipped))
  io.stdout:flush()
  if totals.passed + totals.failed + totals.skipped == 0 then return 1 end
  return totals.status or (totals.failed == 0 and 0 or 1)
end

spec.wait = async and async.await
spec.core = core

return spec
