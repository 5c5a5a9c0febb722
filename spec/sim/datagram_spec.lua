-- SPDX-License-Identifier: MIT
-- Datagrams in a simulated world: what becomes of one on its way.

local rw = require "ropewalk"
local datagrams = require "spec.sim.datagrams"
local simulate, simulate_many = rw.testing.simulate, rw.testing.simulate_many
local listen, connect, close = datagrams.listen, datagrams.connect, datagrams.close

local SURE <const>, Echo <const> = datagrams.SURE, datagrams.Echo

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
