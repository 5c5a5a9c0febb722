-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local Deferred = require "ropewalk.deferred"
local log = require "ropewalk.log"
local testing = require "ropewalk.testing"
local task = support.task

describe("gather", function()
  it("waits for all and keeps the keys", function()
    local a, b = Deferred(), Deferred()
    local d = Deferred.gather { a, b, 3 }
    b:callback "b"
    testing.assert_no_result(d)
    a:callback "a"
    assert.same({ "a", "b", 3 }, testing.success_result_of(d))
    d = Deferred.gather { x = Deferred.succeed(1), y = 2 }
    assert.same({ x = 1, y = 2 }, testing.success_result_of(d))
  end)

  it("is ready at once when there is nothing to wait for", function()
    assert.same({}, testing.success_result_of(Deferred.gather {}))
  end)

  it("fails at the first failure, names it, and does not cancel the rest", function()
    local cancelled = false
    local a, b = Deferred(), Deferred(function() cancelled = true end)
    local d = Deferred.gather { a, b }
    a:errback "boom"
    local failure = testing.failure_result_of(d, "first_error")
    assert.equal(1, failure.index)
    assert.equal("boom", failure.cause.message)
    assert.is_false(cancelled)
    b:callback()
  end)

  it("reports later errors, unless they are consumed", task(function()
    local logged <close> = log.capture()
    local a, b, c = Deferred(), Deferred(), Deferred()
    local d = Deferred.gather { a, b }
    a:errback "first"
    b:errback "second"
    testing.failure_result_of(d, "first_error")
    local e = Deferred.gather({ Deferred.fail "x", c }, { consume_errors = true })
    c:errback "y"
    testing.failure_result_of(e, "first_error")
    support.turn()
    assert.equal(1, #logged)
    assert.truthy(logged[1].message:find "second")
  end))

  it("cancels all when it is cancelled", function()
    local a, b = Deferred(), Deferred()
    local d = Deferred.gather({ a, b }, { consume_errors = true })
    d:cancel()
    local failure = testing.failure_result_of(d)
    assert.equal("cancelled", failure.cause.code)
    assert.is_true(a:called() and b:called())
  end)

  it("refuses what is no table", function()
    assert.has_error(function() Deferred.gather() end)
    assert.has_error(function() Deferred.gather(Deferred()) end)
  end)
end)

describe("a list", function()
  it("has a pair for each and does not fail", function()
    local d = Deferred.list({ Deferred.succeed(1), Deferred.fail "x" }, { consume_errors = true })
    local result = testing.success_result_of(d)
    assert.same({ true, 1 }, result[1])
    assert.is_false(result[2][1])
    assert.equal("x", result[2][2].message)
  end)

  it("may fire at the first callback, or fail at the first errback", function()
    local a, b = Deferred(), Deferred()
    local d = Deferred.list({ a, b }, { fire_on_one_callback = true })
    b:callback "b"
    assert.same({ "b", 2 }, testing.success_result_of(d))
    a:callback()
    local e = Deferred.list({ Deferred(), Deferred.fail "x" },
      { fire_on_one_errback = true, consume_errors = true })
    assert.equal(2, testing.failure_result_of(e, "first_error").index)
  end)
end)

describe("a race", function()
  it("is won by the first success, and cancels the losers", function()
    local a, b, c = Deferred(), Deferred(), Deferred()
    local d = Deferred.race { a, b, c }
    a:errback "slow"
    testing.assert_no_result(d)
    b:callback "fast"
    assert.equal("fast", testing.success_result_of(d))
    assert.equal(2, d:winner())
    assert.is_true(c:called())
  end)

  it("leaves no failure of a loser unhandled", task(function()
    local logged <close> = log.capture()
    Deferred.race { Deferred.succeed(1), Deferred(), Deferred.fail "x" }
    support.turn()
    assert.equal(0, #logged)
  end))

  it("fails with all failures when all fail", function()
    local d = Deferred.race { Deferred.fail "x", Deferred.fail "y" }
    local failure = testing.failure_result_of(d, "all_failed")
    assert.equal("x", failure.failures[1].message)
    assert.equal("y", failure.failures[2].message)
  end)

  it("cancels all when it is cancelled", function()
    local a = Deferred()
    local d = Deferred.race { a }
    d:cancel()
    assert.is_true(a:called())
    testing.failure_result_of(d)
  end)
end)
