-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local core = require "ropewalk.core"
local rw = require "ropewalk"
local Deferred = require "ropewalk.deferred"
local testing = require "ropewalk.testing"
local task = support.task

describe("an async function", function()
  it("minds no waiter that is none", function()
    for _, odd in ipairs { {}, { task = 1 }, { task = io.stderr }, { task = rw.Deferred() } } do
      local d = rw.Deferred()
      d:add_waiter(odd)
      d:callback(1)
      testing.failure_result_of(d, "error")
    end
  end)

  it("runs at once until it waits, and gives a Deferred of its result", task(function()
    local seen, gate = {}, Deferred()
    local fn = rw.async(function(a, b)
      seen[1] = "began"
      return a + b + gate:await()
    end)
    local d = fn(1, 2)
    assert.same({ "began" }, seen)
    testing.assert_no_result(d)
    gate:callback(10)
    assert.equal(13, d:await())
  end))

  it("gives a fired Deferred when it need not wait", task(function()
    assert.equal(1, testing.success_result_of(rw.async(function() return 1 end)()))
  end))

  it("fails with what it raises", task(function()
    local d = rw.async(function() error { code = "busy", message = "later" } end)()
    assert.equal("busy", testing.failure_result_of(d).code)
  end))

  it("follows a Deferred that it returns", task(function()
    local inner = Deferred()
    local d = rw.async(function() return inner end)()
    testing.assert_no_result(d)
    inner:callback "inner"
    assert.equal("inner", d:await())
  end))

  it("raises a failure at the await, where pcall can catch it", task(function()
    local ok, failure = pcall(function() Deferred.fail "boom":await() end)
    assert.is_false(ok)
    assert.equal("boom", failure.message)
    local late = Deferred()
    local d = rw.async(function()
      local fine, why = pcall(late.await, late)
      return fine, why
    end)()
    late:errback "late"
    assert.is_false(d:await())
  end))

  it("lets others run while it waits", task(function()
    local seen = {}
    local function worker(name, seconds)
      return rw.spawn(function()
        for i = 1, 2 do
          rw.sleep(seconds):await()
          seen[#seen + 1] = name .. i
        end
      end)
    end
    rw.gather { worker("a", 0.02), worker("b", 0.03) }:await()
    assert.same({ "a1", "b1", "a2", "b2" }, seen)
  end))

  it("says how to wait when it cannot", function()
    if core.task() then return end -- inside `ropewalk test` everything is in a task
    local ok, err = pcall(function() Deferred():await() end)
    assert.is_false(ok)
    assert.truthy(err:find "rw.async")
  end)

  it("waits for nothing where it cannot: another takes the result", task(function()
    local d, later = Deferred(), Deferred()
    local ended = rw.spawn(function()
      local ok, why = pcall(table.sort, { 2, 1 }, function() d:await() end)
      assert.is_false(ok)
      assert.matches("cannot wait here", tostring(why))
      return later:await()
    end)
    local got
    d:errback "nobody's"
    d:add_errback(function(failure) got = failure.message end)
    assert.equal("nobody's", got)
    rw.sleep(0.01):await()
    assert.is_false((ended:peek()))
    local lost = Deferred()
    pcall(table.sort, { 2, 1 }, function() lost:await() end)
    lost:errback "lost and found"
    rw.sleep(0.01):await()
    assert.equal(1, #testing.flush_logged_errors "lost and found")
    later:callback "yes"
    assert.equal("yes", ended:await())
  end))

  it("may be waited for by many, each gets the result", task(function()
    local gate = Deferred()
    local function waiter() return rw.spawn(function() return gate:await() end) end
    local all = rw.gather { waiter(), waiter(), waiter() }
    gate:callback "x"
    assert.same({ "x", "x", "x" }, all:await())
  end))

  it("passes other values through await", task(function()
    assert.equal(5, rw.await(5))
    assert.equal(6, rw.await(Deferred.succeed(6)))
  end))

  it("waits inside a coroutine of its own making", task(function()
    local co = coroutine.wrap(function()
      coroutine.yield(1)
      rw.sleep(0.01):await()
      coroutine.yield(2)
    end)
    assert.equal(1, co())
    assert.equal(2, co())
  end))
end)

describe("cancelling an async function", function()
  it("cancels what it waits for and raises at the await, so that it can clean up",
    task(function()
      local seen, asked = {}, false
      local inner = Deferred(function() asked = true end)
      local d = rw.async(function()
        local _ <close> = setmetatable({}, { __close = function() seen[#seen + 1] = "closed" end })
        inner:await()
        seen[#seen + 1] = "never"
      end)()
      d:cancel()
      assert.is_true(asked)
      local ok, failure = pcall(d.await, d)
      assert.is_false(ok)
      assert.equal("cancelled", failure.code)
      assert.same({ "closed" }, seen)
    end))

  it("lets it decide what becomes of it", task(function()
    local d = rw.async(function()
      pcall(function() Deferred():await() end)
      rw.sleep(0.01):await() -- cleaning up takes time
      return "cleaned up"
    end)()
    d:cancel()
    testing.assert_no_result(d)
    assert.equal("cleaned up", d:await())
  end))

  it("goes inward through several of them", task(function()
    local asked = false
    local innermost = Deferred(function() asked = true end)
    local inner = rw.async(function() innermost:await() end)
    local outer = rw.async(function() inner():await() end)
    local d = outer()
    d:cancel()
    assert.is_false(pcall(d.await, d))
    assert.is_true(asked)
  end))

  it("is what a time-out does", task(function()
    local d = rw.async(function() Deferred():await() end)():add_timeout(0.01)
    local ok, failure = pcall(d.await, d)
    assert.is_false(ok)
    assert.equal("timeout", failure.code)
  end))

  it("does nothing once it has ended", task(function()
    local d = rw.async(function() return 1 end)()
    d:cancel()
    assert.equal(1, d:await())
  end))

  it("frees the timer of a sleep", task(function()
    local d = rw.sleep(1000)
    d:cancel()
    testing.failure_result_of(d, "cancelled")
  end))
end)

describe("a traceback of an async function", function()
  it("shows who waits for it", task(function()
    local function inner() rw.sleep(0.01):await() error "deep" end
    local function middle() rw.async(inner)():await() end
    local function outer() rw.async(middle)():await() end
    local d = rw.async(outer)()
    pcall(d.await, d)
    local traceback = testing.failure_result_of(d).traceback
    local first = traceback:find("awaited by", 1, true)
    assert.truthy(first)
    assert.truthy(traceback:find("awaited by", first + 1, true))
    assert.truthy(traceback:find "async_spec.lua:%d+: in")
  end))
end)
