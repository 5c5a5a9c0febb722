-- SPDX-License-Identifier: MIT
-- TLS with the peers that there are: curl, openssl, Python.
local core = require "ropewalk.core"
local e2e = require "spec.support.e2e"

describe("TLS", function()
  after_each(e2e.finish)

  local DAY <const> = 86400
  local dir, ca, ca_key

  local function made(value, _, why) return assert(value, why) end

  -- Writes NAME.pem and NAME.key: the authority's, unless `wish` says otherwise.
  local function issue(file, wish)
    local now = core.time() // 1
    wish.key = core.tls_make_key(wish.kind or "p256")
    wish.not_before, wish.not_after = now - 40 * DAY, now + (wish.days or 60) * DAY
    if not wish.alone then wish.issuer, wish.issuer_key = ca, ca_key end
    wish.kind, wish.days, wish.alone = nil, nil, nil
    local pem = made(core.tls_make_certificate(wish))
    e2e.write(dir .. "/" .. file .. ".pem", pem)
    e2e.write(dir .. "/" .. file .. ".key", wish.key)
    return pem, wish.key
  end

  before_each(function()
    dir = e2e.directory()
    ca, ca_key = issue("ca", { subject = "CN=Test Authority", authority = true, alone = true })
    issue("site", { names = { "localhost", "127.0.0.1", "*.example.org" } })
  end)

  local function identity(file, more)
    return ("cert=%s/%s.pem:key=%s/%s.key%s"):format(dir, file, dir, file, more or "")
  end

  local SITE <const> = [[
local app = web.Site()
app:get("/", function(request)
  local tls = request.tls
  local peer = tls.peer_certificate
  return ("%s %s %s %s\n"):format(request.scheme, tls.version, tls.alpn, peer and peer.subject)
end)
return rw.server(rw.config.at, app)]]

  local function site(more, limits)
    return e2e.start(SITE, { set = { at = "tls:127.0.0.1:0:" .. identity("site", more) .. (limits or "") } })
  end

  local function curl(child, options, host)
    return e2e.shell(("curl -sS --max-time 10 --cacert %s/ca.pem %s https://%s:%d/ 2>&1")
      :format(dir, options or "", host or "localhost", child.port))
  end

  local function s_client(child, options, input)
    return e2e.shell(("(printf '%s'; sleep 0.5) | timeout 10 openssl s_client "
      .. "-connect 127.0.0.1:%d -CAfile %s/ca.pem %s 2>&1"):format(
      input or "GET / HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n", child.port, dir, options))
  end

  it("serves curl, which checks the name and the authority", function()
    local child = site ":alpn=http/1.1"
    assert.equal(curl(child), "https 1.3 http/1.1 nil\n")
    assert.equal(curl(child, "--tls-max 1.2"), "https 1.2 http/1.1 nil\n")
    assert.equal(curl(child, "--no-alpn"), "https 1.3 nil nil\n")
    local resolve = ("--resolve a.example.org:%d:127.0.0.1 --resolve example.com:%d:127.0.0.1")
      :format(child.port, child.port)
    assert.equal(curl(child, resolve, "a.example.org"), "https 1.3 http/1.1 nil\n")
    assert.truthy(curl(child, resolve, "example.com"):find("no alternative certificate subject name", 1, true))
  end)

  it("serves openssl: both versions, resumed sessions", function()
    local child = site()
    for version, shown in pairs { tls1_2 = "TLSv1.2", tls1_3 = "TLSv1.3" } do
      local session = dir .. "/" .. version
      local first = s_client(child, ("-%s -servername localhost -sess_out %s"):format(version, session))
      assert.truthy(first:find("New, " .. shown, 1, true), first)
      assert.truthy(first:find("Verify return code: 0 (ok)", 1, true), first)
      local again = s_client(child, ("-%s -servername localhost -sess_in %s"):format(version, session))
      assert.truthy(again:find("Reused, " .. shown, 1, true), again)
    end
    local old = s_client(child, "-tls1_1 -cipher ALL:@SECLEVEL=0")
    assert.truthy(old:find("alert protocol version", 1, true), old)
  end)

  it("wants a client's certificate, or takes one", function()
    issue("me", { subject = "CN=me", names = {}, client = true })
    local child = site((":ca=%s/ca.pem"):format(dir))
    local mine = ("--cert %s/me.pem --key %s/me.key"):format(dir, dir)
    assert.truthy(curl(child, mine):find "CN=me")
    assert.truthy(select(2, curl(child)) ~= 0)
    child = site((":ca=%s/ca.pem:verify=optional"):format(dir))
    assert.truthy(curl(child, mine):find "CN=me")
    assert.equal(curl(child), "https 1.3 nil nil\n")
  end)

  it("has a certificate for each name in a directory", function()
    local all = dir .. "/all"
    e2e.shell("mkdir " .. all)
    for name, each in pairs { a = { "a.test" }, b = { "*.b.test" } } do
      issue("all/" .. name, { names = each })
    end
    local child = e2e.start(SITE, { set = { at = "tls:127.0.0.1:0:cert=" .. all } })
    for asked, given in pairs { ["a.test"] = "a.test", ["x.b.test"] = "%*.b.test", ["c.test"] = "a.test" } do
      local out = s_client(child, "-servername " .. asked)
      assert.truthy(out:find("s:CN = " .. given), out)
    end
  end)

  it("asks a hook for names, which may wait, and refuses when it has none", function()
    local child = e2e.start([[
local function read(path) local f = assert(io.open(path)) local t = f:read "a" f:close() return t end
local function choose(hello)
  rw.sleep(0.05):await()
  if hello.server_name == "boom.test" then error "boom" end
  if hello.server_name ~= "localhost" then return nil end
  return rw.tls.identity(read(rw.config.dir .. "/site.pem"), read(rw.config.dir .. "/site.key"))
end
local Echo = rw.Protocol:extend "Echo"
function Echo:handshake_completed() self.transport:write("hello " .. self.transport.tls.version .. "\n") end
return rw.server(rw.tls.over("tcp:127.0.0.1:0", { choose = choose }), rw.Factory:for_protocol(Echo))]],
      { set = { dir = dir }, errors = true })
    local out = s_client(child, "-servername localhost")
    assert.truthy(out:find("hello 1.3", 1, true), out)
    for _, name in ipairs { "other.test", "boom.test" } do
      out = s_client(child, "-servername " .. name)
      assert.truthy(out:find("unrecognized name", 1, true), out)
    end
  end)

  it("has the hook's answer although a reload came between", function()
    for _, policy in ipairs { "next_message", "migrate" } do
      local child = e2e.start(([[
local function read(path) local f = assert(io.open(path)) local t = f:read "a" f:close() return t end
local function choose()
  rw.log.info "asked"
  rw.sleep(0.5):await()
  return rw.tls.identity(read(rw.config.dir .. "/site.pem"), read(rw.config.dir .. "/site.key"))
end
local site, Answer = web.Site(), rw.LineProtocol:extend "Answer"
site:get("/", function() return "served by " .. rw.generation .. "\n" end)
function Answer:line_received() self:send_line("served by " .. rw.generation) end
local factory = "%s" == "migrate" and rw.Factory:for_protocol(Answer) or site
factory.reload_policy = "%s"
return rw.server(rw.tls.over("tcp:127.0.0.1:0", { choose = choose }), factory)]]):format(policy, policy),
        { set = { dir = dir }, args = { "--log-level", "debug" } })
      e2e.python(([[
        import ssl, subprocess, time
        context = ssl.create_default_context(cafile="DIR/ca.pem")
        reload = subprocess.Popen("sleep 0.2; kill -HUP %d", shell=True)
        c = context.wrap_socket(socket.create_connection(("127.0.0.1", %d), 10), server_hostname="localhost")
        time.sleep(0.3)
        c.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        got = b""
        while b"served by " not in got: got += c.recv(1000) or exit("it ended")
        assert b"served by 2" in got, got
      ]]):format(child.pid, child.port):gsub("DIR", dir), child)
      child:await_log "generation freed generation=1"
    end
  end)

  it("gives up slow handshakes, while it serves others", function()
    local child = site("", ":handshake_timeout=1000")
    e2e.python(([[
      import socket, time
      s = socket.create_connection(("127.0.0.1", %d))
      s.sendall(b"\x16\x03\x01\x02\x00\x01")
      s.settimeout(5)
      begun = time.time()
      import subprocess
      print(subprocess.check_output("curl -sS --cacert DIR/ca.pem https://localhost:%d/", shell=True))
      while s.recv(100): pass
      assert 0.5 < time.time() - begun < 3, time.time() - begun
    ]]):format(child.port, child.port):gsub("DIR", dir), child)
    child:await_log "handshake_timeout"
  end)

  it("serves a new certificate soon, and old connections go on", function()
    local child = site()
    issue("new", { names = { "localhost" }, subject = "CN=new" })
    e2e.python(([[
      import socket, ssl, shutil, time, os, signal
      context = ssl.create_default_context(cafile="DIR/ca.pem")
      def open():
          raw = socket.create_connection(("127.0.0.1", PORT_))
          return context.wrap_socket(raw, server_hostname="localhost")
      def ask(c):
          c.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
          answer = c.recv(1000)
          assert answer.startswith(b"HTTP/1.1 200"), answer
      old = open()
      ask(old)
      before = old.getpeercert()["serialNumber"]
      for kind in ("pem", "key"): shutil.copy("DIR/new." + kind, "DIR/site." + kind)
      until = time.time() + 2
      while open().getpeercert()["serialNumber"] == before:
          assert time.time() < until
          time.sleep(0.1)
      ask(old)
    ]]):gsub("DIR", dir):gsub("PORT_", child.port), child)
    child:await_log "the certificate was replaced"
  end)

  -- Connects to Python's ssl, which answers with a line: what the client saw.
  local function ask(certificate, options)
    local child = e2e.start([[
local Client = rw.Protocol:extend "Client"
function Client:data_received(bytes) self.got:callback(bytes) end
local Ask = rw.Protocol:extend "Ask"
function Ask:data_received(to)
  local client, factory = Client(), rw.Factory()
  client.got = rw.Deferred()
  function factory.build_protocol() return client end
  local ok, failure = pcall(function()
    rw.connect("tls:localhost:" .. to:match "%d+" .. rw.config.options, factory):await()
    local tls = client.transport.tls
    client.transport:write "x"
    self.transport:write(tls.version .. " " .. tostring(tls.peer_verified) .. " " .. client.got:await())
  end)
  if not ok then self.transport:write(failure.code .. " " .. failure.message .. "\n") end
  self.transport:lose_connection()
end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Ask))]], { set = { options = options } })
    local code = [[
      import socket, ssl, threading
      context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
      context.load_cert_chain("DIR/NAME.pem", "DIR/NAME.key")
      listener = socket.create_server(("127.0.0.1", 0))
      def serve():
          raw, _ = listener.accept()
          try:
              with context.wrap_socket(raw, server_side=True) as c:
                  c.sendall(c.recv(1) + b"\n")
                  c.recv(1)
          except OSError: pass
      threading.Thread(target=serve, daemon=True).start()
      c = Client().send("%d" % listener.getsockname()[1])
      print(c.line())
    ]]
    return e2e.talk(child, (code:gsub("DIR", dir):gsub("NAME", certificate)))
  end

  it("connects, and refuses the expired, the self-signed, wrong names and authorities", function()
    local trusted = (":ca=%s/ca.pem"):format(dir)
    issue("expired", { names = { "localhost" }, days = -1 })
    issue("alone", { names = { "localhost" }, alone = true })
    issue("wrong", { names = { "example.org" } })
    assert.truthy(ask("site", trusted):find("1.3 true x", 1, true))
    local unchecked = ask("alone", ":insecurely_trust_anyone=yes")
    assert.truthy(unchecked:find("1.3 false x", 1, true), unchecked)
    for name, why in pairs { expired = "expired", alone = "", wrong = "name" } do
      local out = ask(name, trusted)
      assert.truthy(out:find("RW_ECERTIFICATE", 1, true) and out:find(why, 1, true), out)
    end
    assert.truthy(ask("site", ""):find "RW_ECERTIFICATE")
  end)

  it("begins in mid-stream, but not behind plain text that was sent ahead", function()
    local child = e2e.start([[
local site = rw.config.dir .. "/site"
local context = assert(rw.tls.server_context { cert = site .. ".pem", key = site .. ".key" })
local Talk = rw.LineProtocol:extend "Talk"
function Talk:line_received(line)
  if line ~= "STARTTLS" then return self:send_line((self.transport.tls and "secure " or "plain ") .. line) end
  self:send_line "go ahead"
  local ok, failure = self.transport:start_tls { context = context }
  if not ok then rw.log.info("no TLS: {why}", { why = failure.message }) end
end
function Talk:handshake_completed() self:send_line "secured" end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Talk))]], { set = { dir = dir } })
    e2e.python(([[
      import socket, ssl
      def connect(): return socket.create_connection(("127.0.0.1", %d), 5)
      def line(s):
          got = b""
          while not got.endswith(b"\r\n"):
              more = s.recv(1)
              assert more, got
              got += more
          return got
      c = connect()
      c.sendall(b"one\r\nSTARTTLS\r\n")
      expect(line(c), b"plain one\r\n")
      expect(line(c), b"go ahead\r\n")
      c = ssl.create_default_context(cafile="%s/ca.pem").wrap_socket(c, server_hostname="localhost")
      expect(line(c), b"secured\r\n")
      c.sendall(b"two\r\n")
      expect(line(c), b"secure two\r\n")
      for ahead in (b"evil\r\n", b"evi"):
          c = connect()
          c.sendall(b"STARTTLS\r\n" + ahead)
          try:
              while c.recv(100): pass
          except ConnectionResetError: pass
    ]]):format(child.port, dir), child)
    child:await_log "the peer sent plain text ahead of the handshake"
  end)
end)
