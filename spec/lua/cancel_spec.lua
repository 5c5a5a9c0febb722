-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local Deferred = require "ropewalk.deferred"
local testing = require "ropewalk.testing"
local task = support.task

describe("cancelling a Deferred", function()
  it("calls the canceller once, then fails with cancelled", function()
    local calls = 0
    local d = Deferred(function() calls = calls + 1 end)
    d:cancel()
    d:cancel()
    assert.equal(1, calls)
    assert.equal("cancelled", testing.failure_result_of(d).code)
  end)

  it("leaves it to a canceller that fires something itself", function()
    local d = Deferred(function(d) d:callback "own" end)
    d:cancel()
    assert.equal("own", testing.success_result_of(d))
    local e = Deferred(function(e) e:errback "own" end)
    e:cancel()
    assert.equal("own", testing.failure_result_of(e).message)
  end)

  it("fails with the error of a canceller that raises", function()
    local d = Deferred(function() error "broken" end)
    d:cancel()
    assert.truthy(testing.failure_result_of(d).message:find "broken")
  end)

  it("swallows one late result, when there was no canceller", function()
    local d = Deferred()
    d:cancel()
    testing.failure_result_of(d, "cancelled")
    d:callback "late"
    assert.is_false(pcall(d.callback, d, "later"))
  end)

  it("swallows nothing when there was a canceller", function()
    local d = Deferred(function() end)
    d:cancel()
    testing.failure_result_of(d, "cancelled")
    assert.is_false(pcall(d.callback, d, "late"))
  end)

  it("goes to the inner one while waiting", function()
    local asked = false
    local inner = Deferred(function() asked = true end)
    local outer = Deferred.succeed():add_callback(function() return inner end)
    outer:cancel()
    assert.is_true(asked)
    testing.failure_result_of(outer, "cancelled")
  end)

  it("does nothing after it has fired", function()
    local d = Deferred.succeed(1)
    d:cancel()
    assert.equal(1, testing.success_result_of(d))
  end)
end)

describe("a time-out", function()
  it("cancels and fails with timeout", function()
    local clock = testing.Clock()
    local asked = false
    local d = Deferred(function() asked = true end):add_timeout(5, nil, clock)
    clock:advance(4.9)
    testing.assert_no_result(d)
    clock:advance(0.2)
    assert.is_true(asked)
    testing.failure_result_of(d, "timeout")
  end)

  it("is off once the Deferred has fired", function()
    local clock = testing.Clock()
    local d = Deferred()
    d:add_timeout(5, nil, clock)
    d:callback(1)
    assert.equal(0, #clock:pending())
    clock:advance(10)
    assert.equal(1, testing.success_result_of(d))
  end)

  it("passes on failures that are no time-out", function()
    local clock = testing.Clock()
    local d = Deferred():add_timeout(5, nil, clock)
    d:errback "other"
    assert.equal("other", testing.failure_result_of(d).message)
    assert.equal(0, #clock:pending())
  end)

  it("may make the result itself", function()
    local clock = testing.Clock()
    local d = Deferred():add_timeout(5, function(_, seconds) return "after " .. seconds end, clock)
    clock:advance(5)
    assert.equal("after 5", testing.success_result_of(d))
  end)

  it("covers only the callbacks added before it", function()
    local clock = testing.Clock()
    local slow = Deferred()
    local d = Deferred():add_timeout(5, nil, clock)
    d:add_callback(function() return slow end)
    d:callback()
    clock:advance(10)
    testing.assert_no_result(d)
    slow:callback "slow"
    assert.equal("slow", testing.success_result_of(d))
  end)

  it("uses the reactor's clock by itself", task(function()
    local ok, failure = pcall(function() Deferred():add_timeout(0.01):await() end)
    assert.is_false(ok)
    assert.equal("timeout", failure.code)
  end))
end)
