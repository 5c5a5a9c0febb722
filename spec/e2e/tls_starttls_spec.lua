-- SPDX-License-Identifier: MIT
-- TLS in mid-stream: what somebody put behind STARTTLS, in plain text, is never
-- taken for what the peer said under TLS (CVE-2011-0411 and its kin), in neither
-- direction and however the bytes are cut.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("STARTTLS", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local PYTHON <const> = [[
import ssl
context = ssl.create_default_context(cafile=%q + "/ca.pem")
def raw():
    s = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s
def line(s):
    got = b""
    while not got.endswith(b"\r\n"):
        more = s.recv(1)
        if not more: raise EOFError(got)
        got += more
    return got[:-2]
def rest(s):
    got = b""
    try:
        while True:
            more = s.recv(1000)
            if not more: return got
            got += more
    except (ConnectionResetError, ssl.SSLError): return got
def secure(s): return context.wrap_socket(s, server_hostname="localhost")
]]

  local function python(child, code)
    return e2e.python(PYTHON:format(dir) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  -- Says what it got and how; may wait before TLS begins.
  local SERVER <const> = [[
local site = rw.config.dir .. "/site"
local context = assert(rw.tls.server_context { cert = site .. ".pem", key = site .. ".key" })
local Talk = rw.LineProtocol:extend "Talk"
function Talk:line_received(line)
  rw.log.info("{how} line: {line}", { how = self.transport.tls and "secure" or "plain", line = line })
  if line ~= "STARTTLS" then return self:send_line("got " .. line) end
  self:send_line "go ahead"
  if rw.config.wait then rw.sleep(rw.config.wait + 0.0):await() end
  local ok, failure = self.transport:start_tls { context = context }
  if not ok then rw.log.info("no TLS: {why}", { why = failure.message }) end
end
function Talk:handshake_completed() self:send_line "secured" end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Talk))]]

  local function never_taken(child, count)
    assert.falsy(child:log():find("line: evil", 1, true), child:log())
    local refused = select(2, child:log():gsub("no TLS: ", ""))
    assert.truthy(refused >= count, child:log())
  end

  it("refuses what came in the same piece, complete or begun", function()
    local child = e2e.start(SERVER, { set = { dir = dir } })
    python(child, [[
      for ahead in (b"evil\r\n", b"e", b"evil", b"\r\n", b"evil\r\nevil\r\n", b"\x16\x03\x01", b"\0" * 500):
          s = raw()
          s.sendall(b"STARTTLS\r\n" + ahead)
          got = rest(s)
          assert got in (b"", b"go ahead\r\n"), got
      # and does its work
      s = raw()
      s.sendall(b"STARTTLS\r\n")
      expect(line(s), b"go ahead")
      s = secure(s)
      expect(line(s), b"secured")
      s.sendall(b"good\r\n")
      expect(line(s), b"got good")
    ]])
    never_taken(child, 7)
    child:await_log "secure line: good"
  end)

  it("refuses what came while the script made ready", function()
    local child = e2e.start(SERVER, { set = { dir = dir, wait = "0.2" } })
    python(child, [[
      for ahead in (b"evil\r\n", b"e", b"evil\r\n" * 1000):
          s = raw()
          s.sendall(b"STARTTLS\r\n")
          expect(line(s), b"go ahead")
          s.sendall(ahead)
          expect(rest(s), b"")
      s = raw()
      s.sendall(b"STARTTLS\r\n")
      expect(line(s), b"go ahead")
      time.sleep(0.4)
      s = secure(s)
      expect(line(s), b"secured")
    ]])
    never_taken(child, 0)
  end)

  it("refuses what comes where the handshake should, at every cut", function()
    local child = e2e.start(SERVER, { set = { dir = dir } })
    python(child, [[
      text = b"evil\r\nevil\r\n"
      for cut in range(1, len(text)):
          s = raw()
          s.sendall(b"STARTTLS\r\n")
          expect(line(s), b"go ahead")
          s.sendall(text[:cut])
          s.sendall(text[cut:])
          got = rest(s)
          assert len(got) < 20 and b"got" not in got, got
      # in front of a good handshake
      incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
      session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
      try: session.do_handshake()
      except ssl.SSLWantReadError: pass
      hello = outgoing.read()
      for ahead in (b"evil\r\n", b"\r\n"):
          s = raw()
          s.sendall(b"STARTTLS\r\n")
          expect(line(s), b"go ahead")
          s.sendall(ahead + hello)
          got = rest(s)
          assert len(got) < 20, got
    ]])
    assert.falsy(child:log():find("line: evil", 1, true), child:log())
  end)

  it("does not lose a handshake that comes at once, or byte by byte", function()
    local child = e2e.start(SERVER, { set = { dir = dir } })
    python(child, [[
      s = raw()
      s.sendall(b"STARTTLS\r\n")
      expect(line(s), b"go ahead")
      incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
      session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
      while True:
          try: session.do_handshake()
          except ssl.SSLWantReadError: pass
          else: break
          for b in outgoing.read(): s.sendall(bytes([b]))
          incoming.write(s.recv(5000))
      for b in outgoing.read(): s.sendall(bytes([b]))
      while True:
          try: expect(session.read(100), b"secured\r\n")
          except ssl.SSLWantReadError: incoming.write(s.recv(5000))
          else: break
    ]])
  end)

  it("calls a second one a mistake of the script", function()
    local child = e2e.start(SERVER, { set = { dir = dir }, errors = true })
    python(child, [[
      s = raw()
      s.sendall(b"STARTTLS\r\n")
      line(s)
      s = secure(s)
      expect(line(s), b"secured")
      s.sendall(b"STARTTLS\r\n")
      expect(line(s), b"go ahead")
      rest(s)
    ]])
    child:await_log "start_tls: it speaks TLS already"
  end)

  it("refuses, as a client, what a server's answer drags behind it", function()
    -- a server in Python; the client is told its port and says how it fared
    local child = e2e.start([[
local Client = rw.LineProtocol:extend "Client"
function Client:line_received(line)
  rw.log.info("{how} line: {line}", { how = self.transport.tls and "secure" or "plain", line = line })
  if line ~= "go ahead" then return end
  local ok, failure = self.transport:start_tls { name = "localhost", ca = rw.config.dir .. "/ca.pem" }
  if not ok then rw.log.info("no TLS: {why}", { why = failure.message }) end
end
function Client:connection_made() self:send_line "STARTTLS" end
function Client:handshake_completed() self:send_line "secured" end
function Client:connection_lost() rw.log.info "over" end
local Ask = rw.LineProtocol:extend "Ask"
function Ask:line_received(port)
  rw.connect("tcp:127.0.0.1:" .. port, rw.Factory:for_protocol(Client)):await()
end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Ask))]], { set = { dir = dir } })
    python(child, ([[
      server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
      server.load_cert_chain("DIR/site.pem", "DIR/site.key")
      listener = socket.create_server(("127.0.0.1", 0))
      listener.settimeout(PATIENCE)
      asking = raw()
      def begin(answer):
          asking.sendall(b"%d\r\n" % listener.getsockname()[1])
          s, _ = listener.accept()
          s.settimeout(PATIENCE)
          expect(line(s), b"STARTTLS")
          s.sendall(answer)
          return s
      for ahead in (b"evil\r\n", b"e"):
          rest(begin(b"go ahead\r\n" + ahead))
      s = begin(b"go ahead\r\n")
      s.recv(1) # the handshake has begun; no plain text any more
      s.sendall(b"evil\r\n")
      rest(s)
      s = server.wrap_socket(begin(b"go ahead\r\n"), server_side=True)
      expect(line(s), b"secured")
      s.sendall(b"good\r\n")
      s.close()
    ]]):gsub("DIR", dir))
    child:await_log "secure line: good"
    never_taken(child, 2)
  end)
end)
