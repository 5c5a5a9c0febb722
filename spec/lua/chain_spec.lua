-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"
local testing = require "ropewalk.testing"
local task = support.task

local function add(list, value)
  return function(result)
    list[#list + 1] = value or result
    return result
  end
end

describe("a chain of Deferreds", function()
  it("pauses while a returned one is pending", function()
    local inner, outer, seen = Deferred(), Deferred(), {}
    outer:add_callback(function() return inner end):add_callback(add(seen))
    outer:callback(1)
    assert.same({}, seen)
    outer:add_callback(add(seen, "late"))
    assert.same({}, seen)
    inner:callback "inner"
    assert.same({ "inner", "late" }, seen)
  end)

  it("takes the result of a returned one that has fired", function()
    local inner = Deferred.succeed(5)
    local outer = Deferred.succeed():add_callback(function() return inner end)
    assert.equal(5, testing.success_result_of(outer))
    assert.is_nil(testing.success_result_of(inner))
  end)

  it("gets the failure of the inner one, which counts as handled there", task(function()
    local logged <close> = log.capture()
    local inner = Deferred()
    local outer = Deferred.succeed():add_callback(function() return inner end)
    inner:errback "boom"
    assert.equal("boom", testing.failure_result_of(outer).message)
    support.turn()
    assert.equal(0, #logged)
  end))

  it("runs the callbacks of the outer one before the rest of the inner one", function()
    local inner, seen = Deferred(), {}
    Deferred.succeed():add_callback(function() return inner end):add_callback(add(seen, "outer"))
    inner:add_callback(function(result) seen[#seen + 1] = tostring(result) end)
    inner:callback "x"
    assert.same({ "outer", "nil" }, seen)
  end)

  it("fails when a callback returns the Deferred it runs for", function()
    local d = Deferred()
    d:add_callback(function() return d end)
    d:callback()
    assert.truthy(testing.failure_result_of(d).message:find "returned the Deferred")
  end)

  it("of 100,000 is flat: it needs no stack", function()
    local first = Deferred()
    local last = first
    for _ = 1, 100000 do
      local inner = last
      last = Deferred.succeed():add_callback(function() return inner end)
    end
    local got
    last:add_callback(function(x) got = x end)
    first:callback "through"
    assert.equal("through", got)
  end)

  it("of 100,000 callbacks which return fired Deferreds is flat", function()
    local d = Deferred()
    for _ = 1, 100000 do d:add_callback(function(n) return Deferred.succeed(n + 1) end) end
    d:callback(0)
    assert.equal(100000, testing.success_result_of(d))
  end)

  it("of 100,000 fails as well as it succeeds", function()
    local first = Deferred()
    local last = first
    for _ = 1, 100000 do
      local inner = last
      last = Deferred.succeed():add_callback(function() return inner end)
    end
    first:errback "bottom"
    assert.equal("bottom", testing.failure_result_of(last).message)
  end)

  it("chains one Deferred to another with chain_deferred", function()
    local a, b = Deferred(), Deferred()
    a:chain_deferred(b)
    a:callback(3)
    assert.equal(3, testing.success_result_of(b))
  end)

  it("of 100,000 by chain_deferred is flat, too", function()
    local first = Deferred()
    local last = first
    for _ = 1, 100000 do
      local d = Deferred()
      last:chain_deferred(d)
      last = d
    end
    first:callback "through"
    assert.equal("through", testing.success_result_of(last))
  end)

  it("fails when the one that it is chained to has fired already", function()
    local a, b = Deferred(), Deferred.succeed(1)
    a:chain_deferred(b)
    a:callback(2)
    testing.failure_result_of(a, "already_called")
    assert.equal(1, testing.success_result_of(b))
  end)

  it("comes back to the rest of each Deferred, the outer ones first", function()
    local seen, inner = {}, Deferred()
    local middle = Deferred.succeed():add_callback(function() return inner end)
    local outer = Deferred.succeed():add_callback(function() return middle end)
    outer:add_callback(add(seen, "outer"))
    middle:add_callback(add(seen, "middle"))
    inner:add_callback(add(seen, "inner"))
    inner:callback()
    assert.same({ "outer", "middle", "inner" }, seen)
  end)

  it("fires others from its callbacks, 60 deep", function()
    local deepest
    local function fire(depth)
      local d = Deferred()
      d:add_callback(function()
        if depth == 60 then deepest = depth else fire(depth + 1) end
      end)
      d:callback()
      return d
    end
    testing.success_result_of(fire(1))
    assert.equal(60, deepest)
  end)

  it("resolves with a value, a Failure or a Deferred", function()
    local a, b, c, inner = Deferred(), Deferred(), Deferred(), Deferred()
    a:resolve(1)
    b:resolve(Failure.new "no")
    c:resolve(inner)
    testing.assert_no_result(c)
    inner:callback(2)
    assert.equal(1, testing.success_result_of(a))
    assert.equal("no", testing.failure_result_of(b).code)
    assert.equal(2, testing.success_result_of(c))
  end)
end)
