-- SPDX-License-Identifier: MIT
-- The inside of a simulation (rw.testing.simulate): what the function that runs
-- there is given, and how a run begins and ends. The outside is simulate.lua.

local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"
local loader = require "ropewalk.loader"
local sandbox = require "ropewalk.sandbox"
local simulated_names = require "ropewalk.names.simulated"
local timer = require "ropewalk.timer"

local error, ipairs, tostring, type, xpcall = error, ipairs, tostring, type, xpcall
local format = string.format
local concat, insert, pack, unpack = table.concat, table.insert, table.pack, table.unpack
local random = math.random
local turn_end = core.turn_end
local io, package = io, package
local G = _G

local _ENV <const> = nil

local simulation = {}
local world = core.simulation -- nil in reality

local LONG <const> = 1e6
local PARTING <const> = 5 -- seconds for what was closed to be gone

-- Waits until a condition gives something true: it is asked after each turn in
-- which something happened. nil: it did not within so many seconds.
local function wait_until(fn, seconds)
  local value = fn()
  if value then return value end
  local d = Deferred.new()
  local call = timer.call_later(seconds, d.callback, d)
  local function look()
    if d:called() then return end
    local ok, result = xpcall(fn, Failure.caught)
    if not ok then return d:errback(result) end
    if not result then return turn_end(look) end
    value = result
    return d:callback()
  end
  turn_end(look)
  d:await()
  if call:active() then call:cancel() end
  return value
end

-- Applications -------------------------------------------------------------

---@class ropewalk.simulation.App
local App = Object:extend "App"

function App:init(id, path) self.id, self.path = id, path end

---"loading", "running", "stopping" or "ended".
---@return string
function App:state() return (world.state(self.id)) end

local function wait_while(app, state)
  wait_until(function() return app:state() ~= state end, LONG)
end

---Loads the script anew, as SIGHUP does; waits until the new code serves, or
---is refused.
---@return boolean serves
function App:reload()
  local _, before = world.state(self.id)
  world.reload(self.id)
  wait_while(self, "loading")
  local _, after = world.state(self.id)
  return after > before and self:state() == "running"
end

---Stops it, as SIGTERM does, and waits for its end.
function App:stop()
  world.stop(self.id)
  wait_until(function() return self:state() == "ended" end, LONG)
end

---It dies, as by SIGKILL: no hook is called, its peers get resets. `run_app`
---starts it anew.
function App:kill()
  world.kill(self.id)
  wait_until(function() return self:state() == "ended" end, LONG)
end

-- The world ----------------------------------------------------------------

---@class ropewalk.Simulation
---@field seed integer
local Simulation = Object:extend "Simulation"

function Simulation:init(seed)
  self.seed, self.apps, self.services = seed, {}, {}
end

---Runs a script as a server of its own, with its own state and its own reloads,
---or starts a service of this function's. Waits until it serves.
---
---    local app = sim:run_app("apps/chat.lua", { listen = "tcp:127.0.0.1:7001" })
---@param what string|ropewalk.Service
---@param settings? table<string, any> what --set would
---@return any app an App, or the service
function Simulation:run_app(what, settings)
  if type(what) == "string" then
    local app = App(world.app(what, settings), what)
    insert(self.apps, app)
    wait_while(app, "loading")
    if app:state() ~= "running" then error(what .. " does not run", 2) end
    return app
  end
  if type(what) ~= "table" or not what.start_service then
    error("run_app: a path or a service is expected, not " .. type(what), 2)
  end
  insert(self.services, what)
  if what.privileged_start_service then
    Deferred.maybe(what.privileged_start_service, what):await()
  end
  Deferred.maybe(what.start_service, what):await()
  return what
end

---A number that follows from the seed, as math.random does.
function Simulation:random(...) return random(...) end -- luacheck: ignore 212

---Virtual seconds since the beginning.
---@return number
function Simulation:now() return core.now() end -- luacheck: ignore 212

---Other faults from now on: as simulate's, or false for none.
---@param faults table|false
function Simulation:set_faults(faults) world.faults(faults) end -- luacheck: ignore 212

---Cuts servers of this host off: nothing arrives there or from there. What is
---sent waits, datagrams are lost. A name that `names` knows stands for the
---addresses that it has now, another one is a host of its own.
---@param host string as in the endpoint
function Simulation:partition(host) world.cut(host, true) end -- luacheck: ignore 212

---Ends a partition.
---@param host string
function Simulation:heal(host) world.cut(host, false) end -- luacheck: ignore 212

