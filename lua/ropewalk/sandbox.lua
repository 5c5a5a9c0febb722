-- SPDX-License-Identifier: MIT
-- What scripts find in the global table: Lua's standard libraries, with the few
-- things changed that would hurt the whole process. Called once per generation,
-- before the script. It keeps accidents away, not attackers: a script runs with
-- the rights of the process.

local core = require "ropewalk.core"
local loader = require "ropewalk.loader"
local log = require "ropewalk.log"

local error, pairs, select, tostring = error, pairs, select, tostring
local collectgarbage = collectgarbage
local concat = table.concat
local floor = math.floor
local package, debug, os = package, debug, os

local rawget, setmetatable, type = rawget, setmetatable, type

local _ENV <const> = nil

local sandbox = {}

local logger = log.logger "print"

local function print(...)
  local parts = { ... }
  for i = 1, select("#", ...) do parts[i] = tostring(parts[i]) end
  logger:info(concat(parts, "\t"))
end

local function exit()
  error("os.exit would cut every connection; use rw.reactor:stop() to stop the server", 2)
end

local COLLECT <const> = { collect = true, count = true, step = true, isrunning = true }

local function collect(option, ...)
  option = option or "collect"
  if not COLLECT[option] then
    error('collectgarbage "' .. tostring(option) .. '" is not for scripts: '
      .. "each generation's collector is tuned by the core", 2)
  end
  return collectgarbage(option, ...)
end

local set_any_metatable = debug.setmetatable

local function no_finalizer(metatable)
  if type(metatable) == "table" and rawget(metatable, "__gc") ~= nil then
    error("finalizers (__gc) are not for scripts: nothing could stop one that loops; "
      .. "use a <close> variable, or connection_lost", 3)
  end
end

local function set_metatable(value, metatable)
  no_finalizer(metatable)
  return setmetatable(value, metatable)
end

local function debug_set_metatable(value, metatable)
  no_finalizer(metatable)
  return set_any_metatable(value, metatable)
end

local function refuse(name, why)
  return function() error(name .. " is not for scripts: " .. why, 2) end
end

local HOOK <const> = "the hook belongs to the watchdog"
local ROOTS <const> = "it holds the core's own objects"

-- In a simulation all clocks are the simulation's.
local function tell_virtual_time()
  local real_time, real_date = os.time, os.date
  local function time(when) return when and real_time(when) or floor(core.time()) end
  -- luacheck: push ignore 122
  os.time = time
  os.date = function(text, when) return real_date(text, when or time()) end
  os.clock = core.hrtime
  -- luacheck: pop
end

---Changes the global table for scripts.
---@param globals table usually _G
function sandbox.install(globals)
  -- luacheck: push ignore 122
  globals.print = print
  globals.require = loader.require
  globals.load, globals.loadfile, globals.dofile = loader.load, loader.loadfile, loader.dofile
  globals.collectgarbage = collect
  globals.setmetatable, debug.setmetatable = set_metatable, debug_set_metatable
  os.exit = exit
  os.setlocale = refuse("os.setlocale", "it changes the whole process")
  debug.sethook = refuse("debug.sethook", HOOK)
  debug.getregistry = refuse("debug.getregistry", ROOTS)
  debug.debug = refuse("debug.debug", "it would block the server")
  package.loadlib = refuse("package.loadlib", "native code goes into the core")
  -- luacheck: pop
  if core.simulation then tell_virtual_time() end
  globals.warn = function(...) logger:warn(concat({ ... })) end
  for name, value in pairs(core.globals or {}) do globals[name] = value end
end

return sandbox
