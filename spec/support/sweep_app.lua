-- SPDX-License-Identifier: MIT
-- Sweeps the public functions (sweep.lua) in one phase of a script's life, which
-- is the first argument, and prints what is wrong with them.

local rw = require "ropewalk"
local sweep = require "spec.support.sweep"

local phase, generation = rw.args[1], rw.generation

local function report(findings, calls)
  for _, finding in ipairs(findings) do io.stdout:write("finding: ", finding, "\n") end
  io.stdout:write("calls: ", calls, "\n")
  io.stdout:flush()
end

local function run() report(sweep.run { brief = true }) end
local function pause() rw.sleep(0):await() end
local function stop() rw.reactor:stop() end

local Phase = rw.Service:extend "Phase"

local PHASES <const> = {
  serving = function() return rw.run(function() report(sweep.run { pause = pause }) end) end,
  load = function()
    run()
    return rw.run(stop)
  end,
  check = function()
    rw.on_check(run)
    return Phase()
  end,
  shutdown = function()
    function Phase:stop_service() run() end -- luacheck: ignore 212
    return { rw.run(stop), Phase() }
  end,
  ended = function()
    rw.reactor:add_system_event_trigger("after", "shutdown", run)
    return rw.run(function() end)
  end,
  retired = function()
    if generation == 1 then rw.reactor:add_system_event_trigger("after", "shutdown", run) end
    return rw.server(rw.config.listen, rw.Factory:for_protocol(rw.Protocol))
  end,
  thread = function()
    return rw.run(function()
      local result = rw.defer_to_thread(function()
        local findings, calls = require "spec.support.sweep".run { brief = true }
        return { findings = findings, calls = calls }
      end):await()
      report(result.findings, result.calls)
    end)
  end,
}

return PHASES[phase]()
