-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local core = require "ropewalk.core"
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local task = support.task

describe("the reactor", function()
  it("is a clock", task(function()
    local began, ran = rw.reactor:seconds(), false
    rw.reactor:call_later(0.01, function() ran = true end)
    rw.sleep(0.02):await()
    assert.is_true(ran)
    assert.is_true(rw.reactor:seconds() > began)
  end))

  it("runs triggers by phase, waits for the early ones, isolates their errors", task(function()
    local logged <close> = rw.log.capture()
    local seen, gate = {}, rw.Deferred()
    local function note(x) seen[#seen + 1] = x end
    local reactor = rw.reactor
    local triggers = {
      reactor:add_system_event_trigger("before", "shutdown", function() return gate end),
      reactor:add_system_event_trigger("before", "shutdown", error, "boom"),
      reactor:add_system_event_trigger("before", "shutdown", note, "before"),
      reactor:add_system_event_trigger("after", "shutdown", note, "after"),
    }
    local d = reactor:fire("before", "shutdown")
    assert.same({ "before" }, seen)
    testing.assert_no_result(d)
    gate:callback()
    testing.success_result_of(d)
    reactor:fire("after", "shutdown")
    assert.same({ "before", "after" }, seen)
    assert.truthy(logged:find "boom")
    for _, trigger in ipairs(triggers) do reactor:remove_system_event_trigger(trigger) end
    assert.has_error(function() reactor:remove_system_event_trigger(triggers[1]) end)
    assert.has_error(function() reactor:add_system_event_trigger("never", "shutdown", note) end)
    assert.has_error(function() reactor:add_system_event_trigger("before", "lunch", note) end)
  end))
end)

describe("a producer on a transport", function()
  local function setup_transport()
    local lost = {}
    local P = rw.Protocol:extend "P"
    function P:connection_lost() lost[#lost + 1] = "connection_lost" end
    local p = P()
    local transport = setmetatable({ protocol = p, connected = true, producing = false,
      set_producing = function(self, on) self.producing = on end,
    }, { __index = require "ropewalk.transport" })
    p.transport = transport
    local seen = {}
    local producer = {}
    for _, name in ipairs { "pause_producing", "resume_producing", "stop_producing" } do
      producer[name] = function() seen[#seen + 1] = name:match "^%l+" end
    end
    return p, transport, producer, seen, lost
  end

  it("that pulls is asked at once and again when the transport has room", function()
    local p, transport, producer, seen = setup_transport()
    producer.resume_producing = function()
      seen[#seen + 1] = "resume"
      p:write_filled() -- one piece is all it takes
    end
    transport:register_producer(producer, false)
    assert.same({ "resume" }, seen)
    p:write_drained()
    assert.same({ "resume", "resume" }, seen)
    assert.is_true(transport.producing)
    transport:unregister_producer()
    assert.is_false(transport.producing)
    assert.is_nil(p.write_drained)
  end)

  it("that pushes is left alone until the transport is full", function()
    local p, transport, producer, seen = setup_transport()
    transport:register_producer(producer, true)
    assert.same({}, seen)
    p:write_drained()
    assert.same({}, seen)
    p:write_filled()
    p:write_filled()
    p:write_drained()
    assert.same({ "pause", "resume" }, seen)
  end)

  it("is stopped before its protocol hears of the loss", function()
    local p, transport, producer, seen, lost = setup_transport()
    producer.stop_producing = function() lost[#lost + 1] = "stop_producing" end
    transport:register_producer(producer, true)
    p:connection_lost()
    assert.same({ "stop_producing", "connection_lost" }, lost)
    assert.is_nil(rawget(p, "connection_lost"))
    assert.same({}, seen)
  end)

  it("must be the only one, and is stopped at once on a dead transport", function()
    local _, transport, producer, seen = setup_transport()
    transport:register_producer(producer, true)
    assert.has_error(function() transport:register_producer(producer, true) end)
    transport:unregister_producer()
    transport.connected = false
    transport:register_producer(producer, true)
    assert.same({ "stop" }, seen)
  end)
end)

describe("the module ropewalk", function()
  it("has every name of the contract", function()
    for _, name in ipairs { "Protocol", "Factory", "Deferred", "Failure", "Service", "MultiService",
      "LineProtocol", "NetstringProtocol", "server", "client", "listen", "connect", "async", "sleep",
      "call_later", "gather", "race", "log", "config", "reactor", "endpoint", "limits", "testing",
      "on_check", "LoopingCall", "version", "TimerService", "spawn", "await", "script_dir",
      "DeferredLock", "DeferredSemaphore", "DeferredQueue", "cooperate", "maybe_deferred",
      "succeed", "fail", "run", "args" } do
      assert.truthy(rw[name] ~= nil, name)
    end
    assert.is_nil(rw.no_such_thing)
    assert.equal(core.config, rw.config)
  end)
end)
