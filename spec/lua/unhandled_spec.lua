-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"
local testing = require "ropewalk.testing"
local task = support.task

describe("a failure that nobody handles", function()
  it("is logged at the end of the turn, with where it began and where it failed",
    task(function()
      local logged <close> = log.capture()
      local d = Deferred()
      d:add_callback(function() error "boom" end)
      d:callback()
      assert.equal(0, #logged)
      support.turn()
      assert.equal(1, #logged)
      assert.truthy(logged[1].message:find "unhandled failure: .*boom")
      assert.truthy(logged[1].fields.began:find "unhandled_spec.lua:%d+")
      assert.truthy(logged[1].fields.failed:find "unhandled_spec.lua:%d+")
      assert.truthy(logged[1].fields.traceback:find "boom" or logged[1].fields.traceback)
    end))

  it("is not logged when it is handled within the turn", task(function()
    local logged <close> = log.capture()
    local d = Deferred.fail "x"
    d:add_errback(function() end)
    support.turn()
    assert.equal(0, #logged)
  end))

  it("is logged though the text of another one cannot be had", task(function()
    local logged <close> = log.capture()
    Deferred.fail(Failure.new("first", setmetatable({}, { __tostring = function() error "no text" end })))
    Deferred.fail(Failure.new("second", { "a table" }))
    Deferred.fail "third"
    support.turn()
    assert.truthy(logged:find "unhandled failure: table: ")
    assert.truthy(logged:find "unhandled failure: third")
    local texts = table.concat(rw.testing.flush_logged_errors(), "\n")
    assert.matches("an unhandled failure cannot be told: .*no text", texts)
  end))

  it("is logged once", task(function()
    local logged <close> = log.capture()
    local d = Deferred.fail "x"
    support.turn()
    d:add_callback(function() end)
    support.turn()
    assert.equal(1, #logged)
  end))

  it("is reported of so many a turn, and forgotten when it is handled in a long turn", function()
    collectgarbage()
    local before = collectgarbage "count"
    for _ = 1, 20000 do rw.fail("handled"):add_errback(function() end) end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 2000)
    local logged <close> = log.capture()
    for _ = 1, 250 do rw.fail "not handled" end
    for _ = 1, 4 do support.turn() end
    assert.equal(250, #logged)
  end)

  it("is logged in the order of failing", task(function()
    local logged <close> = log.capture()
    for i = 1, 20 do Deferred.fail("number " .. i) end
    support.turn()
    assert.equal(20, #logged)
    for i = 1, 20 do assert.truthy(logged[i].message:find("number " .. i .. "$")) end
  end))
end)

describe("making Deferreds", function()
  it("maybe: from whatever a function does", function()
    assert.equal(1, testing.success_result_of(Deferred.maybe(function() return 1 end)))
    local d = Deferred()
    assert.equal(d, Deferred.maybe(function() return d end))
    assert.equal("no", testing.failure_result_of(
      Deferred.maybe(function() return Failure.new "no" end)).code)
    assert.truthy(testing.failure_result_of(
      Deferred.maybe(function() error "boom" end)).message:find "boom")
    assert.equal(3, testing.success_result_of(Deferred.maybe(function(a, b) return a + b end, 1, 2)))
  end)

  it("shows its state", function()
    local d = Deferred()
    assert.equal("Deferred (pending)", tostring(d))
    d:callback()
    assert.equal("Deferred (fired)", tostring(d))
  end)

  it("records where it was made, in debug mode", task(function()
    local logged <close> = log.capture()
    Deferred.set_debugging(true)
    Deferred.fail "x"
    Deferred.set_debugging(false)
    support.turn()
    assert.truthy(logged[1].fields.created:find "unhandled_spec")
  end))
end)
