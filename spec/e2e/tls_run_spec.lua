-- SPDX-License-Identifier: MIT
-- A TLS server at work: reloads, tickets, slow and many handshakes, its files.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("A TLS server at work", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local SITE <const> = "cert=DIR/site.pem:key=DIR/site.key"

  local function has(text, ...)
    for _, each in ipairs { ... } do assert.truthy(text:find(each, 1, true), each .. " is not in:\n" .. text) end
  end

  local function first(child, version)
    local out = tls.s_client(child, ("-tls%s -servername localhost -sess_out DIR/%s"):format(version, version))
    has(out, "resumed=false")
  end

  local function again(child, version)
    return tls.s_client(child, ("-tls%s -servername localhost -sess_in DIR/%s"):format(version, version))
  end

  it("takes tickets of the generation before, unless it asks clients for more", function()
    local child = tls.server(SITE)
    for _, version in ipairs { "1_2", "1_3" } do first(child, version) end
    assert.truthy(child:reload())
    for _, version in ipairs { "1_2", "1_3" } do has(again(child, version), "Reused, ", "resumed=true") end
    local strict = tls.server(SITE .. ":ca=DIR/ca.pem:verify=optional")
    for _, version in ipairs { "1_2", "1_3" } do has(again(strict, version), "New, ", "resumed=false") end
  end)

  it("shares a ticket key with other servers, if it has one", function()
    e2e.write(dir .. "/tickets", ("k"):rep(48))
    local one, other = tls.server(SITE .. ":ticket_key=DIR/tickets"), tls.server(SITE .. ":ticket_key=DIR/tickets")
    for _, version in ipairs { "1_2", "1_3" } do
      first(one, version)
      has(again(other, version), "Reused, ", "resumed=true")
    end
    local strict = tls.server(SITE .. ":ticket_key=DIR/tickets:ca=DIR/ca.pem:verify=optional")
    for _, version in ipairs { "1_2", "1_3" } do has(again(strict, version), "New, ", "resumed=false") end
  end)

  it("takes no ticket of another server name", function()
    tls.issue("more", { names = { "a.example.org", "localhost" } })
    local child = tls.server "cert=DIR/more.pem:key=DIR/more.key"
    for _, version in ipairs { "1_2", "1_3" } do
      for name, seen in pairs { localhost = "resumed=true", ["a.example.org"] = "resumed=false" } do
        first(child, version)
        has(tls.s_client(child, ("-tls%s -servername %s -sess_in DIR/%s"):format(version, name, version)), seen)
      end
    end
  end)

  it("refuses who was revoked since, by a ticket, too, and goes on with who is there", function()
    local revoke = "openssl ca -config db/config -cert ca.pem -keyfile ca.key -crldays 9 "
    local function made(what)
      local out, status = tls.shell("cd DIR && " .. what)
      assert.equal(0, status, out)
    end
    made("mkdir db && : >db/index && echo 01 >db/number && printf '[ca]\ndefault_ca=x\n[x]\ndatabase=db/index\n"
      .. "crlnumber=db/number\ndefault_md=sha256\n' >db/config && " .. revoke .. "-gencrl -out crl.pem")
    local child = tls.server(SITE .. ":ca=DIR/ca.pem:crl=DIR/crl.pem")
    local mine = "-cert DIR/me.pem -key DIR/me.key"
    for _, version in ipairs { "1_2", "1_3" } do
      local options = ("-tls%s -servername localhost -sess_out DIR/%s %s"):format(version, version, mine)
      has(tls.s_client(child, options), "CN=me")
    end
    local open = assert(tls.connect(child.port, "ca=DIR/ca.pem:cert=DIR/me.pem:key=DIR/me.key"))
    open:await_text "CN=me"
    made(revoke .. "-revoke me.pem")
    made(revoke .. "-gencrl -out new.pem && head -c 200 new.pem >crl.pem") -- half of it
    child:await_log "the new authorities are not taken"
    has(tls.s_client(child, mine), "CN=me")
    made "mv new.pem crl.pem"
    child:await_log "the authorities were replaced"
    for _, version in ipairs { "1_2", "1_3" } do
      for _, session in ipairs { "", " -sess_in DIR/" .. version } do
        local out = tls.s_client(child, ("-tls%s -servername localhost %s%s"):format(version, mine, session))
        assert.falsy(out:find("echo hello", 1, true), out)
      end
    end
    child:await_log "it has been revoked"
    open.transport:write "still\n"
    open:await_text "echo still"
    tls.issue("you", { subject = "CN=you", names = {}, client = true })
    has(tls.s_client(child, "-cert DIR/you.pem -key DIR/you.key"), "CN=you")
  end)

  it("gives no tickets, if it is told not to", function()
    local child = tls.server(SITE .. ":tickets=no")
    for _, version in ipairs { "1_2", "1_3" } do
      local out = tls.s_client(child, ("-tls%s -servername localhost -sess_out DIR/%s"):format(version, version))
      assert.falsy(out:find("TLS session ticket:", 1, true), out)
    end
  end)

  it("logs the secrets of sessions for who debugs, as openssl does", function()
    local child = tls.server(SITE .. ":insecurely_log_session_keys_to=DIR/ours")
    for _, version in ipairs { "1_2", "1_3" } do
      tls.s_client(child, ("-tls%s -servername localhost -keylogfile DIR/theirs"):format(version))
    end
    local function lines(name)
      local list = {}
      for line in e2e.read(dir .. "/" .. name):gmatch "[^\n]+" do
        if not line:find "^#" and not line:find "EXPORTER" then list[#list + 1] = line end
      end
      table.sort(list)
      return list
    end
    assert.equal(5, #lines "ours")
    assert.same(lines "theirs", lines "ours")
    assert.equal("600\n", tls.shell "stat -c %a DIR/ours")
  end)

  it("ends handshakes that take too long, and serves others meanwhile", function()
    local child = tls.server(SITE .. ":handshake_timeout=700")
    e2e.python([[
      import ssl
      def hello():
          c = ssl.create_default_context()
          i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
          try: c.wrap_bio(i, o, server_hostname="localhost").do_handshake()
          except ssl.SSLWantReadError: pass
          return o.read()
      def closed(s):
          s.settimeout(PATIENCE)
          try:
              while s.recv(1000): pass
          except ConnectionResetError: pass
      def connect(): return socket.create_connection(("127.0.0.1", PORT))
      silent, slow, stalled, plain = connect(), connect(), connect(), connect()
      began = time.time()
      stalled.sendall(hello()) # and no Finished
      sent = 0
      slow.settimeout(0.05)
      for byte in hello():
          try:
              slow.send(bytes([byte]))
              if not slow.recv(10): break
          except TimeoutError: sent += 1
          except OSError: break
      expect_below(sent, 40 * SLOW)
      for s in (silent, slow, stalled): closed(s)
      expect_below(time.time() - began, 0.7 * 4 * SLOW)
      plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
      closed(plain)
      # a first message of 64 KiB, in many records
      big = connect()
      body = b"\1" + (65535).to_bytes(3, "big") + b"\3\3" + bytes(65533)
      try:
          for at in range(0, len(body), 16000):
              piece = body[at:at + 16000]
              big.sendall(b"\x16\3\1" + len(piece).to_bytes(2, "big") + piece)
      except OSError: pass
      closed(big)
      context = ssl.create_default_context(cafile="]] .. dir .. [[/ca.pem")
      with context.wrap_socket(connect(), server_hostname="localhost") as s:
          s.sendall(b"bye\n")
          while True:
              try:
                  if not s.recv(1000): break
              except ssl.SSLError: break
    ]], child)
    has(child:log(), "limit=handshake_timeout")
  end)

  it("bounds the handshakes that are under way, and serves who comes when they are over", function()
    local child = tls.server(SITE .. ":max_handshakes=20:handshake_timeout=3000")
    e2e.python([[
      import ssl
      def hello():
          c = ssl.create_default_context()
          i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
          try: c.wrap_bio(i, o, server_hostname="localhost").do_handshake()
          except ssl.SSLWantReadError: pass
          return o.read()
      many, first = [], hello()
      for i in range(200):
          s = socket.create_connection(("127.0.0.1", PORT))
          s.sendall(first)
          many.append(s)
      def answered(s):
          s.settimeout(PATIENCE)
          try: return len(s.recv(10)) > 0
          except ConnectionResetError: return False
      expect(sum(answered(s) for s in many), 20)
      context = ssl.create_default_context(cafile="]] .. dir .. [[/ca.pem")
      time.sleep(3.1)
      with context.wrap_socket(socket.create_connection(("127.0.0.1", PORT)), server_hostname="localhost") as s:
          expect(s.recv(5), b"facts")
    ]], child)
    has(child:log(), "limit=max_handshakes")
  end)

  it("says when its certificates expire, and takes new ones while connections go on", function()
    tls.issue("site", { to = 4.5 })
    local child = tls.server(SITE, { listen = [[
function Facts:line_received()
  local stats = rw.stats()
  local c = rw.tls.certificates()[1]
  local days = (stats.tls_certificate_expiry - os.time()) // 86400
  self:send_line(("days %d %d %s %d"):format(days, #rw.tls.certificates(), c.names[1], stats.tls_handshakes))
end
return rw.server(rw.config.at, rw.Factory:for_protocol(Facts))]] })
    has(child:log(), "the certificate expires soon", "days=4")
    e2e.python(([[
      import ssl, shutil, glob
      context = ssl.create_default_context(cafile="DIR/ca.pem")
      def connect():
          s = context.wrap_socket(socket.create_connection(("127.0.0.1", PORT)), server_hostname="localhost")
          s.settimeout(PATIENCE)
          f = s.makefile("rw", newline="\n")
          f.readline()
          return s, f
      def days(f):
          f.write("x\n")
          f.flush()
          return f.readline().split()
      old = [connect() for _ in range(100)]
      expect(days(old[0][1]), ["days", "4", "1", "localhost", "100"])
      serial = old[0][0].getpeercert()["serialNumber"]
      good = open("DIR/rsa.pem").read(), open("DIR/rsa.key").read()
      open("DIR/site.pem", "w").write(good[0][:200]) # half of it
      time.sleep(1.3)
      s, f = connect()
      expect(s.getpeercert()["serialNumber"], serial)
      expect_in(log(), "the new certificate is not taken")
      open("DIR/site.pem", "w").write(good[0])
      open("DIR/site.key", "w").write(good[1])
      until = time.time() + 2 * SLOW
      while True:
          s, f = connect()
          if s.getpeercert()["serialNumber"] != serial: break
          assert time.time() < until
          time.sleep(0.1)
      for _, f in old: expect(days(f)[1], "59")
      os.kill(PID, signal.SIGHUP)
      until = time.time() + 5 * SLOW
      while not "reloaded generation" in log():
          assert time.time() < until
          time.sleep(0.05)
      for _, f in old: expect(days(f)[0], "days")
    ]]):gsub("DIR", dir), child)
  end)
end)