---Says which names there are, and what is known of each, from now on: for all
---applications, instead of what was said before. Other names do not exist then.
---
---    sim:names {
---      ["db.test"] = { "10.0.0.1", "10.0.0.2" },
---      ["www.db.test"] = { CNAME = "db.test" },
---      ["_db._tcp.test"] = { SRV = { priority = 1, weight = 1, port = 5432, target = "db.test" } },
---    }
---@param names table<string, string|table> addresses, and records by their type
function Simulation:names(names) simulated_names.say(names) end -- luacheck: ignore 212

---A line in the trace.
---@param text string
function Simulation:note(text) world.trace(tostring(text)) end -- luacheck: ignore 212

---Waits until a function gives something true, at most so many seconds of
---virtual time (60), and returns what it gave; raises when it did not.
---
---    sim:run_until(function() return #lines == 3 end, 5)
---@param fn function
---@param seconds? number
---@return any
function Simulation:run_until(fn, seconds) -- luacheck: ignore 212
  local value = wait_until(fn, seconds or 60)
  if value then return value end
  local text = format("it did not come true within %g s", seconds or 60)
  error(Failure.new("timeout", text):at(2), 0)
end

---Waits until nothing is under way any more; timers may be pending.
---@param seconds? number at most (60)
function Simulation:settle(seconds)
  async.sleep(0):await()
  if wait_until(world.quiet, seconds or 60) then return end
  error(Failure.new("timeout", "the network did not come to rest"):at(2), 0)
end

-- A run --------------------------------------------------------------------

local scenario -- the function
local allow_leaks = false
local started = false

-- Each run begins with a copy of the world as it was before the first one, and
-- ends with all files closed: none may be open in the copy.
local opened = {}

local function watch(name, which)
  local real = io[name]
  io[name] = function(...)
    local result = pack(real(...))
    if not started then insert(opened, result[which]) end
    return unpack(result, 1, result.n)
  end
end

local function watch_files()
  watch("open", 1)
  watch("popen", 1)
  watch("tmpfile", 1)
  watch("lines", 4)
  local dir = core.dir
  core.dir = function(path)
    if started then return dir(path) end
    error(format("%s: open it within the function, not before", path), 2)
  end
end

---The world is about to be copied.
function simulation.ready()
  for _, file in ipairs(opened) do
    if io.type(file) == "file" then
      error("a file is open: open it within the function, not before", 0)
    end
  end
  opened, started = {}, true
end

---The driver's surroundings are those of a script.
---@param script? string
function simulation.prepare(script, path, cpath)
  sandbox.install(G)
  watch_files()
  package.path, package.cpath = path, cpath
  if script then loader.set_script(script) end
end

---@param fn function|string a function, or the path of a script that returns one
---@param leaks? boolean what is left over is no failure
function simulation.load(fn, leaks)
  if type(fn) == "string" then
    local chunk, why = loader.load_file(fn)
    if not chunk then error(why, 0) end
    loader.set_script(fn)
    fn = chunk(fn)
    if type(fn) ~= "function" then
      error("a script that is simulated returns a function, not " .. type(fn), 0)
    end
  end
  scenario, allow_leaks = fn, leaks
end

local function stop_services(sim)
  for i = #sim.services, 1, -1 do
    Deferred.maybe(sim.services[i].stop_service, sim.services[i]):await()
  end
end

-- What was made since the mark and is still there, as text; nil: nothing.
local function left_over(mark)
  wait_until(function() return not world.open(1) and not world.leftovers(mark)[1] end, PARTING)
  local list = world.leftovers(mark)
  local open = #list == 0 and world.open(1) -- an application's, whose peer has gone
  if open then insert(list, "connection " .. open) end
  return #list > 0 and concat(list, "; ") or nil
end

local function stop_apps(sim)
  for i = #sim.apps, 1, -1 do
    local app = sim.apps[i]
    if app:state() ~= "ended" then app:stop() end
  end
end

---The whole of it.
function simulation.run()
  local sim, mark = Simulation(world.seed()), world.mark()
  local ok, failure = xpcall(scenario, Failure.caught, sim)
  if ok and Deferred.is(failure) then ok, failure = xpcall(failure.await, Failure.caught, failure) end
  if ok then
    sim:set_faults(false)
    ok, failure = xpcall(stop_services, Failure.caught, sim)
  end
  local leaks = ok and not allow_leaks and left_over(mark)
  if leaks then ok, failure = false, Failure.new("leak", "the function left behind: " .. leaks) end
  if ok then ok, failure = xpcall(stop_apps, Failure.caught, sim) end
  Deferred.flush()
  world.finish(ok, not ok and failure:describe() or nil)
end

return simulation
