-- SPDX-License-Identifier: MIT
-- What there is in a simulated world: applications and a network.

local rw = require "ropewalk"
local simulate, simulate_many = rw.testing.simulate, rw.testing.simulate_many
local e2e = require "spec.support.e2e"

describe("a simulated application", function()
  local Client = rw.LineProtocol:extend "Client"
  function Client:connection_made() self.got = {} end
  function Client:line_received(line) self.got[#self.got + 1] = line end
  function Client:connection_lost(reason) self.reason = reason end

  it("has a state and settings of its own, reloads and stops", function()
    local directory = e2e.directory()
    local path = directory .. "/app.lua"
    e2e.write(path, [[
      local rw = require "ropewalk"
      count = (count or 0) + 1
      local P = rw.LineProtocol:extend "P"
      function P:line_received() self:send_line(rw.config.word .. count) end
      return rw.server(rw.config.listen, rw.Factory:for_protocol(P))
    ]])
    simulate(1, function(sim)
      local settings = { listen = "unix:/nowhere/socket", word = "hello" }
      local app = sim:run_app(path, settings)
      assert(app:state() == "running" and not _G.count)
      local client = rw.connect("unix:/nowhere/socket", rw.Factory:for_protocol(Client)):await()
      client:send_line ""
      sim:run_until(function() return client.got[1] end)
      assert(client.got[1] == "hello1")
      client.transport:lose_connection()
      assert(app:reload())
      sim:settle()
      app:stop()
      assert(app:state() == "ended")
      app = sim:run_app(path, settings)
      assert(app:state() == "running")
    end)
  end)

  it("can die at any moment, and nobody hears a last word of it", function()
    simulate_many { count = 100, faults = { delay = { 0, 0.3 }, stall = 0.1 }, fn = function(sim)
      for _ = 1, 2 do
        local app = sim:run_app "apps/chat.lua"
        local clients = {}
        for i = 1, math.random(4) do
          rw.spawn(function()
            local client = rw.connect("tcp:127.0.0.1:7001", rw.Factory:for_protocol(Client)):await()
            clients[i] = client
            client:send_line("c" .. i)
            while not client.reason do
              client:send_line "line"
              rw.sleep(0.1):await()
            end
          end):add_errback(function() end)
        end
        rw.sleep(math.random() * 2):await()
        app:kill()
        sim:settle()
        for _, client in pairs(clients) do
          sim:run_until(function() return client.reason end, 100)
          assert(not client.reason.clean, tostring(client.reason))
        end
      end
    end }
  end)

  it("is ended when it computes for ever", function()
    local directory = e2e.directory()
    e2e.write(directory .. "/busy.lua", [[
      local rw = require "ropewalk"
      local P = rw.LineProtocol:extend "P"
      function P:connection_made() while true do end end
      return rw.server("tcp:7000", rw.Factory:for_protocol(P))
    ]])
    local ok, failure = pcall(simulate, 1, function(sim)
      sim:run_app(directory .. "/busy.lua")
      local client = rw.connect("tcp:7000", rw.Factory:for_protocol(Client)):await()
      sim:run_until(function() return client.reason end)
    end)
    assert.is_false(ok)
    assert.matches("script_budget", failure.why)
  end)
end)

describe("the simulated network", function()
  local Peer = rw.Protocol:extend "Peer"
  function Peer:connection_lost(reason) self.reason = reason end

  it("refuses where nobody listens, and when chance says so", function()
    simulate(1, function()
      local ok, failure = pcall(function()
        rw.connect("tcp:nobody.test:1", rw.Factory:for_protocol(Peer)):await()
      end)
      assert(not ok and failure.code == "ECONNREFUSED")
    end)
    simulate(1, function(sim)
      sim:run_app "apps/echo.lua"
      local ok = pcall(function()
        rw.connect("tcp:127.0.0.1:7000", rw.Factory:for_protocol(Peer)):await()
      end)
      assert(not ok)
    end, { faults = { refuse = 1 } })
  end)

  it("resets", function()
    simulate(1, function(sim)
      sim:run_app "apps/echo.lua"
      local peer = rw.connect("tcp:127.0.0.1:7000", rw.Factory:for_protocol(Peer)):await()
      peer.transport:write "hello"
      sim:run_until(function() return peer.reason end)
      assert(peer.reason.name == "ECONNRESET")
    end, { faults = { reset = 1 } })
  end)

  it("keeps back what belongs to a host that is cut off", function()
    simulate(1, function(sim)
      local Echo = rw.Protocol:extend "Echo"
      function Echo:data_received(bytes) self.transport:write(bytes) end
      sim:run_app(rw.server("tcp:far.test:7", rw.Factory:for_protocol(Echo)))
      local Client = rw.Protocol:extend "Client"
      function Client:data_received(bytes) self.got = (self.got or "") .. bytes end
      local client = rw.connect("tcp:far.test:7", rw.Factory:for_protocol(Client)):await()
      sim:partition "far.test"
      client.transport:write "hello"
      local ok, failure = pcall(function()
        rw.connect("tcp:far.test:7:timeout=3", rw.Factory:for_protocol(Client)):await()
      end)
      assert(not ok and failure.code == "ETIMEDOUT", failure)
      rw.sleep(10):await()
      assert(not client.got)
      sim:heal "far.test"
      sim:run_until(function() return client.got == "hello" end, 5)
      client.transport:lose_connection()
    end)
  end)

  it("binds a port once, and any port anew", function()
    simulate(1, function(sim)
      local factory = rw.Factory:for_protocol(Peer)
      local a = rw.listen("tcp:127.0.0.1:0", factory):await()
      local b = rw.listen("tcp:127.0.0.1:0", factory):await()
      assert(a.port ~= b.port)
      local port, failure = rw.listen("tcp:127.0.0.1:" .. a.port, factory):peek()
      assert(port and failure.code == "EADDRINUSE")
      failure.handled = true
      a:stop_listening():await()
      b:stop_listening():await()
    end, { allow_errors = true })
  end)
end)
