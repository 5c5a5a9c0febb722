-- SPDX-License-Identifier: MIT
local ends = require "spec.support.ends"
local rw = require "ropewalk"

-- What was known of a connection is known when it is over.
local function hang_up(far)
  far.transport:abort_connection()
  far.ended:await()
end

describe("an address", function()
  after_each(ends.close)

  it("has kind, host, port and text", function()
    local a, far = ends.connected()
    hang_up(far)
    for _, address in ipairs { a.transport.peer, a.transport.host, far.transport.peer } do
      assert.equal("tcp", address.kind)
      assert.equal("127.0.0.1", address.host)
      assert.equal(address.text, "127.0.0.1:" .. address.port)
      assert.equal(address.text, tostring(address))
      assert.is_nil(address.path)
      assert.is_nil(address.via)
    end
  end)

  it("equals that of the same end, seen from the other side", function()
    local a, far = ends.connected()
    hang_up(far)
    assert.is_true(a.transport.peer == far.transport.host)
    assert.is_true(a.transport.host == far.transport.peer)
    assert.is_false(a.transport.host == a.transport.peer)
    assert.is_false(a.transport.host == tostring(a.transport.host))
  end)

  it("cannot be changed", function()
    local a, far = ends.connected()
    hang_up(far)
    assert.has_error(function() a.transport.peer.host = "127.0.0.9" end,
      "an address cannot be changed")
  end)

  it("is the same of datagrams, but for its kind", function()
    local got = {}
    local Listener = rw.DatagramProtocol:extend "Listener"
    function Listener:datagram_received(_, address) got[#got + 1] = address end -- luacheck: ignore 212
    local port = rw.listen("udp:127.0.0.1:0", rw.Factory:for_protocol(Listener)):await()
    local client = rw.connect("udp:127.0.0.1:" .. port.port, rw.Factory:for_protocol(
      rw.DatagramProtocol)):await()
    client.transport:write "one"
    ends.eventually(function() return #got == 1 end)
    local from = got[1]
    assert.equal(client.transport.host, from)
    assert.equal("udp", from.kind)
    assert.equal(client.transport.host.text, from.text)
    assert.is_true(from ~= rw.testing.address(from.host, from.port)) -- which is tcp
    client.transport:lose_connection():await()
    port:stop_listening():await()
  end)

  it("of a double is a real one", function()
    local transport = rw.testing.StringTransport()
    assert.equal("192.0.2.1:54321", tostring(transport.peer))
    assert.is_true(transport.peer == rw.testing.address("192.0.2.1", 54321))
    assert.is_false(transport.peer == transport.host)
  end)
end)
