-- SPDX-License-Identifier: MIT
-- Datagrams: sockets in this process, and real peers.
local e2e = require "spec.support.e2e"
local eventually = require("spec.support.core").eventually
local name_server = require "spec.support.name_server"
local rw = require "ropewalk"

local Echo = rw.DatagramProtocol:extend "Echo"
function Echo:datagram_received(bytes, address) self.transport:write(bytes, address) end

local Client = require("spec.support.datagram").Client

local function listen(class, where)
  return rw.listen(where or "udp:127.0.0.1:0", rw.Factory:for_protocol(class)):await()
end
local function connect(port, class)
  return rw.connect("udp:127.0.0.1:" .. port, rw.Factory:for_protocol(class or Client)):await()
end

describe("A datagram socket", function()
  it("gets datagrams, answers, and knows who is there", function()
    local port = listen(Echo)
    local client = connect(port.port)
    assert.is_true(client.transport:write "hello")
    assert.equal("hello", client.more:get():await())
    assert.is_true(client.transport:write "")
    assert.equal("", client.more:get():await())
    assert.equal("127.0.0.1:" .. port.port, tostring(client.from))
    assert.equal("127.0.0.1", client.from.host)
    assert.equal(port.port, client.from.port)
    assert.equal("udp", client.from.kind)
    assert.equal(port.port, client.transport.peer.port)
    assert.equal("udp", port.address.kind)
    client.transport:lose_connection():await()
    assert.is_false(client.transport.connected)
    local sent, failure = client.transport:write "x"
    assert.is_nil(sent)
    assert.equal("RW_ECLOSED", failure.code)
    port:stop_listening():await()
  end)

  it("sends to addresses as text, as table, as received", function()
    local port, other = listen(Echo), listen(Client)
    local transport, at = other.protocol.transport, "127.0.0.1:" .. port.port
    for _, address in ipairs { at, port.address, { host = "127.0.0.1", port = port.port } } do
      assert.is_true(transport:write("x", address))
      assert.equal("x", other.protocol.more:get():await())
    end
    assert.is_true(transport:write("y", other.protocol.from))
    assert.equal("y", other.protocol.more:get():await())
    for _, address in ipairs { "localhost:1", "127.0.0.1", 5, { host = "::1" }, "unix:/x" } do
      assert.error_matches(function() transport:write("x", address) end, "an address is expected")
    end
    assert.is_true(transport:connect(at))
    assert.is_true(transport:write "z")
    assert.equal("z", other.protocol.more:get():await())
    port:close():await()
    transport:stop_listening():await()
  end)

  it("speaks IPv6, and both on one socket", function()
    local port = listen(Echo, "udp:0")
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local at = "udp:" .. (host == "::1" and "[::1]" or host) .. ":" .. port.port
      local client = rw.connect(at, rw.Factory:for_protocol(Client)):await()
      client.transport:write "x"
      assert.equal("x", client.more:get():await())
      assert.equal(host, client.from.host)
      client.transport:lose_connection()
    end
    port:close():await()
  end)

  it("says what is too long, and drops what is too long", function()
    local port = rw.listen("udp:127.0.0.1:0:max_datagram=100", rw.Factory:for_protocol(Echo)):await()
    local client = connect(port.port)
    local sent, failure = client.transport:write(("x"):rep(70000))
    assert.is_nil(sent)
    assert.equal("EMSGSIZE", failure.code)
    client.transport:write(("x"):rep(101))
    client.transport:write(("x"):rep(100))
    assert.equal(100, #client.more:get():await())
    client.transport:lose_connection()
    port:close():await()
  end)

  it("is told that nobody listens, and goes on", function()
    local port = listen(Echo)
    local number = port.port
    port:close():await()
    local client = connect(number)
    for n = 1, 3 do
      client.transport:write "x"
      eventually(function() return client.refusals >= n end)
    end
    port = listen(Echo, "udp:127.0.0.1:" .. number)
    client.transport:write "again"
    assert.equal("again", client.more:get():await())
    client.transport:lose_connection()
    port:close():await()
  end)

  it("calls its hooks in order, the last one once; one that waits holds up nobody", function()
    local order = {}
    local P = rw.DatagramProtocol:extend "P"
    function P:start_protocol()
      rw.sleep(0.02):await()
      order[#order + 1] = "start"
    end
    function P:datagram_received(bytes, address)
      if bytes == "slow" then rw.sleep(0.02):await() end
      order[#order + 1] = bytes
      self.transport:write(bytes, address)
    end
    function P:stop_protocol() order[#order + 1] = "stop" end
    local port = listen(P)
    local client = connect(port.port)
    client.transport:write "slow"
    client.transport:write "fast"
    assert.equal("fast", client.more:get():await())
    assert.equal("slow", client.more:get():await())
    port:stop_listening():await()
    port:stop_listening():await()
    client.transport:lose_connection()
    rw.sleep(0.01):await()
    assert.same({ "start", "fast", "slow", "stop" }, order)
  end)

  it("lets no more hooks wait than it may, and none outlive the socket", function()
    local waiting, most, ended = 0, 0, 0
    local P = rw.DatagramProtocol:extend "P"
    function P:datagram_received() -- luacheck: ignore 212
      waiting = waiting + 1
      most = math.max(most, waiting)
      local ok, failure = pcall(function() rw.Deferred():await() end)
      if not ok and failure.code == "cancelled" then ended = ended + 1 end
    end
    local port = rw.listen("udp:127.0.0.1:0:max_datagram_tasks=5", rw.Factory:for_protocol(P)):await()
    local client = connect(port.port)
    for _ = 1, 100 do client.transport:write "x" end
    rw.sleep(0.05):await()
    assert.is_true(most >= 5 and most <= 5 + 32)
    port:close():await()
    eventually(function() return ended == waiting end)
    client.transport:lose_connection()
  end)

  it("survives a hook that raises", function()
    local P = rw.DatagramProtocol:extend "P"
    function P:datagram_received(bytes, address)
      if bytes == "bad" then error "no" end
      self.transport:write(bytes, address)
    end
    local port = listen(P)
    local client = connect(port.port)
    client.transport:write "bad"
    client.transport:write "good"
    assert.equal("good", client.more:get():await())
    assert.equal(1, #rw.testing.flush_logged_errors "no")
    client.transport:lose_connection()
    port:close():await()
  end)

  it("joins groups", function()
    local port = rw.listen("udp:0:listen_multiple=true", rw.Factory:for_protocol(Client)):await()
    local transport = port.protocol.transport
    assert.is_true(transport:join_group("239.255.42.42", "127.0.0.1"))
    assert.is_true(transport:join_group("239.255.42.42", "127.0.0.1"))
    assert.is_true(transport:set_loopback_mode(true))
    assert.is_true(transport:set_multicast_ttl(1))
    assert.is_true(transport:set_ttl(5))
    assert.is_true(transport:set_broadcast_allowed(true))
    local sender = listen(rw.DatagramProtocol)
    assert.is_true(sender.protocol.transport:set_outgoing_interface "127.0.0.1")
    sender.protocol.transport:write("all", "239.255.42.42:" .. port.port)
    assert.equal("all", port.protocol.more:get():await())
    assert.is_true(transport:leave_group("239.255.42.42", "127.0.0.1"))
    local left, failure = transport:leave_group("239.255.42.42", "127.0.0.1")
    assert.is_nil(left)
    assert.equal("EADDRNOTAVAIL", failure.code)
    assert.is_nil((transport:join_group "10.0.0.1"))
    assert.error_matches(function() transport:set_option("nosuch", 1) end, "no option")
    port:close():await()
    sender:close():await()
  end)

  it("refuses what cannot be", function()
    local port = listen(Echo)
    local ok, failure = pcall(listen, Echo, "udp:127.0.0.1:" .. port.port)
    assert.is_false(ok)
    assert.matches("EADDRINUSE", tostring(failure))
    ok, failure = pcall(listen, rw.Protocol)
    assert.is_false(ok)
    assert.matches("rw.DatagramProtocol", tostring(failure))
    port:close():await()
  end)
end)

describe("A resolver's peer", function()
  after_each(e2e.finish)

  it("is answered as dig wants it", function()
    local P = rw.DatagramProtocol:extend "P"
    -- One question; one answer, an A record of 192.0.2.1.
    function P:datagram_received(bytes, address)
      local id, flags = string.unpack(">I2I2", bytes)
      local at = 13
      while bytes:byte(at) ~= 0 do at = at + 1 + bytes:byte(at) end
      local question = bytes:sub(13, at + 4)
      self.transport:write(string.pack(">I2I2I2I2I2I2", id, 0x8480 | flags & 0x100, 1, 1, 0, 0) .. question
        .. string.pack(">I2I2I2I4I2BBBB", 0xc00c, 1, 1, 60, 4, 192, 0, 2, 1), address)
    end
    local port = listen(P)
    local file = os.tmpname()
    os.execute(("( dig +short +tries=1 +time=3 @127.0.0.1 -p %d name.example.org A; echo end ) >%s 2>&1 &")
      :format(port.port, file))
    eventually(function() return e2e.read(file):find "end" end)
    assert.equal("192.0.2.1\nend\n", e2e.read(file))
    os.remove(file)
    port:close():await()
  end)
end)

describe("A connected datagram socket, by the name of its peer,", function()
  local server
  setup(function()
    server = name_server.start()
    rw.names.configure { servers = { server.address }, limits = { names_timeout = 2000 } }
  end)
  teardown(function()
    server:stop()
    rw.names.configure {}
  end)

  local function connect_to(host, port, class)
    return rw.connect(("udp:%s:%d"):format(host, port), rw.Factory:for_protocol(class or Client))
  end

  it("goes to the name's address", function()
    local port = listen(Echo)
    for _, host in ipairs { "v4.test", "localhost", "127.0.0.1" } do
      local client = connect_to(host, port.port):await()
      assert.equal("127.0.0.1:" .. port.port, tostring(client.transport.peer))
      client.transport:write(host)
      assert.equal(host, client.more:get():await())
      client.transport:lose_connection():await()
    end
    port:close():await()
  end)

  it("fails as a lookup does, and has not begun then", function()
    local begun = 0
    local Never = Client:extend "Never"
    function Never:start_protocol() begun = begun + 1 end -- luacheck: ignore 212
    local ok, failure = pcall(function() return connect_to("missing.test", 9, Never):await() end)
    assert.is_false(ok)
    assert.equal("name_not_found", failure.code)
    assert.equal(0, begun)
  end)

  it("can be cancelled while the name is looked up", function()
    local d = connect_to("silent.test", 9)
    d:cancel()
    local ok, failure = pcall(d.await, d)
    assert.is_false(ok)
    assert.equal("cancelled", failure.code)
  end)
end)
