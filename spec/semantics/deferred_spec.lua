-- SPDX-License-Identifier: MIT
-- What user code depends on, one sentence a test: Deferreds.
local rw = require "ropewalk"
local testing = rw.testing

describe("Deferred callbacks", function()
  it("run synchronously at callback(), or at add_callback() on a fired one; "
    .. "re-entrant adds are queued, not nested", function()
    local seen = {}
    local function note(text) return function() seen[#seen + 1] = text end end
    local d = rw.Deferred()
    d:add_callback(function()
      d:add_callback(note "added within")
      seen[#seen + 1] = "first"
    end)
    d:add_callback(note "second")
    d:callback()
    seen[#seen + 1] = "after callback()"
    d:add_callback(note "late")
    seen[#seen + 1] = "after add_callback()"
    assert.same({ "first", "second", "added within", "after callback()", "late",
      "after add_callback()" }, seen)
  end)
end)

describe("A chain", function()
  it("pauses while a returned Deferred is pending; that one's failure arrives as this chain's "
    .. "failure and counts as handled there", function()
    local inner, seen = rw.Deferred(), {}
    local outer = rw.succeed(1):add_callback(function() return inner end)
    outer:add_callback(function() seen[#seen + 1] = "callback" end)
    outer:add_errback(function(failure) seen[#seen + 1] = failure.message end)
    assert.same({}, seen)
    inner:errback "boom"
    assert.same({ "boom" }, seen)
    rw.sleep(0):await()
    assert.same({}, testing.flush_logged_errors())
  end)
end)

describe("cancel()", function()
  it("before firing calls the canceller once, then fails with cancelled unless it fired something "
    .. "itself; while waiting it goes to the inner one; after firing it does nothing", function()
    local asked = 0
    local function canceller() asked = asked + 1 end
    local d = rw.Deferred(canceller)
    d:cancel()
    d:cancel()
    testing.failure_result_of(d, "cancelled")
    assert.equal(1, asked)

    local own = rw.Deferred(function(self) self:callback "own" end)
    own:cancel()
    assert.equal("own", testing.success_result_of(own))

    local inner = rw.Deferred(canceller)
    local outer = rw.succeed():add_callback(function() return inner end)
    outer:cancel()
    assert.equal(2, asked)
    testing.failure_result_of(outer, "cancelled")

    local fired = rw.succeed "kept"
    fired:cancel()
    assert.equal("kept", testing.success_result_of(fired))
  end)
end)

describe("gather", function()
  it("fails at the first failure, as first_error with the index, without cancelling the rest; "
    .. "later errors of others are reported unless they are consumed", function()
    local cancelled = false
    local a, b, c = rw.Deferred(), rw.Deferred(), rw.Deferred(function() cancelled = true end)
    local d = rw.gather { a, b, c }
    b:errback "first"
    local failure = testing.failure_result_of(d, "first_error")
    assert.equal(2, failure.index)
    assert.equal("first", failure.cause.message)
    assert.is_false(cancelled)
    a:errback "later"
    c:callback()
    rw.sleep(0):await()
    assert.equal(1, #testing.flush_logged_errors "unhandled failure: later")

    local e, f = rw.Deferred(), rw.Deferred()
    d = rw.gather({ e, f }, { consume_errors = true })
    e:errback "first"
    f:errback "later"
    testing.failure_result_of(d, "first_error")
    rw.sleep(0):await()
    assert.same({}, testing.flush_logged_errors())
  end)
end)

describe("A function of rw.async", function()
  it("that is cancelled cancels the Deferred that it awaits, and the error is raised at the await, "
    .. "so that <close> variables are closed", function()
    local seen = {}
    local d = rw.spawn(function()
      local _ <close> = setmetatable({}, { __close = function() seen[#seen + 1] = "closed" end })
      rw.Deferred(function() seen[#seen + 1] = "cancelled" end):await()
      seen[#seen + 1] = "never"
    end)
    d:cancel()
    local ok, failure = pcall(d.await, d)
    assert.is_false(ok)
    assert.equal("cancelled", failure.code)
    assert.same({ "cancelled", "closed" }, seen)
  end)
end)
