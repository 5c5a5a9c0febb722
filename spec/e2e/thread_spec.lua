-- SPDX-License-Identifier: MIT
-- Threads, seen from a script. The specs themselves run in a task of a server's
-- loop, so what they see is what a handler sees.
local rw = require "ropewalk"
local server = require "spec.support.server"

local function failure_of(d)
  local ok, failure = pcall(d.await, d)
  assert.is_false(ok)
  return failure
end

-- The code that a Deferred fails with, once `fn` has been called.
local function codes(fn, ...)
  local list = {}
  for i, d in ipairs { ... } do
    d:add_errback(function(failure) list[i] = failure.code end)
  end
  fn()
  return list
end

local function spin(seconds)
  local start = os.clock()
  repeat until os.clock() - start > seconds
end

describe("rw.defer_to_thread", function()
  it("runs a function in a thread and comes back with its result", function()
    local factor = 2
    local d = rw.defer_to_thread(function(n, t) return { n * factor, t.x, rw.thread.inside() } end,
      21, { x = "y" })
    assert.same({ 42, "y", true }, d:await())
    assert.is_false(rw.thread.inside())
  end)

  it("does not stop the loop meanwhile", function()
    local ticks, running = 0, true
    rw.spawn(function()
      while running do
        rw.sleep(0.01):await()
        ticks = ticks + 1
      end
    end)
    rw.defer_to_thread(spin, 0.3):await()
    running = false
    assert.is_true(ticks >= 10, ticks)
  end)

  it("does several at once", function()
    local pool = rw.ThreadPool { max = 4 }
    local list = {}
    for i = 1, 8 do list[i] = pool:defer(function(n) return n * n end, i) end
    assert.same({ 1, 4, 9, 16, 25, 36, 49, 64 }, rw.gather(list):await())
    assert.is_true(pool:stats().threads <= 4)
    pool:stop()
  end)

  it("brings errors back as failures, with the thread's traceback", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local function broken() error "oops" end
    local failure = failure_of(rw.defer_to_thread(broken))
    local place = "thread_spec.lua:" .. line
    assert.truthy(tostring(failure):find(place .. ": oops", 1, true))
    assert.truthy(failure.traceback:find(place .. ": in", 1, true))
    assert.equal("error", failure.code)

    failure = failure_of(rw.defer_to_thread(function()
      error(rw.Failure.new("not_found", "no such thing"))
    end))
    assert.equal("not_found", failure.code)
    assert.equal("no such thing", failure.message)
    assert.equal("error without a value", tostring(failure_of(rw.defer_to_thread(error))))
  end)

  it("refuses at the caller's line what cannot go", function()
    local router = require "ropewalk.core".router()
    local ok, why = pcall(rw.defer_to_thread, function() return router end)
    assert.is_false(ok)
    assert.truthy(why:find("defer_to_thread: the function cannot go to a thread: "
      .. "upvalue 'router' is a userdata", 1, true), why)
    ok, why = pcall(rw.defer_to_thread, "x")
    assert.is_false(ok)
    assert.truthy(why:find "a function is expected, not a string")
  end)

  it("says what is wrong with a result that cannot come back", function()
    local failure = failure_of(rw.defer_to_thread(function() return { f = io.tmpfile() } end))
    assert.truthy(failure.message:find("result of a thread's function field 'f' is a userdata", 1,
      true), failure.message)
  end)

  it("has the library's leaves, and says so for what needs the reactor", function()
    local out = rw.defer_to_thread(function()
      local text = require "ropewalk.core".json_encode { a = 1 }
      local function why(fn, ...) return tostring(select(2, pcall(fn, ...))) end
      return {
        text, why(rw.sleep, 1), why(rw.defer_to_thread, print), why(rw.spawn, print),
        why(rw.connect, "tcp:127.0.0.1:1", rw.Factory()), why(function() rw.reactor:stop() end),
        why(function() rw.Deferred():await() end), why(os.exit), rw.generation,
      }
    end):await()
    assert.equal('{"a":1}', out[1])
    for i = 2, 7 do assert.truthy(out[i]:find "not in a thread", out[i]) end
    assert.truthy(out[8]:find "os.exit would cut")
    assert.equal(rw.generation, out[9])
  end)

  it("says which module is missing", function()
    local failure = failure_of(rw.defer_to_thread(function() return require "no.such.module" end))
    assert.truthy(failure.message:find "module 'no.such.module' not found")
  end)
end)

