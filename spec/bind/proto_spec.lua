-- SPDX-License-Identifier: MIT
-- Connections with a protocol: how long they are waited for, their end, their classes.
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local eventually = ends.eventually

describe("The patience with a peer", function()
  after_each(ends.close)

  local function connected(class, timeout, options)
    local Patient = class:extend "Patient"
    function Patient:connection_made() self.transport:set_timeout(timeout) end
    return ends.connected(Patient, "tcp:127.0.0.1:0:" .. options)
  end

  it("is what set_timeout says, with each engine", function()
    for _, class in ipairs { rw.Protocol, rw.LineProtocol, rw.NetstringProtocol, rw.frame "> length:I2" } do
      for _, timeout in ipairs { 60, false } do
        local a, far = connected(class, timeout or nil, "idle_timeout=50")
        rw.sleep(0.2):await()
        assert.is_true(a.transport.connected)
        far.transport:abort_connection()
      end
      local a = connected(class, 0.05, "idle_timeout=60000")
      eventually(function() return not a.transport.connected end)
      a = connected(class, 0, "idle_timeout=60000")
      eventually(function() return not a.transport.connected end)
    end
  end)

  it("ends by the engine's limits beside that, which count as theirs", function()
    local before = rw.stats().limits_hit -- idle_timeout does not count as one
    local a, far = connected(rw.LineProtocol, 60, "head_timeout=50")
    far.transport:write "half a line"
    eventually(function() return not a.transport.connected end)
    assert.equal(before + 1, rw.stats().limits_hit)
  end)
end)

describe("What a connection's end cancels", function()
  after_each(ends.close)

  it("may call its transport", function()
    local lost, called = 0, false
    local P = rw.Protocol:extend "P"
    function P:connection_made()
      self.transport:pause_producing()
      rw.spawn(function()
        local d = rw.Deferred(function()
          called = true
          self.transport:set_timeout(3)
          self.transport:resume_producing()
          self.transport:lose_connection()
        end)
        pcall(d.await, d)
      end)
    end
    function P:connection_lost() lost = lost + 1 end -- luacheck: ignore 212
    local a = ends.connected(P)
    a.transport:abort_connection()
    eventually(function() return lost > 0 end)
    assert.is_true(called)
    rw.sleep(0.02):await()
    assert.equal(1, lost)
  end)
end)

describe("A protocol with a metatable of its own", function()
  after_each(ends.close)

  it("leaves nothing behind", function()
    local seen = setmetatable({}, { __mode = "k" })
    local factory = rw.Factory()
    function factory:build_protocol() -- luacheck: ignore 212
      local metatable = { __index = rw.Protocol }
      seen[metatable] = true
      return setmetatable({}, metatable)
    end
    local port = rw.listen("tcp:127.0.0.1:0", factory):await()
    for _ = 1, 10 do
      local client = rw.connect("tcp:127.0.0.1:" .. port.port, rw.Factory:for_protocol(ends.Collector)):await()
      client.transport:lose_connection()
      client.ended:await()
    end
    port:close():await()
    eventually(function()
      collectgarbage()
      return next(seen) == nil
    end)
  end)
end)
