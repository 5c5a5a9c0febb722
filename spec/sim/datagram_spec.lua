-- SPDX-License-Identifier: MIT
-- Datagrams in a simulated world: what becomes of one on its way, and what a
-- socket there can do.

local rw = require "ropewalk"
local simulate, simulate_many = rw.testing.simulate, rw.testing.simulate_many

local SURE <const> = { faults = { loss = 0, duplicate = 0, delay = 0.01 } }

local Peer = rw.DatagramProtocol:extend "Peer" -- keeps what it hears
function Peer:init() self.got, self.from, self.refused = {}, {}, 0 end
function Peer:datagram_received(bytes, from)
  self.got[#self.got + 1], self.from[#self.from + 1] = bytes, from
end
function Peer:connection_refused() self.refused = self.refused + 1 end

local Echo = rw.DatagramProtocol:extend "Echo"
function Echo:datagram_received(bytes, from) self.transport:write(bytes, from) end

local function factory(class) return rw.Factory:for_protocol(class) end

local function listen(where, class)
  local port = rw.listen(where, factory(class or Peer)):await()
  return port, port.protocol
end

local function connect(where, class) return rw.connect(where, factory(class or Peer)):await() end

local function close(...)
  for _, each in ipairs { ... } do each:stop_listening():await() end
end

describe("a simulated datagram", function()
  it("reaches an application that knows of nothing, and comes back", function()
    simulate(1, function(sim)
      local app = sim:run_app "apps/udp_echo.lua"
      local peer = connect "udp:127.0.0.1:7000"
      peer.transport:write "one"
      peer.transport:write ""
      sim:settle()
      table.sort(peer.got)
      assert(#peer.got == 2 and peer.got[1] == "" and peer.got[2] == "one")
      assert(app:reload())
      peer.transport:write "new code"
      sim:settle()
      assert(peer.got[3] == "new code")
      app:stop()
      peer.transport:write "nobody"
      sim:settle()
      assert(peer.refused == 1)
      peer.transport:lose_connection()
    end, SURE)
  end)

  it("is lost, or comes twice, as chance has it", function()
    local function send(n, expected)
      return function(sim)
        local port, peer = listen "udp:a.test:9"
        local client = connect "udp:a.test:9"
        for i = 1, n do client.transport:write(tostring(i)) end
        sim:settle()
        assert(#peer.got == expected, #peer.got)
        client.transport:lose_connection()
        close(port)
      end
    end
    simulate(1, send(20, 0), { faults = { loss = 1 } })
    simulate(1, send(20, 40), { faults = { loss = 0, duplicate = 1 } })
    simulate(1, send(20, 20), SURE)
  end)

  it("may overtake another; who trusts the order is found out, and replayed from its seed", function()
    local function day(sim)
      local port, peer = listen "udp:a.test:9"
      local client = connect "udp:a.test:9"
      client.transport:write "1"
      client.transport:write "2"
      sim:settle()
      client.transport:lose_connection()
      close(port)
      assert(table.concat(peer.got) == "12", "overtaken")
    end
    local faults = { loss = 0, duplicate = 0, delay = { 0, 1 } }
    local ok, found = pcall(simulate_many, { count = 50, fn = day, faults = faults })
    assert.is_false(ok)
    assert.matches("overtaken", found.why)
    local _, again = pcall(simulate, found.seed, day, { faults = faults })
    assert.equal(found.message, again.message) -- with the trace's last events and its hash
  end)

  it("is the same for the same seed", function()
    local function day(sim)
      local port = listen("udp:a.test:9", Echo)
      local client = connect "udp:a.test:9"
      for i = 1, 20 do client.transport:write(("x"):rep(i * 50)) end
      sim:settle()
      sim:note(table.concat(client.got))
      client.transport:lose_connection()
      close(port)
    end
    local faults, seen = { loss = 0.3, duplicate = 0.3, stall = 0.1 }, {}
    for seed = 1, 20 do
      local result = simulate(seed, day, { faults = faults })
      assert.same(result, simulate(seed, day, { faults = faults }))
      assert.is_nil(seen[result.trace_hash])
      seen[result.trace_hash] = true
    end
  end)

  it("does not pass to or from a host that is cut off", function()
    simulate(1, function(sim)
      local port_a, a = listen "udp:a.test:9"
      local port_b, b = listen "udp:b.test:9"
      a.transport:write("on its way", b.transport.host)
      sim:partition "a.test"
      b.transport:write("to a", a.transport.host)
      sim:settle()
      assert(#a.got == 0 and #b.got == 0)
      sim:heal "a.test"
      sim:settle()
      assert(#a.got == 0 and #b.got == 0) -- lost, not late
      sim:partition(b.transport.host.host) -- by its address
      a.transport:write("to b", b.transport.host)
      sim:settle()
      assert(#b.got == 0)
      sim:heal(b.transport.host.host)
      a.transport:write("to b", b.transport.host)
      sim:settle()
      assert(b.got[1] == "to b" and b.from[1] == a.transport.host)
      close(port_a, port_b)
    end, SURE)
  end)

  it("is refused at a port of a living host that nobody has, unless that is lost, too", function()
    simulate(1, function(sim)
      local port, heard = listen "udp:a.test:9"
      local unheard, nowhere = connect "udp:a.test:10", connect "udp:b.test:10"
      unheard.transport:write "x"
      nowhere.transport:write "x"
      heard.transport:write("x", { host = unheard.transport.peer.host, port = 10 })
      sim:settle()
      assert(unheard.refused == 1 and nowhere.refused == 0 and heard.refused == 0)
      sim:partition "a.test"
      unheard.transport:write "x"
      sim:settle()
      assert(unheard.refused == 1)
      sim:heal "a.test"
      unheard.transport:lose_connection()
      nowhere.transport:lose_connection()
      close(port)
    end, SURE)
  end)

  it("goes on being refused where an application was killed", function()
    simulate(1, function(sim)
      local app = sim:run_app("apps/udp_echo.lua", { listen = "udp:echo.test:7" })
      local peer = connect "udp:echo.test:7"
      app:kill()
      peer.transport:write "x"
      sim:settle()
      assert(#peer.got == 0 and peer.refused == 1)
      sim:run_app("apps/udp_echo.lua", { listen = "udp:echo.test:7" })
      peer.transport:write "x"
      sim:settle()
      assert(#peer.got == 1)
      peer.transport:lose_connection()
    end, SURE)
  end)
end)

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
    local ok, failure = pcall(simulate, 1, function() connect "udp:127.0.0.1:9" end)
    assert.is_false(ok)
    assert.matches("datagram socket, made at spec/sim/datagram_spec.lua:%d+", failure.why)
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

describe("faults of datagrams", function()
  it("are checked", function()
    local function refused(faults, why)
      assert.error_matches(function() simulate(1, print, { faults = faults }) end, why)
    end
    refused({ loss = 2 }, "loss")
    refused({ duplicate = "often" }, "number")
    refused({ name_delay = { 2, 1 } }, "name_delay")
    refused({ name_failure = -1 }, "name_failure")
  end)

  it("can be over", function()
    simulate(1, function(sim)
      local app = sim:run_app "apps/udp_echo.lua"
      sim:set_faults(false)
      local peer = connect "udp:127.0.0.1:7000"
      for _ = 1, 50 do peer.transport:write "x" end
      sim:settle()
      assert(#peer.got == 50)
      peer.transport:lose_connection()
      app:stop()
    end, { faults = { loss = 1 } })
  end)
end)
