-- SPDX-License-Identifier: MIT
-- Producers on real connections.
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local connected, eventually = ends.connected, ends.eventually

local BLOCK <const> = ("0123456789abcdef"):rep(4096) -- 64 KiB

-- A push producer that does only this.
local function push(methods)
  local function nothing() end
  methods.pause_producing, methods.resume_producing = nothing, nothing
  return methods
end

describe("producers", function()
  after_each(ends.close)

  it("may be other connections", function()
    local b, right = connected()
    local Source = rw.Protocol:extend "Source"
    function Source:connection_made() b.transport:register_producer(self.transport, true) end
    function Source:data_received(bytes) b.transport:write(bytes) end
    function Source:connection_lost() b.transport:unregister_producer() end
    local a, left = connected(Source)
    right.transport:pause_producing()
    rw.spawn(function()
      for _ = 1, 400 do
        left.transport:write(BLOCK)
        left.transport:drained()
      end
      left.transport:lose_connection()
    end)
    rw.sleep(0.2):await()
    assert.is_true(b.transport.buffered < 512 * 1024)
    b.transport:lose_connection() -- waits
    right.transport:resume_producing()
    right.ended:await()
    assert.equal(400 * #BLOCK, right.size)
    assert.is_false(a.transport.connected)
  end)

  it("are stopped, and the protocol is told, though they fail at it", function()
    local lost = rw.Deferred()
    local P = rw.Protocol:extend "P"
    function P:connection_lost() lost:callback() end
    local a, left = connected(P)
    a.transport:register_producer(push { stop_producing = function() error "stop failed" end }, true)
    left.transport:abort_connection()
    lost:await()
    assert.is_false(a.transport.connected)
    assert.equal(1, #rw.testing.flush_logged_errors "stop failed")
  end)

  it("that fail to produce do not hold the connection open", function()
    local a, left = connected()
    local count = 0
    a.transport:register_producer({
      resume_producing = function()
        count = count + 1
        if count == 2 then error "producer failed" end
      end,
      stop_producing = function() end,
    }, false)
    a.transport:lose_connection()
    left.ended:await()
    assert.equal(2, count)
    assert.equal(1, #rw.testing.flush_logged_errors "producer failed")
  end)

  it("are stopped at once at a connection that is gone, and not held back by an abort", function()
    local a, left = connected()
    local stopped = 0
    local producer = push { stop_producing = function() stopped = stopped + 1 end }
    a.transport:register_producer(producer, true)
    assert.has_error(function() a.transport:register_producer(producer, true) end)
    a.transport:abort_connection()
    left.ended:await()
    eventually(function() return stopped == 1 end)
    a.transport:register_producer(producer, false)
    assert.equal(2, stopped)
  end)
end)
