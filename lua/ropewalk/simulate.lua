-- SPDX-License-Identifier: MIT
-- rw.testing.simulate: runs a function in a world of its own, with a network in
-- memory, a clock that jumps and faults by chance, all of which follow from a
-- seed. This is the outside: it ships the function there, has the world turned
-- in slices, and tells how it went. The inside is simulation.lua.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"
local async = require "ropewalk.async"
local loader = require "ropewalk.loader"
local DeferredLock = require "ropewalk.lock".DeferredLock

local error, next, pcall, tonumber, type = error, next, pcall, tonumber, type
local concat, format, getenv = table.concat, string.format, os.getenv
local math_type, tointeger = math.type, math.tointeger
local package = package

local _ENV <const> = nil

local simulate = {}

local SLICE <const> = 0.02 -- seconds that the real loop waits for a world
local EVENTS <const> = 40  -- of the trace, shown with a failure

local one_at_a_time = DeferredLock() -- a world has an address of its own

---@class ropewalk.simulate.Faults
---@field split? number chance that what is written arrives in two pieces, and those again (0.3)
---@field partial? number … that a write takes a part of the bytes only (0.1)
---@field reset? number … that a piece finds the connection reset (0)
---@field refuse? number … that a connection is refused (0)
---@field stall? number … that a piece is late, by up to stall_max (0)
---@field stall_max? number seconds (10)
---@field delay? number|number[] seconds, or { from, to } ({ 0, 0.02 })
---@field buffer? integer|integer[] bytes under way or unread ({ 4096, 65536 })
---@field loss? number chance that a datagram is lost (0.05)
---@field duplicate? number … that it comes twice (0.02)
---@field name_delay? number|number[] seconds that looking up a name takes ({ 0, 0.02 })
---@field name_failure? number chance that a name server fails (0)
---@field name_timeout? number … that it does not answer (0)

---@class ropewalk.simulate.Options
---@field faults? ropewalk.simulate.Faults|false false: a perfect network
---@field time_limit? number virtual seconds (the limit simulation_time)
---@field turn_limit? integer turns of the loop (the limit simulation_turns)
---@field allow_errors? boolean logged errors are no failure
---@field allow_leaks? boolean what the function leaves behind is none

---@class ropewalk.simulate.Result
---@field seed integer
---@field events integer how many there were
---@field virtual_seconds number
---@field trace_hash string of all that happened: the same for the same run

local KNOWN <const> = { faults = true, time_limit = true, turn_limit = true,
  allow_errors = true, allow_leaks = true, from = true, count = true, fn = true }

local function check_options(what, options)
  for key in next, options do
    if not KNOWN[key] then error(format("%s: there is no option %q", what, key), 3) end
  end
end

-- A world with the function in it.
local function open(fn, options)
  local world, code, message = core.simulator()
  if not world then
    if code == "EEXIST" then message = "another simulation runs in this process" end
    if code == "RW_ESTATE" then message = "it takes the Lua that comes with Ropewalk" end
    error(Failure.new(code, "no simulation: " .. message), 0)
  end
  local ok, why = world:call("prepare", loader.script, package.path, package.cpath)
  if ok then ok, why = world:call("load", fn, options.allow_leaks) end
  if ok then ok, why = world:call "ready" end
  if not ok then
    world:close()
    error(Failure.new("error", "the function cannot be simulated: " .. why), 0)
  end
  world:freeze()
  return world
end

local function result_of(world, seed)
  local events, seconds, hash = world:facts()
  return { seed = seed, events = events, virtual_seconds = seconds, trace_hash = hash }
end

local function failure_of(world, seed, why)
  local trace = world:trace(EVENTS)
  local result = result_of(world, seed)
  local failure = Failure.new("simulation", format("%s\nseed %d (replay it: ROPEWALK_SEED=%d), "
    .. "trace %s, the last %d of %d events:\n%s", why, seed, seed, result.trace_hash, #trace,
    result.events, concat(trace, "\n")))
  failure.result, failure.seed, failure.why = result, seed, why
  return failure
end

-- One run: its result, or nil and the failure.
local function run(world, seed, options)
  world:start { seed = seed, faults = options.faults, time_limit = options.time_limit,
    turn_limit = options.turn_limit, allow_errors = options.allow_errors }
  local state, why = world:step(SLICE)
  while state == "running" do
    async.sleep(0):await()
    state, why = world:step(SLICE)
  end
  if state == "failed" then return nil, failure_of(world, seed, why) end
  return result_of(world, seed)
end

local function with_world(fn, options, body)
  one_at_a_time:acquire():await()
  local opened, world = pcall(open, fn, options)
  if not opened then
    one_at_a_time:release()
    error(world, 0)
  end
  local ok, result, failure = pcall(body, world)
  world:close()
  one_at_a_time:release()
  if not ok then error(result, 0) end
  if failure then error(failure, 0) end
  return result
end

local function check_function(what, fn)
  if type(fn) ~= "function" and type(fn) ~= "string" then
    error(what .. ": a function is expected, or the path of a script that returns one, not "
      .. type(fn), 3)
  end
end

local function given_seed()
  local text = getenv "ROPEWALK_SEED"
  if not text or text == "" then return nil end
  return tointeger(tonumber(text)) or error(format("ROPEWALK_SEED: a whole number is expected, not %q", text), 0)
end

---Runs a function in a simulated world. The same seed gives the same run, here
---and in any other process. Raises a Failure, with the seed and the last
---events, when the function fails, an error is logged, nothing more can happen,
---or something is left over.
---
---    rw.testing.simulate(1, function(sim)
---      sim:run_app "apps/chat.lua"
---      …
---    end, { faults = { reset = 0.01, delay = { 0, 0.2 } } })
---@param seed integer
---@param fn fun(sim: ropewalk.Simulation)|string
---@param options? ropewalk.simulate.Options
---@return ropewalk.simulate.Result
function simulate.simulate(seed, fn, options)
  options = options or {}
  check_function("simulate", fn)
  check_options("simulate", options)
  seed = given_seed() or seed
  return with_world(fn, options, function(world) return run(world, seed, options) end)
end

---Runs a function with one seed after the other, until one fails: that failure
---is raised. With ROPEWALK_SEED set in the environment, it is that seed only.
---
---    rw.testing.simulate_many { from = 1, count = 10000, fn = scenario }
---@param options ropewalk.simulate.Options with fn, from (1) and count (100)
---@return { count: integer, events: integer, virtual_seconds: number, trace_hash: string }
function simulate.simulate_many(options)
  check_function("simulate_many", options.fn)
  check_options("simulate_many", options)
  local from, count = options.from or 1, options.count or 100
  if math_type(from) ~= "integer" or math_type(count) ~= "integer" or count < 1 then
    error("simulate_many: from and count must be whole numbers, count at least 1", 2)
  end
  if given_seed() then from, count = given_seed(), 1 end
  return with_world(options.fn, options, function(world)
    local total = { count = count, events = 0, virtual_seconds = 0 }
    local hash, slice = 0, core.hrtime() + SLICE
    for seed = from, from + count - 1 do
      local result, failure = run(world, seed, options)
      if not result then return nil, failure end
      total.events = total.events + result.events
      total.virtual_seconds = total.virtual_seconds + result.virtual_seconds
      hash = hash * 31 ~ tonumber(result.trace_hash, 16)
      if core.hrtime() >= slice then
        async.sleep(0):await()
        slice = core.hrtime() + SLICE
      end
    end
    total.trace_hash = format("%016x", hash)
    return total
  end)
end

return simulate
