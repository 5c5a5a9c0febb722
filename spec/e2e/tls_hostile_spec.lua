-- SPDX-License-Identifier: MIT
-- Peers that do not speak TLS, speak it of old, stop in the middle of a word, or
-- put something between.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("TLS with hostile peers", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local SITE <const> = "cert=DIR/site.pem:key=DIR/site.key"

  local function has(text, ...)
    for _, each in ipairs { ... } do assert.truthy(text:find(each, 1, true), each .. " is not in:\n" .. text) end
  end

  local PYTHON <const> = [[
import ssl
DIR = %q
context = ssl.create_default_context(cafile=DIR + "/ca.pem")
def raw(): return socket.create_connection(("127.0.0.1", PORT), PATIENCE)
def c(context=context):
    s = context.wrap_socket(raw(), server_hostname="localhost", suppress_ragged_eofs=False)
    line(s)
    return s
def line(s):
    got = b""
    while not got.endswith(b"\n"):
        more = s.recv(1)
        if not more: raise EOFError(got)
        got += more
    return got
def rest(s):
    got = b""
    try:
        while True:
            more = s.recv(1000)
            if not more: return got
            got += more
    except ConnectionResetError: return got + b"RESET"
]]

  local function python(child, code)
    return e2e.python(PYTHON:format(dir) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  it("offers nothing old: versions, suites, compression", function()
    local child = tls.server(SITE)
    for options, alert in pairs {
      ["-tls1 -cipher ALL:@SECLEVEL=0"] = "alert protocol version",
      ["-tls1_1 -cipher ALL:@SECLEVEL=0"] = "alert protocol version",
      ["-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA"] = "alert handshake failure",
      ["-tls1_2 -cipher AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256"] = "alert handshake failure",
      ["-tls1_2 -cipher ECDHE-ECDSA-AES128-CCM"] = "alert handshake failure",
      ["-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256"] = "alert handshake failure", -- of the other kind of key
      ["-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256"] = "alert handshake failure",
      ["-tls1_3 -groups X448"] = "alert",
      ["-tls1_2 -fallback_scsv"] = "inappropriate fallback",
    } do
      local out = tls.s_client(child, options .. " -servername localhost")
      has(out, alert)
      assert.falsy(out:find("echo", 1, true), out)
    end
    has(tls.s_client(child, "-tls1_2 -comp -servername localhost"), "Compression: NONE", "echo hello")
    child:await_log "TLS failed"
  end)

  it("refuses to negotiate again, and goes on", function()
    local child = tls.server(SITE)
    local out = tls.shell(("(printf 'hello\\n'; sleep 0.3; printf 'R\\n'; sleep 0.5; printf 'bye\\n'; sleep 0.3) | "
      .. "timeout 20 openssl s_client -legacy_renegotiation -tls1_2 -connect 127.0.0.1:%d -CAfile DIR/ca.pem "
      .. "-servername localhost"):format(child.port))
    has(out, "RENEGOTIATING", "echo hello", "Secure Renegotiation IS")
    has(out, "no renegotiation")
    has(tls.s_client(child), "echo bye")
  end)

  it("closes on plain text and garbage, and says so in the log", function()
    local child = tls.server(SITE)
    for _, bytes in ipairs { [[b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"]], [[b"\x80\x2e\x01\x00\x02" + b"\0" * 60]],
      [[b"\x15\x03\x01\x00\x02\x02\x00"]], [[b"\x17\x03\x03\x00\x05hello"]], [[b"\xff" * 3000]] } do
      child:mark()
      python(child, ([[
      s = raw()
      begun = time.time()
      s.sendall(%s)
      expect(len(rest(s)) < 20, True)
      assert time.time() - begun < 2 * SLOW
      time.sleep(1.1) # one line a second
      ]]):format(bytes))
      child:await_log "the client does not speak TLS"
      assert.falsy(child:since():find("lost: done", 1, true))
    end
    -- a first message without end
    child:mark()
    python(child, [[
      s = raw()
      try:
          for _ in range(40): s.sendall(b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + b"\0" * 16380)
      except OSError: pass
      expect(len(rest(s)) < 20, True)
    ]])
    child:await_log "TLS failed"
    has(tls.s_client(child), "echo bye")
  end)

  it("tells a cut stream from its end", function()
    local child = tls.server(SITE)
    for _, version in ipairs { "TLSv1_2", "TLSv1_3" } do
      child:mark()
      python(child, ([[
      context.maximum_version = ssl.TLSVersion.%s
      s = c()
      s.sendall(b"x\n")
      expect(line(s), b"echo x\r\n")
      socket.socket(fileno=s.detach()).close() # no close_notify
      ]]):format(version))
      child:await_log "name=truncated"
      child:mark()
      python(child, ([[
      context.maximum_version = ssl.TLSVersion.%s
      s = c()
      s.sendall(b"x\n")
      line(s)
      s.unwrap().close()
      ]]):format(version))
      child:await_log "lost: "
      assert.falsy(child:since():find("truncated", 1, true), child:since())
    end
  end)

  it("ends its own direction with close_notify, for either side", function()
    local child = tls.server(SITE)
    python(child, [[
      for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
          context.maximum_version = version
          s = c()
          s.sendall(b"bye\n")
          expect(rest(s), b"echo bye\r\n") # raises on a ragged end
          s.close()
    ]])
    -- the peer's end first: what is left to say is still said
    local late = tls.server(SITE, { listen = [[
local Late = rw.Protocol:extend "Late"
function Late:handshake_completed() self.transport:write "ready\n" end
function Late:data_received(bytes) self.asked = (self.asked or "") .. bytes end
function Late:connection_lost(reason) rw.log.info("lost: {code}", { code = reason.code, name = reason.name }) end
function Late:read_connection_lost()
  self.transport:write("you said " .. (self.asked or "nothing"))
  self.transport:lose_connection()
end
return rw.server(rw.config.at, rw.Factory:for_protocol(Late))]] })
    local out = tls.shell(("printf question | timeout 20 gnutls-cli --x509cafile=DIR/ca.pem "
      .. "--verify-hostname=localhost -p %d 127.0.0.1"):format(late.port))
    has(out, "you said question")
    late:await_log "code=done"
  end)

  it("stands handshakes that stop anywhere", function()
    local child = tls.server(SITE, { shell = nil })
    python(child, [[
      def first_flight():
          incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
          session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
          try: session.do_handshake()
          except ssl.SSLWantReadError: pass
          return outgoing.read()
      hello = first_flight()
      open_ones = []
      for cut in range(0, len(hello) + 1, 7):
          s = raw()
          s.sendall(hello[:cut])
          open_ones.append(s)
      # bytes one by one are as good as all at once
      s = raw()
      s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
      for i in range(len(hello)):
          s.sendall(hello[i:i + 1])
      expect(s.recv(1), b"\x16")
      # one bit wrong
      for at in range(0, len(hello), 11):
          s = raw()
          s.sendall(hello[:at] + bytes([hello[at] ^ 0x40]) + hello[at + 1:])
          s.shutdown(socket.SHUT_WR)
          rest(s)
      for s in open_ones: s.close()
      c().close()
    ]])
    has(tls.s_client(child), "echo bye")
  end)

  it("ends a session whose records were touched", function()
    local child = tls.server(SITE)
    python(child, [[
      for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
          context.maximum_version = version
          s = c()
          s.sendall(b"x\n")
          line(s)
          peer = socket.socket(fileno=s.detach())
          peer.settimeout(PATIENCE)
          peer.sendall(b"\x17\x03\x03\x00\x20" + b"\0" * 32)
          got = rest(peer)
          assert got[:1] in (b"\x15", b"\x17"), got # an alert, in 1.3 in disguise
    ]])
    child:await_log "a record was refused"
    has(tls.s_client(child), "echo bye")
  end)
end)
