-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local task = support.task

describe("a DeferredLock", function()
  it("is given in order", task(function()
    local lock = rw.DeferredLock()
    local a, b, c = lock:acquire(), lock:acquire(), lock:acquire()
    assert.equal(lock, testing.success_result_of(a))
    testing.assert_no_result(b)
    lock:release()
    testing.success_result_of(b)
    testing.assert_no_result(c)
    lock:release()
    testing.success_result_of(c)
    lock:release()
    assert.is_false(lock:is_locked())
  end))

  it("may be given up while waiting", task(function()
    local lock = rw.DeferredLock()
    lock:acquire()
    local b, c = lock:acquire(), lock:acquire()
    b:cancel()
    testing.failure_result_of(b, "cancelled")
    lock:release()
    testing.success_result_of(c)
  end))

  it("is held while a function runs, whatever becomes of it", task(function()
    local lock, seen = rw.DeferredLock(), {}
    local function work(name, fails)
      return lock:run(function()
        seen[#seen + 1] = name .. " begins"
        rw.sleep(0.01):await()
        seen[#seen + 1] = name .. " ends"
        if fails then error "boom" end
        return name
      end)
    end
    local a, b = work("a", true), work "b"
    a:add_errback(function(failure) seen.failure = tostring(failure) end)
    assert.equal("b", b:await())
    assert.matches("boom", seen.failure)
    seen.failure = nil
    assert.same({ "a begins", "a ends", "b begins", "b ends" }, seen)
    assert.is_false(lock:is_locked())
  end))

  it("is given up when who gets it is cancelled in that moment", task(function()
    local lock, ran = rw.DeferredLock(), false
    lock:acquire()
    local d = lock:run(function()
      rw.sleep(0.01):await()
      ran = true
    end)
    lock:release()
    d:cancel()
    assert.matches("cancelled", tostring(select(2, pcall(d.await, d))))
    assert.same({ false, false }, { ran, lock:is_locked() })
  end))

  it("refuses to be released when it is free", function()
    assert.has_error(function() rw.DeferredLock():release() end)
  end)
end)

describe("a DeferredSemaphore", function()
  it("lets so many in", task(function()
    local few = rw.DeferredSemaphore(2)
    local inside, most = 0, 0
    local all = {}
    for i = 1, 6 do
      all[i] = few:run(function()
        inside = inside + 1
        most = math.max(most, inside)
        rw.sleep(0.01):await()
        inside = inside - 1
      end)
    end
    rw.gather(all):await()
    assert.equal(2, most)
    assert.equal(2, few.tokens)
  end))

  it("lets the next one in while a callback of one before waits", task(function()
    local few, gate, order = rw.DeferredSemaphore(2), rw.Deferred(), {}
    few:acquire()
    few:acquire()
    few:acquire():add_callback(function() gate:await() order[#order + 1] = "first" end)
    few:acquire():add_callback(function() order[#order + 1] = "second" end)
    local releases = { rw.spawn(few.release, few), rw.spawn(few.release, few) }
    assert.same({ "second" }, order)
    gate:callback()
    rw.gather(releases):await()
    assert.same({ "second", "first" }, order)
    few:release()
    few:release()
    assert.equal(2, few.tokens)
  end))

  it("refuses nonsense", function()
    for _, n in ipairs { 0, -1, 1.5, "x" } do
      assert.has_error(function() rw.DeferredSemaphore(n) end)
    end
  end)
end)

describe("a DeferredQueue", function()
  it("gives what was put, in order", function()
    local q = rw.DeferredQueue()
    q:put(1)
    q:put(2)
    assert.equal(2, #q)
    assert.equal(1, testing.success_result_of(q:get()))
    assert.equal(2, testing.success_result_of(q:get()))
    assert.equal(0, #q)
  end)

  it("refuses options that it does not know", function()
    assert.has_error(function() rw.DeferredQueue { sise = 1 } end)
    assert.has_error(function() rw.DeferredQueue { size = "1" } end)
    assert.has_error(function() rw.DeferredQueue { backlog = 0 / 0 } end)
  end)

  it("gives to who waits longest", function()
    local q = rw.DeferredQueue()
    local a, b = q:get(), q:get()
    q:put "x"
    assert.equal("x", testing.success_result_of(a))
    testing.assert_no_result(b)
    q:put(false)
    assert.equal(false, testing.success_result_of(b))
  end)

  it("has a size and a backlog", function()
    local q = rw.DeferredQueue { size = 1, backlog = 1 }
    q:put(1)
    local ok, failure = pcall(q.put, q, 2)
    assert.is_false(ok)
    assert.equal("queue_overflow", failure.code)
    q:get()
    local waiting = q:get()
    ok, failure = pcall(q.get, q)
    assert.is_false(ok)
    assert.equal("queue_underflow", failure.code)
    waiting:cancel()
    testing.failure_result_of(waiting, "cancelled")
    q:get()
  end)
end)
