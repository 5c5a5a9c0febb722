-- SPDX-License-Identifier: MIT
-- What user code depends on, one sentence a test: time. Each holds for the
-- reactor and for the fake clock.
local rw = require "ropewalk"
local testing = rw.testing

-- The clocks, with a way to let so many seconds pass.
local fake
local CLOCKS <const> = {
  reactor = { rw.reactor, function(seconds) rw.sleep(seconds):await() end },
  ["fake clock"] = { nil, function(seconds)
    fake:advance(seconds)
    fake:advance(0)
  end },
}

for name, pair in pairs(CLOCKS) do
  describe("A delayed call of the " .. name, function()
    local clock, pass
    before_each(function()
      fake = testing.Clock()
      clock, pass = pair[1] or fake, pair[2]
    end)

    it("with 0 seconds never runs in the current call", function()
      local ran = false
      clock:call_later(0, function() ran = true end)
      assert.is_false(ran)
      pass(0.01)
      assert.is_true(ran)
    end)

    it("runs in the order of time, among those that are due in one turn", function()
      local seen = {}
      for _, seconds in ipairs { 0.003, 0.001, 0.002, 0.001 } do
        clock:call_later(seconds, function() seen[#seen + 1] = seconds end)
      end
      local till = os.clock() + 0.006
      repeat until os.clock() > till -- all are due when the turn ends
      pass(0.01)
      assert.same({ 0.001, 0.001, 0.002, 0.003 }, seen)
    end)

    it("that is added during a turn waits for the next", function()
      local seen = {}
      local function note(text) seen[#seen + 1] = text end
      clock:call_later(0.001, function()
        note "first"
        clock:call_later(0, note, "added")
      end)
      clock:call_later(0.001, note, "second")
      pass(0.01)
      assert.same({ "first", "second", "added" }, seen)
    end)
  end)
end

describe("A LoopingCall", function()
  it("never overlaps itself, and is back on its first beat", function()
    local clock, times, gate = testing.Clock(), {}, nil
    local loop = rw.LoopingCall(function()
      times[#times + 1] = clock:seconds()
      gate = rw.Deferred()
      return gate
    end)
    loop.clock = clock
    loop:start(1)
    clock:pump { 1, 1, 0.5 }
    assert.same({ 0 }, times)
    gate:callback()
    clock:advance(0.4)
    assert.same({ 0 }, times)
    clock:advance(0.1)
    assert.same({ 0, 3 }, times)
  end)

  it("stops at its first failure, which fails the Deferred from start", function()
    local count = 0
    local loop = rw.LoopingCall(function()
      count = count + 1
      if count == 3 then return rw.fail "third" end
    end)
    local d = loop:start(0.001)
    local ok, failure = pcall(d.await, d)
    assert.is_false(ok)
    assert.equal("third", failure.message)
    assert.is_false(loop.running)
    rw.sleep(0.01):await()
    assert.equal(3, count)
  end)
end)