describe("A call in a thread", function()
  local pool
  after_each(function() if pool then pool:stop() end end)

  it("is taken back by cancelling while it waits", function()
    pool = rw.ThreadPool { max = 1 }
    local path = os.tmpname()
    local first = pool:defer(spin, 0.1)
    local second = pool:defer(function() os.remove(path) end)
    assert.same({ "cancelled" }, codes(function() second:cancel() end, second))
    first:await()
    pool:defer(function() end):await()
    assert.is_true(os.remove(path))
  end)

  it("ends soon when it is cancelled, whatever it catches", function()
    pool = rw.ThreadPool { max = 1 }
    local d = pool:defer(function()
      while true do pcall(function() while true do string.rep("x", 10) end end) end
    end)
    rw.sleep(0.05):await()
    assert.same({ "cancelled" }, codes(function() d:cancel() end, d))
    assert.equal(7, pool:defer(function() return 7 end):add_timeout(20):await())
  end)

  it("is stopped after its time, in a coroutine, too", function()
    pool = rw.ThreadPool { max = 1, time = 100 }
    local function forever() while true do pcall(string.rep, "x", 10) end end
    local failure = failure_of(pool:defer(forever))
    assert.equal("timeout", failure.code)
    assert.truthy(failure.message:find("100 ms of processor time (limit thread_time)", 1, true))
    failure = failure_of(pool:defer(function() return coroutine.wrap(forever)() end))
    assert.equal("timeout", failure.code)
    failure = failure_of(pool:defer(function() return (("x"):gsub("x", forever)) end))
    assert.equal("timeout", failure.code)
  end)

  -- ThreadSanitizer keeps signals, the watchdog's too, until C is called
  if not server.binary:find "tsan/" then
    it("ends soon when it is cancelled in a loop that calls nothing", function()
      pool = rw.ThreadPool { max = 1 }
      local d = pool:defer(function() while true do end end)
      rw.sleep(0.05):await()
      assert.same({ "cancelled" }, codes(function() d:cancel() end, d))
      assert.equal(7, pool:defer(function() return 7 end):add_timeout(20):await())
    end)
  end

  it("is stopped when it takes too much memory; the next one is well", function()
    pool = rw.ThreadPool { max = 1, memory = 4 << 20 }
    local failure = failure_of(pool:defer(function()
      local t = {}
      while true do t[#t + 1] = ("x"):rep(1000) .. #t end
    end))
    assert.equal("memory", failure.code)
    assert.equal(1, pool:defer(function() return 1 end):await())
  end)

  it("is refused when the queue is full", function()
    pool = rw.ThreadPool { max = 1, queue = 2, name = "small" }
    local logged <close> = rw.log.capture()
    local list = {}
    for i = 1, 4 do list[i] = pool:defer(spin, 0.05) end
    local failure = failure_of(list[4])
    assert.equal("busy", failure.code)
    assert.truthy(failure.message:find("pool 'small' is full (limit thread_queue)", 1, true))
    assert.truthy(logged:find "queue of a pool of threads is full")
    for i = 1, 3 do list[i]:await() end
  end)

  it("can say how far it is", function()
    pool = rw.ThreadPool {}
    assert.has_error(function() pool:call({ on_mesage = print }, function() end) end)
    local seen = {}
    local result = pool:call({ on_message = function(v) seen[#seen + 1] = v end }, function(n)
      for i = 1, n do rw.thread.post { i } end
      return n
    end, 5):await()
    assert.equal(5, result)
    assert.same({ { 1 }, { 2 }, { 3 }, { 4 }, { 5 } }, seen)
    local ok, why = pcall(rw.thread.post, 1)
    assert.is_false(ok)
    assert.truthy(why:find "for functions that run in a thread")
  end)

  it("is told when the loop does not keep up with its messages", function()
    pool = rw.ThreadPool { queue = 10 }
    local seen = 0
    local d = pool:call({ on_message = function() seen = seen + 1 end }, function()
      local sent = 0
      while rw.thread.post(sent) do sent = sent + 1 end
      return sent
    end)
    spin(0.05)
    local sent = d:await()
    assert.is_true(sent >= 10)
    assert.equal(sent, seen)
  end)
end)

describe("A pool of threads", function()
  it("fails what was pending when it is stopped, and what comes later", function()
    local pool = rw.ThreadPool { max = 1 }
    local running, waiting = pool:defer(spin, 10), pool:defer(spin, 0)
    local stop = function() pool:stop() end
    assert.same({ "cancelled", "cancelled" }, codes(stop, running, waiting))
    assert.equal("stopped", failure_of(pool:defer(spin, 0)).code)
    assert.same({ threads = 0, idle = 0, queued = 0 }, pool:stats())
  end)

  it("has a bounded number of threads, together with the others", function()
    local ok, why = pcall(rw.ThreadPool, { max = 1000 })
    assert.is_false(ok)
    assert.truthy(why:find "limit threads")
    ok, why = pcall(rw.ThreadPool, { size = 3 })
    assert.is_false(ok)
    assert.truthy(why:find "there is no option 'size'")
  end)

  it("ends unnoticed when nobody has it any more", function()
    for _ = 1, 30 do
      local pool = rw.ThreadPool { max = 2 }
      assert.equal(1, pool:defer(function() return 1 end):await())
      pool:stop()
    end
    for _ = 1, 3 do rw.ThreadPool { max = 2 }:defer(function() end):await() end
    collectgarbage()
  end)
end)
