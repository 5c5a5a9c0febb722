-- SPDX-License-Identifier: MIT
-- How datagram sockets begin and end, by whoever asks for it.
local eventually = require("spec.support.core").eventually
local rw = require "ropewalk"

local Echo = rw.DatagramProtocol:extend "Echo"
function Echo:datagram_received(bytes, address) self.transport:write(bytes, address) end

local Client = require("spec.support.datagram").Client

local function listen(class)
  return rw.listen("udp:127.0.0.1:0", rw.Factory:for_protocol(class)):await()
end
local function connect(port, class)
  return rw.connect("udp:127.0.0.1:" .. port, rw.Factory:for_protocol(class or Client)):await()
end

describe("A datagram socket", function()
  for _, name in ipairs { "close", "stop_listening", "lose_connection" } do
    it("that listens is closed by its transport's " .. name, function()
      local stopped, factory = 0, rw.Factory:for_protocol(Echo)
      function factory.stop_factory() stopped = stopped + 1 end
      local port = rw.listen("udp:127.0.0.1:0", factory):await()
      local client = connect(port.port)
      client.transport:write "x"
      assert.equal("x", client.more:get():await())
      port.protocol.transport[name](port.protocol.transport)
      client.transport:write "nobody gets this"
      eventually(function() return client.refusals > 0 and stopped == 1 end)
      port:stop_listening():await()
      assert.equal(1, stopped)
      client.transport:lose_connection()
    end)
  end

  it("that listens is not begun twice", function()
    local port = listen(Echo)
    local client = connect(port.port)
    port.protocol.transport:begin()
    client.transport:write "x"
    assert.equal("x", client.more:get():await())
    port:close():await()
    client.transport:write "nobody gets this"
    eventually(function() return client.refusals > 0 end)
    client.transport:lose_connection()
  end)

  it("may be closed by what its argument does", function()
    for _, method in ipairs { "write", "connect" } do
      local transport = connect(9).transport
      local address = setmetatable({ host = "127.0.0.1" }, { __index = function(_, name)
        transport:lose_connection()
        return name == "port" and 9 or nil
      end })
      local done, failure
      if method == "write" then done, failure = transport:write("x", address)
      else done, failure = transport:connect(address) end
      assert.is_nil(done)
      assert.equal("RW_ECLOSED", failure.code)
    end
  end)

  it("that does not start well is no connection", function()
    local P, made = Client:extend "P", nil
    function P:start_protocol()
      made = self
      error "not today"
    end
    local ok, failure = pcall(connect, 9, P)
    assert.is_false(ok)
    assert.matches("not today", tostring(failure))
    assert.is_false(made.transport.connected)
  end)
end)
