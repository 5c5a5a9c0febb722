-- SPDX-License-Identifier: MIT
-- What carries TLS: sockets with names of two kinds, pairs in memory; and what is
-- done with a connection that has it: another protocol, another time-out.
local core = require "ropewalk.core"
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local secure = require "spec.support.secure"
local connected, eventually = secure.connected, ends.eventually

local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write(bytes:upper()) end

describe("TLS", function()
  after_each(ends.close)

  for kind, name in pairs {
    ["a socket with a path"] = function() return rw.testing.temp_dir() .. "/socket" end,
    ["an abstract socket"] = function() return "@ropewalk-tls-" .. core.hex_encode(core.random(8)) end,
  } do
    it("goes over " .. kind, function()
      local a, far = connected(Echo, "tls:unix:" .. name())
      assert.equal("1.3", far.transport.tls.version)
      assert.is_true(far.transport.tls.peer_verified)
      assert.equal("unix", a.transport.peer.kind)
      far.transport:write "hello"
      eventually(function() return far:text() == "HELLO" end)
      far.transport:lose_connection()
      assert.is_true(far.ended:await().reason.clean)
    end)
  end

  it("needs a name to expect where the endpoint has none", function()
    local dir = secure.directory()
    local ok, failure = pcall(function()
      rw.connect("tls:unix:" .. dir .. "/none:ca=" .. dir .. "/site.pem", rw.Factory:for_protocol(Echo)):await()
    end)
    assert.is_false(ok)
    assert.truthy(failure.message:find("name=HOST is missing", 1, true), failure.message)
  end)

  it("goes over a pair in memory, by start_tls on both sides", function()
    local dir = secure.directory()
    local context = assert(rw.tls.server_context { cert = dir .. "/site.pem", key = dir .. "/site.key" })
    local Server = Echo:extend "Server"
    function Server:connection_made() assert(self.transport:start_tls { context = context }) end
    local Client = ends.Collector:extend "Client"
    function Client:connection_made()
      assert(self.transport:start_tls { name = "localhost", ca = dir .. "/site.pem" })
      self.transport:write "before the handshake is over"
    end
    local pair = rw.testing.pair(rw.Factory:for_protocol(Server), rw.Factory:for_protocol(Client)):await()
    local client = pair.client
    eventually(function() return client:text() == "BEFORE THE HANDSHAKE IS OVER" end)
    assert.equal("1.3", client.transport.tls.version)
    assert.equal("1.3", pair.server.transport.tls.version)
    local big = ("0123456789abcdef"):rep(65536)
    client.transport:write(big)
    eventually(function() return client.size == 28 + #big end)
    assert.is_true(client:text():sub(29) == big:upper())
    client.transport:lose_connection()
    assert.is_true(client.ended:await().reason.clean)
  end)

  it("fails over a pair whose other side wants none, and both are told", function()
    local Client = ends.Collector:extend "Client"
    function Client:connection_made() assert(self.transport:start_tls { name = "localhost" }) end
    local pair = rw.testing.pair(rw.Factory:for_protocol(Echo), rw.Factory:for_protocol(Client)):await()
    assert.is_false(pair.client.ended:await().reason.clean)
    assert.is_nil(pair.client.transport.tls)
  end)

  it("is refused in a simulation, with a word that says why", function()
    local ok, failure = pcall(rw.testing.simulate, 1, function(sim)
      local rw = require "ropewalk" -- luacheck: ignore 431
      local made, why = rw.tls.client_context { insecurely_trust_anyone = true }
      assert(not made and why.message:find("not possible in a simulation", 1, true), "no context")
      made, why = rw.tls.identity("x", "y")
      assert(not made and why.message:find("not possible in a simulation", 1, true), "no identity")
      rw.server("tcp:echo.test:7", rw.Factory:for_protocol(rw.Protocol))
      sim:note "before the connection"
      rw.connect("tls:echo.test:7", rw.Factory:for_protocol(rw.Protocol)):await()
    end)
    assert.is_false(ok)
    local text = tostring(failure)
    assert.truthy(text:find("TLS is not possible in a simulation", 1, true), text)
  end)

  it("stays when the connection gets another protocol, with what came already", function()
    local Lines, Raw = rw.LineProtocol:extend "Lines", Echo:extend "Raw"
    function Lines:line_received(line)
      self:send_line("going " .. line)
      self.transport:switch_protocol(Raw())
    end
    local a, far = connected(Lines)
    far.transport:write "raw\r\nand the rest"
    eventually(function() return far:text() == "going raw\r\nAND THE REST" end)
    far.transport:write "!"
    eventually(function() return far:text() == "going raw\r\nAND THE REST!" end)
    assert.equal("1.3", a.transport.tls.version)
    far.transport:lose_connection()
    assert.is_true(far.ended:await().reason.clean)
  end)

  it("is part of the peer's time: who is idle is closed, with close_notify", function()
    local _, far = connected(Echo, "tls:tcp:127.0.0.1:0:idle_timeout=150:session_timeout=150")
    for _ = 1, 4 do
      rw.sleep(0.08):await()
      far.transport:write "."
    end
    eventually(function() return far.size == 4 end)
    local began = core.now()
    local reason = far.ended:await().reason
    assert.is_true(reason.clean, reason.message)
    assert.is_true(core.now() - began < 2)
  end)
end)
