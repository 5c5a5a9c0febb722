-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local task = support.task

describe("call_later", function()
  it("never runs in the current call, not with 0 seconds either", task(function()
    local seen = {}
    rw.call_later(0, function(x) seen[#seen + 1] = x end, "later")
    seen[#seen + 1] = "now"
    rw.sleep(0.01):await()
    assert.same({ "now", "later" }, seen)
  end))

  it("passes a great many arguments on, and refuses more", task(function()
    local many, got = {}, rw.Deferred()
    for i = 1, 65000 do many[i] = i end
    rw.call_later(0, function(...) got:callback { ... } end, table.unpack(many))
    assert.equal(65000, (got:await())[65000])
    for i = 65001, 70000 do many[i] = i end
    local ok, message = pcall(rw.call_later, 0, function() end, table.unpack(many))
    assert.is_false(ok)
    assert.truthy(message:find("too many arguments", 1, true), message)
  end))

  it("runs what is due in order of time", task(function()
    local seen = {}
    for _, seconds in ipairs { 0.03, 0.01, 0.02 } do
      rw.call_later(seconds, function() seen[#seen + 1] = seconds end)
    end
    rw.sleep(0.05):await()
    assert.same({ 0.01, 0.02, 0.03 }, seen)
  end))

  it("can be cancelled once", task(function()
    local ran = false
    local call = rw.call_later(0.01, function() ran = true end)
    assert.is_true(call:active())
    call:cancel()
    assert.is_false(call:active())
    local ok, failure = pcall(call.cancel, call)
    assert.is_false(ok)
    assert.equal("already_cancelled", failure.code)
    rw.sleep(0.02):await()
    assert.is_false(ran)
  end))

  it("cannot be cancelled after it was made", task(function()
    local call = rw.call_later(0, function() end)
    rw.sleep(0.01):await()
    local ok, failure = pcall(call.cancel, call)
    assert.is_false(ok)
    assert.equal("already_called", failure.code)
    assert.is_false(pcall(call.reset, call, 1))
    assert.is_false(pcall(call.delay, call, 1))
  end))

  it("can be reset and delayed", task(function()
    local seen = {}
    local a = rw.call_later(0.01, function() seen[#seen + 1] = "a" end)
    local b = rw.call_later(0.5, function() seen[#seen + 1] = "b" end)
    a:delay(0.05)
    b:reset(0.02)
    local time = a:get_time()
    assert.is_true(time > rw.reactor:seconds())
    rw.sleep(0.04):await()
    assert.same({ "b" }, seen)
    rw.sleep(0.04):await()
    assert.same({ "b", "a" }, seen)
  end))

  it("may wait, as any task", task(function()
    local done = rw.Deferred()
    rw.call_later(0, function()
      rw.sleep(0.01):await()
      done:callback "waited"
    end)
    assert.equal("waited", done:await())
  end))

  it("refuses nonsense", task(function()
    for _, seconds in ipairs { -1, 0 / 0, "x" } do
      assert.has_error(function() rw.call_later(seconds, print) end)
    end
    assert.has_error(function() rw.call_later(1) end)
  end))
end)
