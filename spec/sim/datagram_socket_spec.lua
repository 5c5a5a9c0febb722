-- SPDX-License-Identifier: MIT
-- What a datagram socket can do in a simulated world.

local rw = require "ropewalk"
local datagrams = require "spec.sim.datagrams"
local simulate, simulate_many = rw.testing.simulate, rw.testing.simulate_many
local factory, listen = datagrams.factory, datagrams.listen
local connect, close = datagrams.connect, datagrams.close

local SURE <const>, Echo <const> = datagrams.SURE, datagrams.Echo

describe("a simulated datagram socket", function()
  it("has real addresses", function()
    simulate(1, function(sim)
      local port, a = listen "udp:a.test:9"
      local other, any = listen "udp:0"
      assert(port.port == 9 and other.port > 1023)
      assert(a.transport.host.kind == "udp" and a.transport.host.host:match "^198%.18%.%d+%.%d+$")
      assert(not a.transport.peer)
      any.transport:write("x", tostring(a.transport.host))
      sim:settle()
      assert(tostring(a.from[1]) == "127.0.0.1:" .. other.port)
      a.transport:write("y", a.from[1])
      sim:settle()
      assert(any.got[1] == "y" and any.from[1] == a.transport.host)
      close(port, other)
    end, SURE)
  end)

  it("that is bound to any address answers from where it is asked", function()
    simulate(1, function(sim)
      local port = listen("udp:9", Echo)
      local a, b = connect "udp:a.test:9", connect "udp:b.test:9"
      a.transport:write "to a"
      b.transport:write "to b"
      sim:settle()
      assert(a.got[1] == "to a" and a.from[1] == a.transport.peer)
      assert(b.got[1] == "to b" and b.from[1] == b.transport.peer)
      sim:partition "a.test"
      a.transport:write "nobody is there"
      sim:settle()
      assert(#a.got == 1 and a.refused == 0)
      sim:heal "a.test"
      a.transport:lose_connection()
      b.transport:lose_connection()
      close(port)
    end, SURE)
  end)

  it("is bound once", function()
    simulate(1, function()
      local port = listen "udp:a.test:9"
      local next_door = listen "udp:b.test:9"
      for _, where in ipairs { "udp:a.test:9", "udp:9" } do
        local ok, failure = pcall(listen, where)
        assert(not ok and failure.code == "EADDRINUSE", tostring(failure))
      end
      close(port, next_door)
      close((listen "udp:a.test:9"))
    end, { faults = SURE.faults, allow_errors = true })
  end)

  it("hears nobody but its peer", function()
    simulate(1, function(sim)
      local port_a, a = listen "udp:a.test:9"
      local port_b, b = listen "udp:b.test:9"
      local port_c, c = listen "udp:c.test:9"
      assert(a.transport:connect(b.transport.host))
      c.transport:write("no", a.transport.host)
      b.transport:write("yes", a.transport.host)
      a.transport:write "back"
      sim:settle()
      assert(#a.got == 1 and a.got[1] == "yes" and b.got[1] == "back")
      assert(a.transport.peer == b.transport.host)
      local sent, failure = c.transport:write "to whom?"
      assert(not sent and failure.code == "EDESTADDRREQ")
      close(port_a, port_b, port_c)
    end, SURE)
  end)

  it("has limits", function()
    simulate(1, function(sim)
      local port, a = listen "udp:a.test:9:max_datagram=100"
      local client = connect "udp:a.test:9"
      local sent, failure = client.transport:write(("x"):rep(65508))
      assert(not sent and failure.code == "EMSGSIZE")
      assert(client.transport:write(("x"):rep(65507)))
      client.transport:write(("x"):rep(101))
      client.transport:write(("x"):rep(100))
      sim:settle()
      assert(#a.got == 1 and #a.got[1] == 100)
      client.transport:lose_connection()
      close(port)
    end, { faults = SURE.faults, allow_errors = true })
  end)

  it("that is not read drops what its buffer cannot hold", function()
    simulate(1, function(sim)
      local gate, got = rw.Deferred(), 0
      local Slow = rw.DatagramProtocol:extend "Slow"
      function Slow:start_protocol() gate:await() end -- luacheck: ignore 212
      function Slow:datagram_received() got = got + 1 end -- luacheck: ignore 212
      local port = rw.listen("udp:a.test:9", factory(Slow)):await()
      local client = connect "udp:a.test:9"
      for _ = 1, 1000 do client.transport:write(("x"):rep(1000)) end
      sim:settle()
      assert(got == 0)
      gate:callback()
      sim:settle()
      assert(got > 100 and got < 250, got)
      client.transport:lose_connection()
      close(port)
    end, SURE)
  end)

  it("refuses groups and broadcasts, by name", function()
    simulate(1, function()
      local port, a = listen "udp:a.test:9"
      local transport = a.transport
      local function refused(ok, failure) assert(not ok and failure.code == "RW_ESIMULATED") end
      refused(transport:join_group "239.1.2.3")
      refused(transport:leave_group "239.1.2.3")
      refused(transport:set_broadcast_allowed(true))
      refused(transport:set_multicast_ttl(2))
      refused(transport:set_loopback_mode(true))
      refused(transport:set_outgoing_interface "127.0.0.1")
      refused(transport:write("x", "239.1.2.3:9"))
      refused(transport:write("x", "255.255.255.255:9"))
      refused(transport:write("x", "[ff02::1]:9"))
      refused(transport:connect "239.1.2.3:9")
      assert(transport:set_ttl(3))
      close(port)
    end, SURE)
  end)

  it("that is left behind is a leak, by the line that made it", function()
    local ok, failure = pcall(simulate, 1, function()
      rw.connect("udp:127.0.0.1:9", factory(datagrams.Peer)):await()
    end)
    assert.is_false(ok)
    assert.matches("datagram socket, made at spec/sim/datagram_socket_spec.lua:%d+", failure.why)
  end)

  it("whose hook raises is logged, which fails the run, and goes on", function()
    local function day(sim)
      local Angry = rw.DatagramProtocol:extend "Angry"
      function Angry:datagram_received(bytes) -- luacheck: ignore 212
        if bytes == "boom" then error "boom" end
        self.transport:write(bytes, "127.0.0.1:1024")
        sim:note("heard " .. bytes)
      end
      function Angry:connection_refused() error "bang" end -- luacheck: ignore 212
      local port = listen("udp:a.test:9", Angry)
      local client, refused = connect "udp:a.test:9", connect("udp:a.test:10", Angry)
      for _, bytes in ipairs { "boom", "x", "boom", "y" } do
        client.transport:write(bytes)
        refused.transport:write(bytes)
      end
      sim:settle()
      client.transport:lose_connection()
      refused.transport:lose_connection()
      close(port)
    end
    local ok, failure = pcall(simulate, 1, day, SURE)
    assert.is_false(ok)
    assert.matches("boom", failure.why)
    local options = { faults = SURE.faults, allow_errors = true }
    assert.same(simulate(1, day, options), simulate(1, day, options))
  end)

  it("may be closed by its hooks", function()
    simulate_many { count = 50, fn = function(sim)
      local Brief = rw.DatagramProtocol:extend "Brief"
      function Brief:datagram_received() self.transport:lose_connection() end
      Brief.connection_refused = Brief.datagram_received
      local port = rw.listen("udp:a.test:9", factory(Brief)):await()
      local client = connect "udp:a.test:9"
      local refused = connect("udp:a.test:10", Brief)
      for _ = 1, 10 do client.transport:write "x" end
      refused.transport:write "x"
      refused.transport:write "x"
      sim:settle()
      client.transport:lose_connection()
      refused.transport:lose_connection()
      close(port)
    end }
  end)
end)
