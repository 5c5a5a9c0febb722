-- SPDX-License-Identifier: MIT
-- Connecting with a PROXY header: byte for byte, and to Twisted.
local e2e = require "spec.support.e2e"

describe("Connecting through a proxy: endpoint", function()
  after_each(e2e.finish)

  -- A server that hands every connection on, with who is behind it.
  local RELAY <const> = [[
local Back = rw.Protocol:extend "Back"
function Back:init(front) self.front = front end
function Back:data_received(bytes) self.front.transport:write(bytes) end
function Back:connection_lost() self.front.transport:lose_connection() end
local Front = rw.Protocol:extend "Front"
function Front:connection_made()
  local at = rw.config.to
  if rw.config.how ~= "itself" then
    at = rw.endpoint.on_behalf(at, rw.config.how == "given"
      and { source = "[2001:db8::7]:77", destination = "[2001:db8::8]:88" } or self.transport,
      { authority = "example.org", alpn = "h2", unique_id = "id-1" })
  end
  local factory = rw.Factory()
  function factory.build_protocol() return Back(self) end
  self.back = rw.connect(at, factory):await()
end
function Front:data_received(bytes) self.back.transport:write(bytes) end
function Front:connection_lost() if self.back then self.back.transport:lose_connection() end end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Front))]]

  local function relay(to, how) return e2e.start(RELAY, { set = { to = to, how = how } }) end

  it("sends the header: of whom it stands for, of whom it is told, or that it is itself", function()
    local port = e2e.free_port()
    for how, expected in pairs {
      ["itself:version=1"] = [[b"PROXY UNKNOWN\r\n"]],
      ["itself"] = [[b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"]],
      ["transport:version=1"] = [[b"PROXY TCP4 127.0.0.1 127.0.0.1 %d %d\r\n" % (mine, PORT)]],
      ["given:version=1"] = [[b"PROXY TCP6 2001:db8::7 2001:db8::8 77 88\r\n"]],
      ["given"] = [[b"\r\n\r\n\0\r\nQUIT\n\x21\x21" + struct.pack("!H", 36 + 14 + 5 + 7)
        + bytes.fromhex("20010db8000000000000000000000007" "20010db8000000000000000000000008")
        + b"\0\x4d\0\x58\x01\0\2h2\x02\0\x0bexample.org\x05\0\4id-1"]],
    } do
      local word, options = how:match "^(%w+)(.*)$"
      local child = relay("proxy:tcp:127.0.0.1:" .. port .. options, word)
      e2e.talk(child, ([[
        back = socket.create_server(("127.0.0.1", %d))
        c = Client().send("hello")
        mine = c.socket.getsockname()[1]
        got, _ = back.accept()
        wanted = (%s) + b"hello"
        data = b""
        while len(data) < len(wanted): data += got.recv(1000)
        expect(data, wanted)
      ]]):format(port, expected))
      e2e.finish()
    end
  end)

  it("is understood by our own endpoint and by Twisted's", function()
    local site = e2e.start([[
local Tell = rw.Protocol:extend "Tell"
function Tell:connection_made()
  local peer = self.transport.peer
  self.transport:write(("%s %s %s\n"):format(peer, peer.via.authority, peer.via.alpn))
end
return rw.server("proxy:tcp:127.0.0.1:0", rw.Factory:for_protocol(Tell))]])
    local twisted = e2e.directory() .. "/peer.py"
    e2e.write(twisted, [[
import sys
from twisted.internet import endpoints, protocol, reactor
class Tell(protocol.Protocol):
    def dataReceived(self, data): # before the header is there it does not know
        self.transport.write(("%s:%d\n" % (self.transport.getPeer().host, self.transport.getPeer().port)).encode())
endpoints.serverFromString(reactor, "haproxy:tcp:0:interface=127.0.0.1").listen(
    protocol.Factory.forProtocol(Tell)).addCallback(lambda port: print(port.getHost().port, flush=True))
reactor.callLater(60, reactor.stop)
reactor.run()
]])
    local log = e2e.directory() .. "/out"
    local pid = e2e.shell(("/usr/bin/python3 %s >%s 2>&1 & echo $!"):format(twisted, log)):match "%d+"
    local ok, err = pcall(function()
      local port = assert(e2e.wait(function() return e2e.read(log):match "^(%d+)\n" end), e2e.read(log))
      for _, version in ipairs { 1, 2 } do
        local child = relay(("proxy:tcp:127.0.0.1:%s:version=%d"):format(port, version), "transport")
        e2e.talk(child, [[
          with Client() as c:
              expect(c.send("hello").line(), "127.0.0.1:%d" % c.socket.getsockname()[1])
        ]])
      end
    end)
    e2e.shell("kill " .. pid)
    assert(ok, err)
    local child = relay("proxy:tcp:127.0.0.1:" .. site.port, "transport")
    e2e.talk(child, [[
      with Client() as c: expect(c.line(), "127.0.0.1:%d example.org h2" % c.socket.getsockname()[1])
    ]])
  end)
end)
