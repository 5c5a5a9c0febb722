-- SPDX-License-Identifier: MIT
-- TLS behind a PROXY header, both ways; and a server with TLS that stops or reloads
-- while handshakes and sessions are under way.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("TLS behind a PROXY header", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local PYTHON <const> = [[
import ssl
DIR = %q
context = ssl.create_default_context(cafile=DIR + "/ca.pem")
def connect(ahead=b""):
    s = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    s.sendall(ahead)
    return s
def secured(raw): return context.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False)
def line(s):
    got = b""
    while not got.endswith(b"\n"):
        more = s.recv(1)
        if not more: raise EOFError(got)
        got += more
    return got.decode().strip()
]]

  local function python(child, code)
    return e2e.python(PYTHON:format(dir) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  local FACTS <const> = [[
local Facts = rw.LineProtocol:extend "Facts"
function Facts:handshake_completed()
  local peer = self.transport.peer
  self:send_line(("%s via v%s tls %s"):format(peer, peer.via and peer.via.version, self.transport.tls.version))
end
function Facts:line_received(line) self:send_line("echo " .. line) end
return rw.server(rw.config.at, rw.Factory:for_protocol(Facts))]]

  it("knows the address that was said, by either version, in one packet or byte by byte", function()
    local at = tls.placed "tls:proxy:tcp:127.0.0.1:0:cert=DIR/site.pem:key=DIR/site.key"
    local child = e2e.start(FACTS, { set = { at = at } })
    python(child, [[
      v1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n"
      v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\1\xc6\x33\x64\2\3\xe8\1\xbb"
      for version, header in ((1, v1), (2, v2)):
          with secured(connect(header)) as s:
              expect(line(s), "192.0.2.1:1000 via v%d tls 1.3" % version)
              s.sendall(b"x\n")
              expect(line(s), "echo x")
          i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
          try: context.wrap_bio(i, o, server_hostname="localhost").do_handshake()
          except ssl.SSLWantReadError: pass
          raw = connect()
          raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
          for byte in header + o.read(): raw.sendall(bytes([byte]))
          expect(raw.recv(1), b"\x16")
      # TLS first, and the header in it, or none at all: refused
      try:
          secured(connect())
          assert False
      except (ssl.SSLError, ConnectionError): pass
    ]])
    child:await_log "no valid PROXY header"
  end)

  it("sends the header before the handshake, by either version, to a server of ours", function()
    local at = tls.placed "tls:proxy:tcp:127.0.0.1:0:cert=DIR/site.pem:key=DIR/site.key"
    local back = e2e.start(FACTS, { set = { at = at } })
    for version = 1, 2 do
      local to = ("tls:proxy:tcp:127.0.0.1:%d:version=%d:ca=DIR/ca.pem:name=localhost"):format(back.port, version)
      local child = e2e.start([[
local Back = rw.Protocol:extend "Back"
function Back:init(front) self.front = front end
function Back:data_received(bytes) self.front.transport:write(bytes) end
local Front = rw.Protocol:extend "Front"
function Front:connection_made()
  local factory = rw.Factory()
  function factory.build_protocol() return Back(self) end
  local at = rw.endpoint.on_behalf(rw.config.to, { source = "192.0.2.7:77", destination = "192.0.2.8:88" })
  self.back = rw.connect(at, factory):await()
end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Front))]], { set = { to = tls.placed(to) } })
      local line = e2e.talk(child, "print(Client().line())")
      assert.equal(("192.0.2.7:77 via v%d tls 1.3\n"):format(version), line)
    end
  end)

  it("is not what a client of TLS without it gets", function()
    local child = tls.server "cert=DIR/site.pem:key=DIR/site.key"
    python(child, [[
      s = connect(b"PROXY TCP4 192.0.2.1 198.51.100.2 1000 443\r\n")
      try: expect(len(s.recv(100)) < 20, True)
      except ConnectionError: pass
    ]])
    child:await_log "the client does not speak TLS"
  end)
end)

describe("A server with TLS", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local SITE <const> = "cert=DIR/site.pem:key=DIR/site.key"

  local WEB <const> = [[
local site = web.Site()
site:get("/", function() return rw.config.word or "one" end)
site:get("/slow", function() rw.sleep(0.5):await() return ("slow "):rep(20000) end)
return rw.server(rw.config.at, site)]]

  local HELPERS <const> = [[
import ssl
context = ssl.create_default_context(cafile="%s/ca.pem")
def connect(): return socket.create_connection(("127.0.0.1", PORT), PATIENCE)
def secured(raw=None):
    return context.wrap_socket(raw or connect(), server_hostname="localhost", suppress_ragged_eofs=False)
def begun():
    raw = connect()
    i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
    s = context.wrap_bio(i, o, server_hostname="localhost")
    def shake():
        try:
            s.do_handshake()
            return True
        except ssl.SSLWantReadError: return False
    shake()
    raw.sendall(o.read())
    def finish():
        while not shake():
            if o.pending: raw.sendall(o.read())
            got = raw.recv(100000)
            assert got, "closed in the handshake"
            i.write(got)
        raw.sendall(o.read())
        return Session(raw, s, i, o)
    return finish
class Session:
    def __init__(self, raw, s, i, o): self.raw, self.s, self.i, self.o = raw, s, i, o
    def ask(self, path):
        self.s.write(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        self.raw.sendall(self.o.read())
        got = b""
        while True:
            try:
                more = self.s.read(100000)
                if not more: return got
                got += more
            except ssl.SSLWantReadError:
                more = self.raw.recv(100000)
                assert more, "cut: no close_notify"
                self.i.write(more)
            except ssl.SSLZeroReturnError: return got
]]

  local function python(child, code)
    return e2e.python(HELPERS:format(dir) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  for kind, options in pairs { ["a curve"] = SITE, RSA = "cert=DIR/rsa.pem:key=DIR/rsa.key" } do
    it("goes on with handshakes that reloads come into, with a certificate of " .. kind, function()
      local child = tls.server(options, { listen = WEB })
      python(child, [[
      finishers = [begun() for _ in range(20)]
      half = [connect() for _ in range(5)]
      for _ in range(3): expect(reload(), True)
      finishers += [begun() for _ in range(20)]
      expect(reload(), True)
      for finish in finishers: expect_in(finish().ask(b"/"), b"one")
      for s in half: s.close()
      ]])
    end)
  end

  it("stops with grace: answers that are under way come whole, with close_notify; nobody else is let in", function()
    local child = tls.server(SITE, { listen = WEB })
    python(child, [[
      asked, idle, waiting = begun()(), [secured() for _ in range(5)], begun()
      got = []
      t = threading.Thread(target=lambda: got.append(asked.ask(b"/slow")))
      t.start()
      time.sleep(0.2)
      os.kill(PID, signal.SIGTERM)
      for s in idle:
          s.settimeout(PATIENCE)
          expect(s.recv(100), b"") # raises when there is no close_notify
      t.join()
      expect(got[0].count(b"slow "), 20000)
      try:
          secured()
          assert False
      except OSError: pass
    ]])
    assert.truthy(e2e.wait(function() return not child:alive() end, 15), child:log())
  end)
end)
