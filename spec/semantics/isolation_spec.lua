-- SPDX-License-Identifier: MIT
-- What user code depends on, one sentence a test: services, and errors of one
-- that are not errors of another.
local rw = require "ropewalk"
local testing = rw.testing

local function recorder(seen, name, stops)
  local service = rw.Service()
  function service.start_service() seen[#seen + 1] = "start " .. name end
  function service.stop_service()
    seen[#seen + 1] = "stop " .. name
    return stops
  end
  return service
end

describe("A MultiService", function()
  it("starts in the order of adding, stops in reverse and waits for all; a child that is added while "
    .. "it runs is started, one that is removed is stopped", function()
    local seen, gate = {}, rw.Deferred()
    local parent = rw.MultiService { recorder(seen, "a"), recorder(seen, "b", gate) }
    rw.await(parent:start_service())
    parent.running = true
    local c = recorder(seen, "c")
    rw.await(parent:add_service(c))
    rw.await(parent:remove_service(c))
    assert.same({ "start a", "start b", "start c", "stop c" }, seen)
    local stopped = parent:stop_service()
    rw.sleep(0.02):await()
    testing.assert_no_result(stopped)
    gate:callback()
    stopped:await()
    assert.equal("stop b", seen[5])
    assert.equal("stop a", seen[6])
  end)
end)

describe("An error", function()
  it("of one observer of the log does not reach the others, nor who logs", function()
    local seen = 0
    local function bad() error "observer" end
    local function good() seen = seen + 1 end
    rw.log.add_observer(bad)
    rw.log.add_observer(good)
    rw.log.info "hello"
    rw.log.remove_observer(bad)
    rw.log.remove_observer(good)
    assert.equal(1, seen)
    assert.equal(1, #testing.flush_logged_errors "observer of the log failed")
  end)

  it("of one service's stop does not keep the others from stopping", function()
    local seen = {}
    local broken = rw.Service()
    function broken.stop_service() error "cannot stop" end
    local parent = rw.MultiService { recorder(seen, "a"), broken, recorder(seen, "c") }
    rw.await(parent:start_service())
    rw.await(parent:stop_service())
    assert.same({ "start a", "start c", "stop c", "stop a" }, seen)
    assert.equal(1, #testing.flush_logged_errors "cannot stop")
  end)

  it("of one shutdown trigger does not keep the others from running", function()
    local seen, triggers = {}, {}
    local function trigger(phase, fn)
      triggers[#triggers + 1] = rw.reactor:add_system_event_trigger(phase, "shutdown", fn)
    end
    for _, phase in ipairs { "before", "during", "after" } do
      trigger(phase, function() error "broken trigger" end)
      trigger(phase, function() seen[#seen + 1] = phase end)
    end
    for _, phase in ipairs { "before", "during", "after" } do
      rw.reactor:fire(phase, "shutdown"):await()
    end
    for _, each in ipairs(triggers) do rw.reactor:remove_system_event_trigger(each) end
    assert.same({ "before", "during", "after" }, seen)
    assert.equal(3, #testing.flush_logged_errors "broken trigger")
    testing.flush_logged_errors() -- of triggers that other specs have left here
  end)

  it("of one connection_lost does not reach other connections", function()
    local lost = 0
    local P = rw.Protocol:extend "P"
    function P:connection_made() self.transport:lose_connection() end
    function P.connection_lost()
      lost = lost + 1
      error "in connection_lost"
    end
    local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(P)):await()
    local Peer = rw.Protocol:extend "Peer"
    function Peer:connection_lost() self.factory.ended:callback() end
    for _ = 1, 2 do
      local factory = rw.Factory:for_protocol(Peer)
      factory.ended = rw.Deferred()
      rw.connect("tcp:127.0.0.1:" .. port.address.port, factory):await()
      factory.ended:await()
    end
    rw.sleep(0.02):await()
    port:close():await()
    assert.equal(2, lost)
    assert.equal(2, #testing.flush_logged_errors "in connection_lost")
  end)
end)
