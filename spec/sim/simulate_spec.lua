-- SPDX-License-Identifier: MIT
-- rw.testing.simulate itself: that runs repeat, what ends one, what is refused.

local rw = require "ropewalk"
local simulate, simulate_many = rw.testing.simulate, rw.testing.simulate_many
local core = require "ropewalk.core"
local e2e = require "spec.support.e2e"

-- What a run that must fail says.
local function failure_of(fn, options, seed)
  local ok, failure = pcall(simulate, seed or 1, fn, options)
  assert.is_false(ok)
  return failure
end

local PID <const> = io.open("/proc/self/stat"):read "n"

local function echo_once(sim)
  local Echo = rw.Protocol:extend "Echo"
  function Echo:data_received(bytes) self.transport:write(bytes) end
  local Client = rw.Protocol:extend "Client"
  function Client:connection_made() self.got = "" end
  function Client:data_received(bytes) self.got = self.got .. bytes end
  sim:run_app(rw.server("tcp:echo.test:7", rw.Factory:for_protocol(Echo)))
  local client = rw.connect("tcp:echo.test:7", rw.Factory:for_protocol(Client)):await()
  local text = ("0123456789"):rep(100)
  client.transport:write(text)
  sim:run_until(function() return #client.got >= #text end)
  assert(client.got == text)
  client.transport:lose_connection()
end

describe("a simulated run", function()
  it("waits until a service of the function is prepared", function()
    simulate(1, function(sim)
      local Slow = rw.Service:extend("Slow", { ready = false })
      function Slow:privileged_start_service()
        return rw.sleep(3):add_callback(function() self.ready = true end)
      end
      function Slow:start_service() assert(self.ready) end
      sim:run_app(Slow())
    end)
  end)

  it("says how it went", function()
    local result = simulate(42, echo_once)
    assert.equal(42, result.seed)
    assert.is_true(result.events > 3)
    assert.is_true(result.virtual_seconds > 0)
    assert.matches("^%x+$", result.trace_hash)
  end)

  it("is the same for the same seed, another for another", function()
    local hashes = {}
    for seed = 1, 20 do
      local result = simulate(seed, echo_once)
      assert.is_nil(hashes[result.trace_hash])
      hashes[result.trace_hash] = true
      assert.same(result, simulate(seed, echo_once))
    end
  end)

  it("repeats chance, time and the order of pairs", function()
    local function draw(sim)
      local t, names = {}, {}
      for i = 1, 50 do t["key" .. math.random(1000)], t[{}] = i, i end
      for key, value in pairs(t) do names[#names + 1] = type(key) == "string" and key or value end
      sim:note(table.concat(names, " "))
      sim:note(("%s %s %s"):format(sim:random(100), os.time(), os.date "!%H:%M:%S"))
      sim:note(require "ropewalk.core".random(8))
      sim:note(tostring({}))
    end
    assert.equal(simulate(5, draw).trace_hash, simulate(5, draw).trace_hash)
    assert.not_equal(simulate(5, draw).trace_hash, simulate(6, draw).trace_hash)
  end)

  it("repeats them in another process", function()
    local directory = e2e.directory()
    e2e.write(directory .. "/draw_spec.lua", [[
      local rw = require "ropewalk"
      local shared = { zeta = 1, alpha = { 2 }, 3, [2.5] = 5, beta = 6 }
      it("draws", function()
        print("trace " .. rw.testing.simulate(3, function(sim)
          local t, names = {}, {}
          for i = 1, 100 do t[{}], t["key" .. math.random(1000)] = i, i end
          for _, value in pairs(t) do names[#names + 1] = value end
          for key in pairs(shared) do names[#names + 1] = key end
          for name in pairs(package.loaded) do names[#names + 1] = name end
          sim:note(table.concat(names, " ") .. tostring(t) .. tostring(sim.random))
        end).trace_hash)
      end)
    ]])
    local command = ("%s test %s/draw_spec.lua"):format(e2e.binary, directory)
    local first = e2e.shell(command):match "trace (%x+)"
    assert.truthy(first)
    for _ = 1, 3 do assert.equal(first, e2e.shell(command):match "trace (%x+)") end
  end)

  it("costs no time for waiting", function()
    local began = core.hrtime()
    local result = simulate(1, function()
      local at, date = os.time(), os.clock()
      rw.sleep(3000):await()
      assert(os.time() - at == 3000 and os.clock() - date == 3000)
    end)
    assert.is_true(result.virtual_seconds >= 3000)
    assert.is_true(core.hrtime() - began < 2)
  end)

  it("leaves the process responsive meanwhile", function()
    local ticks = 0
    local loop = rw.LoopingCall(function() ticks = ticks + 1 end)
    loop:start(0.001)
    simulate_many { count = 500, fn = echo_once }
    for _, count in ipairs { 0, -1, "3", 1.5 } do -- nothing was tried: that is no success
      assert.has_error(function() simulate_many { count = count, fn = echo_once } end)
    end
    loop:stop()
    assert.is_true(ticks > 1)
  end)

  it("sees upvalues and modules as copies", function()
    local seen = { n = 1 }
    simulate(1, function() seen.n = seen.n + 1 assert(seen.n == 2) end)
    assert.equal(1, seen.n)
  end)

  it("can be the function that a script returns", function()
    local directory = e2e.directory()
    e2e.write(directory .. "/day.lua", [[
      local rw = require "ropewalk"
      return function(sim) rw.sleep(1):await() sim:note "done" end
    ]])
    assert.is_true(simulate(1, directory .. "/day.lua").events > 0)
    e2e.write(directory .. "/no.lua", "return 1")
    assert.has_error(function() simulate(1, directory .. "/no.lua") end)
  end)

  it("waits for a Deferred that the function returns", function()
    assert.is_true(simulate(1, function() return rw.sleep(7) end).virtual_seconds > 7)
    assert.matches("boom", failure_of(function()
      return rw.sleep(1):add_callback(function() error "boom" end)
    end).message)
  end)
end)

describe("a simulated run fails", function()
  it("when the function does, with the seed and the last events", function()
    local failure = failure_of(function(sim)
      sim:note "about to"
      error "no way"
    end, nil, 77)
    assert.equal("simulation", failure.code)
    assert.equal(77, failure.seed)
    assert.matches("no way", failure.why)
    assert.matches("ROPEWALK_SEED=77", failure.message)
    assert.matches("note about to", failure.message)
    assert.matches("simulate_spec.lua:%d+", failure.message)
  end)

  it("when nothing is left that could happen", function()
    local failure = failure_of(function() rw.Deferred():await() end)
    assert.matches("deadlock", failure.why)
    assert.matches("simulate_spec.lua:%d+", failure.why)
  end)

  it("when it never ends", function()
    local function forever() while true do rw.sleep(1):await() end end
    assert.matches("time_limit", failure_of(forever, { time_limit = 100 }).why)
    assert.matches("turn_limit", failure_of(forever, { turn_limit = 100 }).why)
    local function spin() while true do rw.sleep(0):await() end end
    assert.matches("time_limit", failure_of(spin, { time_limit = 1 }).why)
  end)

  it("when an error is logged, or a failure has no taker", function()
    assert.matches("oh dear", failure_of(function() rw.log.error "oh dear" end).why)
    assert.matches("unhandled", failure_of(function() rw.Deferred.fail(rw.Failure.new "lost") end).why)
    assert.matches("went wrong", failure_of(function()
      rw.call_later(1, function() error "went wrong" end)
      rw.sleep(2):await()
    end).why)
    simulate(1, function() rw.log.error "oh dear" end, { allow_errors = true })
  end)

  it("when the function leaves something behind", function()
    local function leave_timer() rw.call_later(100, print) end
    local function leave_connection(sim)
      sim:run_app "apps/echo.lua"
      rw.connect("tcp:127.0.0.1:7000", rw.Factory:for_protocol(rw.Protocol)):await()
    end
    local function leave_task() rw.spawn(function() rw.sleep(1000):await() end) end
    assert.matches("timer, made at spec/sim/simulate_spec.lua:%d+", failure_of(leave_timer).why)
    assert.matches("connection with 127.0.0.1:7000, made at spec/sim/simulate_spec.lua:%d+",
      failure_of(leave_connection).why)
    assert.matches("task, made at spec/sim/simulate_spec.lua:%d+", failure_of(leave_task).why)
    simulate(1, leave_timer, { allow_leaks = true })
    simulate(1, leave_connection, { allow_leaks = true })
  end)

  it("when an application does not run", function()
    local directory = e2e.directory()
    e2e.write(directory .. "/bad.lua", "error 'not today'")
    local failure = failure_of(function(sim) sim:run_app(directory .. "/bad.lua") end)
    assert.matches("not today", failure.why)
  end)
end)

describe("simulate refuses", function()
  it("misuse, at the caller's level", function()
    assert.error_matches(function() simulate(1, 2) end, "^simulate: a function")
    assert.error_matches(function() simulate(1, print, { fault = {} }) end, "no option \"fault\"")
    assert.error_matches(function() simulate(1, echo_once, { faults = { split = 2 } }) end, "split")
    assert.error_matches(function() simulate(1, echo_once, { faults = { delay = "x" } }) end, "delay")
    assert.error_matches(function() simulate(1, echo_once, { faults = { spilt = 0.1 } }) end, "spilt")
    assert.error_matches(function() simulate(1, echo_once, { time_limit = -1 }) end, "time_limit")
  end)

  it("… and by the module itself", function()
    local world = core.simulator()
    assert(world:call("load", function() end))
    assert(world:call "ready")
    world:freeze()
    world:start { seed = 1 }
    for _, seconds in ipairs { -1, 0 / 0, 1 / 0, 1e300, "soon", {} } do
      assert.is_false(pcall(world.step, world, seconds))
    end
    assert.equal("done", world:step(10))
    assert.is_true(#world:trace(math.maxinteger) <= 256)
    assert.same({}, world:trace(math.mininteger))
    assert.is_nil(world:call("load", coroutine.create(print)))
    world:close()
  end)

  it("a function that cannot be taken along", function()
    local thread = coroutine.create(print)
    local ok, failure = pcall(simulate, 1, function() return thread end)
    assert.is_false(ok)
    assert.matches("upvalue 'thread' is a coroutine", tostring(failure))
  end)

  it("nothing but ROPEWALK_SEED, when that is given", function()
    local directory = e2e.directory()
    e2e.write(directory .. "/seed_spec.lua", [[
      local rw = require "ropewalk"
      it("shows", function()
        local function fail(sim) error("it is " .. sim.seed) end
        print(select(2, pcall(rw.testing.simulate, 1, fail)))
        print(select(2, pcall(rw.testing.simulate_many, { fn = fail })))
      end)
    ]])
    local output = e2e.shell(("ROPEWALK_SEED=99 %s test %s/seed_spec.lua"):format(
      e2e.binary, directory))
    assert.matches("it is 99.*it is 99", output)
  end)

  it("files that are opened before the run, not those within", function()
    local directory = e2e.directory()
    e2e.write(directory .. "/held.lua", ("local f = io.open(%q) return function() f:read() end")
      :format("README.md"))
    e2e.write(directory .. "/read.lua", ("local f <close> = io.open(%q) return function() end")
      :format("README.md"))
    e2e.write(directory .. "/within.lua", ("return function() local f = io.open(%q) end")
      :format("README.md"))
    assert.error_matches(function() simulate(1, directory .. "/held.lua") end, "a file is open")
    simulate(1, directory .. "/read.lua")
    local function count() return select(2, e2e.shell("ls /proc/" .. PID .. "/fd"):gsub("\n", "")) end
    local before = count()
    simulate_many { count = 50, fn = directory .. "/within.lua" }
    assert.is_true(count() <= before + 1)
  end)

  it("a simulation in a simulation", function()
    assert.matches("not possible in a simulation", failure_of(function()
      rw.testing.simulate(1, function() end)
    end).why)
  end)

  it("what needs the system", function()
    simulate(1, function()
      local factory = rw.Factory:for_protocol(rw.Protocol)
      local ok, failure = pcall(function() rw.listen("stdio:", factory):await() end)
      assert(not ok and failure.code == "RW_ESIMULATED", tostring(failure))
    end, { allow_errors = true })
  end)

  it("nothing when two want one at a time", function()
    local a = rw.spawn(function() return simulate(1, echo_once) end)
    local b = rw.spawn(function() return simulate(1, echo_once) end)
    assert.same(a:await(), b:await())
  end)
end)
