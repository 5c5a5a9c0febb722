-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local task = support.task

local function looping(fn)
  local clock = testing.Clock()
  local loop = rw.LoopingCall(fn)
  loop.clock = clock
  return loop, clock
end

describe("a LoopingCall", function()
  it("calls now, then at each beat", task(function()
    local times = {}
    local loop, clock
    loop, clock = looping(function() times[#times + 1] = clock:seconds() end)
    loop:start(1)
    clock:pump { 0.5, 0.5, 1, 1 }
    assert.same({ 0, 1, 2, 3 }, times)
    loop:stop()
    clock:advance(5)
    assert.equal(4, #times)
  end))

  it("may leave out the first call", task(function()
    local count = 0
    local loop, clock = looping(function() count = count + 1 end)
    loop:start(1, false)
    assert.equal(0, count)
    clock:advance(1)
    assert.equal(1, count)
  end))

  it("never overlaps itself and stays on its first beat", task(function()
    local times, gate = {}, nil
    local loop, clock
    loop, clock = looping(function()
      times[#times + 1] = clock:seconds()
      gate = rw.Deferred()
      return gate
    end)
    loop:start(1)
    clock:advance(2.5)
    assert.same({ 0 }, times)
    gate:callback()
    clock:advance(0.5)
    assert.same({ 0, 3 }, times)
    gate:callback()
    clock:advance(1)
    assert.same({ 0, 3, 4 }, times)
  end))

  it("does not drift with an interval that binary numbers cannot hold", task(function()
    local count = 0
    local loop, clock = looping(function() count = count + 1 end)
    loop:start(0.1)
    for step = 1, 3001 do
      clock:advance(0.1 / 3)
      if step % 50 == 0 then rw.sleep(0):await() end -- no slice of the task runs out in the loop's function
    end
    assert.equal(1001, count)
  end))

  it("ends with the first failure, which fails its Deferred", task(function()
    local loop, clock = looping(function() error "boom" end)
    local d = loop:start(1)
    assert.truthy(testing.failure_result_of(d).message:find "boom")
    assert.is_false(loop.running)
    clock:advance(2)
  end))

  it("gives itself when it is stopped", task(function()
    local loop = looping(function() end)
    local d = loop:start(1)
    loop:stop()
    assert.equal(loop, testing.success_result_of(d))
    assert.has_error(function() loop:stop() end)
  end))

  it("finishes a call under way before it is stopped", task(function()
    local gate = rw.Deferred()
    local loop = looping(function() return gate end)
    local d = loop:start(1)
    loop:stop()
    testing.assert_no_result(d)
    gate:callback()
    assert.equal(loop, testing.success_result_of(d))
  end))

  it("that is started anew waits for the call under way", task(function()
    local gates, live, most = {}, 0, 0
    local loop, clock = looping(function()
      live = live + 1
      most = math.max(most, live)
      gates[#gates + 1] = rw.Deferred()
      return gates[#gates]:add_callback(function() live = live - 1 end)
    end)
    local ended = { loop:start(1) }
    for i = 2, 4 do
      loop:stop()
      ended[i] = loop:start(1)
    end
    clock:advance(3)
    assert.same({ 1, 1 }, { #gates, most })
    ended[1]:cancel() -- of one that is over
    testing.failure_result_of(ended[1], "cancelled")
    gates[1]:callback()
    for i = 2, 3 do assert.equal(loop, testing.success_result_of(ended[i])) end
    testing.assert_no_result(ended[4])
    assert.same({ 2, 1 }, { #gates, most })
    loop:stop()
    gates[2]:errback("it broke")
    testing.failure_result_of(ended[4], "error")
    clock:advance(3)
    assert.same({ 2, 1, false }, { #gates, most, loop.running })
  end))

  it("may be stopped and started anew by its function", task(function()
    local calls, second = 0, nil
    local loop, clock
    loop, clock = looping(function()
      calls = calls + 1
      if calls ~= 2 then return end
      loop:stop()
      second = loop:start(2)
    end)
    local first = loop:start(1)
    clock:pump { 1, 1 }
    assert.equal(loop, testing.success_result_of(first))
    assert.equal(3, calls) -- at 0, 1 and 1
    clock:advance(1)
    assert.equal(4, calls)
    loop:stop()
    assert.equal(loop, testing.success_result_of(second))
  end))

  it("counts the beats that were skipped", task(function()
    local counts = {}
    local clock = testing.Clock()
    local loop = rw.LoopingCall.with_count(function(n) counts[#counts + 1] = n end)
    loop.clock = clock
    loop:start(1)
    clock:advance(1)
    clock:advance(3)
    clock:advance(1)
    assert.same({ 1, 1, 3, 1 }, counts)
  end))

  it("can be reset", task(function()
    local times = {}
    local loop, clock
    loop, clock = looping(function() times[#times + 1] = clock:seconds() end)
    loop:start(2)
    clock:advance(1)
    loop:reset()
    clock:advance(1.5)
    assert.same({ 0 }, times)
    clock:advance(0.5)
    assert.same({ 0, 3 }, times)
  end))

  it("with interval 0 goes on as fast as it can", task(function()
    local count = 0
    local loop
    loop = rw.LoopingCall(function()
      count = count + 1
      if count == 10 then loop:stop() end
    end)
    loop:start(0):await()
    assert.equal(10, count)
  end))
end)

describe("a TimerService", function()
  it("calls while it runs and waits for the last call when it stops", task(function()
    local clock, gate, count = testing.Clock(), rw.Deferred(), 0
    local service = rw.TimerService(1, function()
      count = count + 1
      if count == 2 then return gate end
    end)
    service.loop.clock = clock
    service:start_service()
    clock:advance(1)
    assert.equal(2, count)
    local stopped = service:stop_service()
    testing.assert_no_result(stopped)
    gate:callback()
    testing.success_result_of(stopped)
    clock:advance(10)
    assert.equal(2, count)
  end))
end)

describe("cooperate", function()
  it("can be stopped while it waits", task(function()
    local never = rw.Deferred()
    local t = rw.cooperate(function() return never end)
    support.turn()
    support.turn()
    local d = t:when_done()
    t:stop()
    local ok, failure = pcall(d.await, d:add_timeout(1))
    assert.same({ false, "stopped" }, { ok, failure.code })
    testing.assert_no_result(never)
    never:errback "too late"
    testing.failure_result_of(never)
    t = rw.cooperate(function() return rw.fail "it broke" end)
    assert.matches("it broke", tostring(select(2, pcall(function() t:when_done():await() end))))
  end))

  it("takes an iterator", function() assert.has_error(function() rw.cooperate(5) end) end)

  it("works through an iterator and tells the end", task(function()
    local sum = 0
    local function numbers(n)
      local i = 0
      return function()
        i = i + 1
        if i <= n then
          sum = sum + i
          return i
        end
      end
    end
    local t = rw.cooperate(numbers(100))
    t:when_done():await()
    assert.equal(5050, sum)
  end))

  it("can be paused, resumed and stopped", task(function()
    local count = 0
    local t = rw.cooperate(function()
      count = count + 1
      return rw.sleep(0.01)
    end)
    rw.sleep(0.05):await()
    t:pause()
    rw.sleep(0.03):await()
    local at = count
    rw.sleep(0.05):await()
    assert.equal(at, count)
    t:resume()
    rw.sleep(0.05):await()
    assert.is_true(count > at)
    local done = t:when_done()
    t:stop()
    local ok, failure = pcall(done.await, done)
    assert.is_false(ok)
    assert.equal("stopped", failure.code)
  end))
end)
