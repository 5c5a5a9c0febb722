-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local task = support.task

describe("a fake Clock", function()
  it("calls what is due in order of time; what that adds waits for the next turn", function()
    local clock, seen = testing.Clock(), {}
    local function note(x) seen[#seen + 1] = x end
    clock:call_later(2, note, "b")
    clock:call_later(1, function()
      note "a"
      clock:call_later(0, note, "a0")
      clock:call_later(0.5, note, "a1")
    end)
    clock:call_later(2, note, "c")
    clock:advance(1.5)
    assert.same({ "a" }, seen)
    clock:pump { 0.25, 0.25 } -- time has been 1.5 for all that ran in the first step
    assert.same({ "a", "a0", "b", "c", "a1" }, seen)
    assert.equal(2, clock:seconds())
  end)

  it("cancels, resets and delays as the reactor does", function()
    local clock, seen = testing.Clock(), {}
    local a = clock:call_later(1, function() seen[#seen + 1] = "a" end)
    local b = clock:call_later(1, function() seen[#seen + 1] = "b" end)
    a:cancel()
    b:delay(1)
    assert.is_false(a:active())
    assert.equal(2, b:get_time())
    local ok, failure = pcall(a.cancel, a)
    assert.is_false(ok)
    assert.equal("already_cancelled", failure.code)
    clock:advance(1)
    b:reset(3)
    assert.equal(1, #clock:pending())
    clock:advance(3)
    assert.same({ "b" }, seen)
    ok, failure = pcall(b.cancel, b)
    assert.is_false(ok)
    assert.equal("already_called", failure.code)
  end)

  it("advances by itself to what is due, while a function waits", function()
    local clock, seen = testing.Clock(), {}
    local function wait(seconds)
      local d = rw.Deferred()
      clock:call_later(seconds, d.callback, d, seconds)
      local waited = d:await()
      seen[#seen + 1] = waited
    end
    local began = rw.reactor:seconds()
    clock:call_later(50, function() seen[#seen + 1] = "other" end)
    local a, b = clock:auto_advance(function()
      wait(3600)
      rw.sleep(0.02):await() -- really, and nothing is due
      wait(86400)
      return "a", nil
    end)
    assert.same({ "other", 3600, 86400 }, seen)
    assert.same({ "a", nil }, { a, b })
    assert.equal(3600 + 86400, clock:seconds())
    assert.truthy(rw.reactor:seconds() - began < 10)
    local ok, why = pcall(clock.auto_advance, clock, function()
      wait(1)
      error "after a second"
    end)
    assert.is_false(ok)
    assert.matches("after a second", tostring(why))
  end)

  it("keeps a call that it was told nonsense about", function()
    local clock, calls = testing.Clock(), 0
    local call = clock:call_later(1, function() calls = calls + 1 end)
    for _, time in ipairs { "x", -1, 0 / 0 } do assert.has_error(function() call:reset(time) end) end
    assert.has_error(function() call:delay {} end)
    clock:advance(1)
    assert.equal(1, calls)
  end)

  it("advances by itself, but waits its patience for the world outside", function()
    local clock = testing.Clock()
    local answer = rw.sleep(0.03):add_callback(function() return "in time" end)
    answer:add_timeout(10, nil, clock)
    assert.equal("in time", clock:auto_advance(function() return answer:await() end, 0.5))
    assert.equal(0, clock:seconds())
  end)

  it("ends the function when who waits for it is cancelled", function()
    local clock, ended = testing.Clock(), false
    local waits = rw.spawn(function()
      clock:auto_advance(function()
        local _ <close> = setmetatable({}, { __close = function() ended = true end })
        rw.Deferred():await()
      end)
    end)
    rw.sleep(0.01):await()
    waits:cancel()
    local ok, failure = pcall(waits.await, waits)
    assert.is_false(ok)
    assert.equal("cancelled", failure.code)
    assert.is_true(ended)
  end)
end)

describe("a StringTransport", function()
  it("collects what a protocol writes", function()
    local Echo = rw.Protocol:extend "Echo"
    function Echo:data_received(bytes)
      self.transport:write(bytes)
      if bytes == "quit" then self.transport:lose_connection() end
    end
    local echo, transport = testing.connected(rw.Factory:for_protocol(Echo))
    echo:data_received "hi"
    assert.equal("hi", transport:value())
    transport:clear()
    echo:data_received "quit"
    assert.is_true(transport.disconnecting)
    transport:write "ignored"
    assert.equal("quit", transport:value())
    assert.equal("192.0.2.1:54321", tostring(transport.peer))
  end)

  it("writes lines and netstrings as the engines do", function()
    local line, transport = testing.connected(rw.Factory:for_protocol(rw.LineProtocol))
    line:send_line "250 OK"
    assert.equal("250 OK\r\n", transport:value())
    local net
    net, transport = testing.connected(rw.Factory:for_protocol(rw.NetstringProtocol))
    net:send_string "hello"
    assert.equal("5:hello,", transport:value())
    for _, class in ipairs { rw.Int8Protocol, rw.NetstringProtocol } do
      local ok, why = pcall(class.send_string, class(), "x")
      assert.same({ false, true }, { ok, tostring(why):find "no connection yet" ~= nil })
    end
  end)
end)

describe("a look at a Deferred", function()
  it("gives its result, or says what is wrong", task(function()
    assert.equal(1, testing.success_result_of(rw.Deferred.succeed(1)))
    assert.has_error(function() testing.success_result_of(rw.Deferred()) end)
    assert.has_error(function() testing.success_result_of(rw.Deferred.fail "x") end)
    assert.equal("x", testing.failure_result_of(rw.Deferred.fail "x").message)
    assert.has_error(function() testing.failure_result_of(rw.Deferred.succeed(1)) end)
    assert.has_error(function() testing.failure_result_of(rw.Deferred.fail "x", "timeout") end)
    testing.assert_no_result(rw.Deferred())
    assert.has_error(function() testing.assert_no_result(rw.Deferred.succeed()) end)
  end))
end)
