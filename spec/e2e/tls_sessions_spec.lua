-- SPDX-License-Identifier: MIT
-- Our client goes on with earlier sessions, of openssl, GnuTLS and ours, and with none
-- that a full handshake of its own would not have made.
local e2e = require "spec.support.e2e"
local rw = require "ropewalk"
local tls = require "spec.support.tls"

describe("A TLS client that comes back", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local SITE <const> = "-cert DIR/site.pem -key DIR/site.key -cert_chain DIR/ca.pem"
  local OURS <const> = "cert=DIR/site.pem:key=DIR/site.key"

  local function has(text, ...)
    for _, each in ipairs { ... } do assert.truthy(text:find(each, 1, true), each .. " is not in:\n" .. text) end
  end

  -- One connection to the end of what the server says first: that, and our `transport.tls`.
  local function visit(port, options, host, wanted)
    local client, failure = tls.connect(port, options, host)
    if not client then error(failure, 2) end
    if wanted == "</HTML>" then client.transport:write "GET / HTTP/1.0\r\n\r\n" end
    local text = client:await_text(wanted or "\n")
    local session = client.transport.tls
    client.transport:abort_connection()
    return text, session
  end
  local function page(server, options, host) return visit(server.port, options, host, "</HTML>") end

  local NGINX <const> = [[
daemon off; master_process off; pid nginx.pid; error_log stderr;
events {}
http {
  access_log off;
  server {
    listen 127.0.0.1:PORT ssl;
    ssl_certificate site.pem; ssl_certificate_key site.key;
    ssl_protocols TLSvVERSION; ssl_session_tickets TICKETS;
    return 200 "$ssl_session_reused $ssl_protocol\n</HTML>";
  }
}]]

  local function nginx(version, tickets)
    local words = { VERSION = version, TICKETS = tickets, PORT = e2e.free_port() }
    e2e.write(dir .. "/nginx.conf", (NGINX:gsub("%u%u%u%u+", words)))
    return tls.peer("nginx -p DIR -e stderr -c DIR/nginx.conf", words.PORT)
  end

  local function same_peer(one, other)
    assert.truthy(one.peer_verified and other.peer_verified)
    assert.same(one.peer_certificate, other.peer_certificate)
    for _, what in ipairs { "version", "cipher", "alpn" } do assert.equal(one[what], other[what]) end
  end

  it("resumes sessions of TLS 1.3 with openssl, and knows the peer as before", function()
    for _, more in ipairs { "", "-groups P-384", "-ciphersuites TLS_AES_256_GCM_SHA384 -num_tickets 1",
      "-alpn http/1.1" } do
      local server = tls.s_server(SITE .. " -tls1_3 " .. more)
      local options = "ca=DIR/ca.pem:alpn=http/1.1"
      local before = rw.stats()
      local text, first = page(server, options)
      has(text, "New, TLSv1.3")
      assert.falsy(first.resumed)
      assert.equal(2, #first.peer_certificate.chain)
      for _ = 1, 4 do
        local again, session = page(server, options)
        has(again, "Reused, TLSv1.3")
        assert.truthy(session.resumed)
        same_peer(first, session)
      end
      local stats = rw.stats()
      assert.equal(5, stats.tls_client_handshakes - before.tls_client_handshakes)
      assert.equal(4, stats.tls_client_resumed - before.tls_client_resumed)
    end
  end)

  it("resumes those of TLS 1.2, whose tickets serve more than once", function()
    local server = tls.s_server(SITE .. " -tls1_2")
    local text, first = page(server)
    has(text, "New, TLSv1.2")
    for _ = 1, 4 do -- that server gives no new ones in a resumption
      local again, session = page(server)
      has(again, "Reused, TLSv1.2")
      assert.truthy(session.resumed)
      same_peer(first, session)
    end
  end)

  it("shakes hands in full with openssl that gives no tickets, or has no state for them", function()
    for _, more in ipairs { "-tls1_2 -no_ticket", "-tls1_3 -num_tickets 0", "-tls1_3 -no_ticket -num_tickets 0" } do
      local server = tls.s_server(SITE .. " " .. more)
      for _ = 1, 3 do
        local text, session = page(server)
        has(text, "New, TLSv1")
        assert.falsy(session.resumed)
        assert.truthy(session.peer_verified)
      end
    end
    local server = tls.s_server(SITE .. " -tls1_3 -no_ticket") -- what it gives names a state of its own
    assert.falsy(select(2, page(server)).resumed)
    has(page(server), "Reused, TLSv1.3")
  end)

  it("resumes those of a server that takes early data, and sends it none", function()
    local server = tls.peer("openssl s_server -accept 127.0.0.1:PORT " .. SITE
      .. " -tls1_3 -early_data -max_early_data 16384")
    for i = 1, 4 do
      local client = assert(tls.connect(server.port))
      client.transport:write(("hello %d\n"):format(i))
      server:expect("hello " .. i)
      assert.equal(i > 1, client.transport.tls.resumed)
      client.transport:lose_connection()
    end
    local text = server.text[1]
    assert.equal(3, select(2, text:gsub("Reused session%-id", "")), text)
    assert.equal(4, select(2, text:gsub("No early data received", "")), text)
  end)

  it("shakes hands in full when the ticket is refused, and goes on with the new one", function()
    for _, version in ipairs { "1_2", "1_3" } do
      local server = tls.s_server(SITE .. " -tls" .. version)
      local _, first = page(server)
      assert.truthy(select(2, page(server)).resumed)
      server.process:kill_group()
      server:wait "ended"
      -- the same once more, whose keys for tickets are new ones
      server = tls.peer(("openssl s_server -www -accept 127.0.0.1:%d %s -tls%s"):format(server.port, SITE, version),
        server.port)
      local text, session = page(server)
      has(text, "New, TLSv1")
      assert.falsy(session.resumed)
      same_peer(first, session)
      has(page(server), "Reused, TLSv1")
    end
  end)

  it("resumes those of nginx, if it gives tickets", function()
    if e2e.shell "command -v nginx" == "" then return pending "nginx is not installed" end
    for _, version in ipairs { "1.2", "1.3" } do
      for _, tickets in ipairs { "on", "off" } do
        local server = nginx(version, tickets)
        for i = 1, 4 do
          local text, session = page(server)
          local resumed = tickets == "on" and i > 1
          has(text, (resumed and "r" or ".") .. " TLSv" .. version)
          assert.equal(resumed, session.resumed)
          assert.truthy(session.peer_verified)
        end
      end
    end
  end)

  it("resumes those of GnuTLS", function()
    for version, priority in pairs { ["1.2"] = "VERS-TLS1.2", ["1.3"] = "VERS-TLS1.3" } do
      local server = tls.peer("gnutls-serv --echo --quiet -p PORT --x509certfile=DIR/site.pem "
        .. "--x509keyfile=DIR/site.key --priority=NORMAL:-VERS-ALL:+" .. priority)
      for i = 1, 3 do
        local client = assert(tls.connect(server.port))
        client.transport:write "hello\n"
        client:await_text "hello"
        assert.equal(version, client.transport.tls.version)
        assert.equal(i > 1, client.transport.tls.resumed)
        client.transport:lose_connection()
      end
    end
  end)

  it("resumes those of our server, which knows the client as before, too", function()
    for _, verify in ipairs { "required", "optional" } do
      local server = tls.server(OURS .. ":ca=DIR/ca.pem:verify=" .. verify)
      local options = "ca=DIR/ca.pem:cert=DIR/me.pem:key=DIR/me.key"
      local facts, first = visit(server.port, options)
      has(facts, "resumed=false verified=true CN=me")
      for _ = 1, 4 do
        local again, session = visit(server.port, options)
        assert.equal(facts:gsub("resumed=false", "resumed=true"), again)
        assert.truthy(session.resumed)
        same_peer(first, session)
      end
    end
  end)

  it("shakes hands in full when our server has got another secret for its tickets", function()
    e2e.write(dir .. "/secret", ("one"):rep(20))
    local server = tls.server(OURS .. ":ticket_key=DIR/secret")
    local function resumed() return (select(2, visit(server.port)).resumed) end
    assert.falsy(resumed())
    assert.truthy(server:reload())
    for _ = 1, 2 do assert.truthy(resumed()) end
    e2e.write(dir .. "/secret", ("two"):rep(20))
    assert.truthy(server:reload())
    assert.falsy(resumed())
    for _ = 1, 2 do assert.truthy(resumed()) end
  end)

  it("resumes none that another client, or another server, has left", function()
    tls.issue("you", { subject = "CN=you", names = {}, client = true })
    tls.issue("stranger", { subject = "CN=Stranger", names = {}, authority = true, ca = false })
    e2e.write(dir .. "/both.pem", e2e.read(dir .. "/ca.pem") .. e2e.read(dir .. "/stranger.pem"))
    local out, status = tls.shell([[cd DIR && mkdir db && : >db/index && echo 01 >db/number &&
      printf '[ca]\ndefault_ca=x\n[x]\ndatabase=db/index\ncrlnumber=db/number\ndefault_md=sha256\n' >db/config &&
      openssl ca -config db/config -cert ca.pem -keyfile ca.key -crldays 9 -gencrl -out crl.pem]])
    assert.equal(0, status, out)
    local server = tls.server(OURS .. ":alpn=http/1.1,h2")
    local variants = { "ca=DIR/ca.pem", "ca=DIR/both.pem", "ca=DIR/ca.pem:crl=DIR/crl.pem",
      "ca=DIR/ca.pem:cert=DIR/me.pem:key=DIR/me.key", "ca=DIR/ca.pem:cert=DIR/you.pem:key=DIR/you.key",
      "ca=DIR/ca.pem:alpn=h2", "ca=DIR/ca.pem:alpn=h2,http/1.1", "ca=DIR/ca.pem:min=1.3",
      "ca=DIR/ca.pem:name=127.0.0.1" }
    local function resumed(options, port) return (select(2, visit(port or server.port, options)).resumed) end
    for i, options in ipairs(variants) do
      for _, each in ipairs(variants) do -- those before have left some, those behind have not
        if each == options then break end
        assert.truthy(resumed(each), each)
      end
      assert.falsy(resumed(options), options .. " finds what others have left")
      assert.truthy(resumed(options), i .. options)
    end
    -- the same words, but the file says something else
    e2e.write(dir .. "/ca.pem", e2e.read(dir .. "/both.pem"))
    assert.falsy(resumed "ca=DIR/ca.pem:alpn=h2")
    assert.truthy(resumed "ca=DIR/ca.pem:alpn=h2")
    -- who looks at nothing, or does not want to
    for _, options in ipairs { "insecurely_trust_anyone=yes", "ca=DIR/ca.pem:tickets=no" } do
      for _ = 1, 2 do assert.falsy(resumed(options)) end
    end
    assert.falsy(resumed(variants[1], tls.server(OURS).port))
  end)

  it("looks at the certificate of a server that has changed", function()
    local server = tls.server(OURS)
    local _, first = visit(server.port)
    assert.truthy(select(2, visit(server.port)).resumed)
    server:stop()
    local at = ("127.0.0.1:%d"):format(server.port)
    tls.issue("other", { names = { "other.example" } })
    local function replaced_by(name)
      return tls.peer(("openssl s_server -www -accept %s -cert DIR/%s.pem -key DIR/%s.key"):format(at, name, name),
        server.port)
    end
    local other = replaced_by "other"
    local client, failure = tls.connect(server.port)
    assert.falsy(client)
    has(failure.message, "it is for another name")
    other.process:kill_group()
    other:wait "ended"
    replaced_by "rsa"
    local text, session = visit(server.port, nil, nil, "</HTML>")
    has(text, "New, TLSv1.3")
    assert.falsy(session.resumed)
    assert.not_equal(first.peer_certificate.fingerprint, session.peer_certificate.fingerprint)
  end)

  it("comes back after a reload, too, and in mid-stream", function()
    local server = tls.server(OURS)
    local child = e2e.start([[
local Once = rw.LineProtocol:extend "Once"
function Once:line_received(line)
  self.transport:lose_connection()
  self.factory.seen:callback(line .. " client=" .. tostring(self.transport.tls.resumed))
end
local Late = Once:extend "Late"
function Late:connection_made() self.transport:start_tls { name = "localhost", ca = rw.config.dir .. "/ca.pem" } end
local Asked = rw.LineProtocol:extend "Asked"
function Asked:line_received(where)
  local factory = rw.Factory:for_protocol(where:find "^tls" and Once or Late)
  factory.seen = rw.Deferred()
  rw.connect(where, factory):await()
  self:send_line(factory.seen:await() .. " resumed=" .. rw.stats().tls_client_resumed)
end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Asked))]], { set = { dir = dir } })
    local function ask(where)
      return (e2e.python(([[
        s = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
        s.sendall(b"%s\r\n")
        print(s.makefile().readline())]]):format(where), child))
    end
    local secure = ("tls:localhost:%d:ca=%s/ca.pem"):format(server.port, dir)
    has(ask(secure), "resumed=false", "client=false resumed=0")
    has(ask(secure), "resumed=true", "client=true resumed=1")
    assert.truthy(child:reload())
    has(ask(secure), "resumed=true", "client=true resumed=2")
    has(ask("tcp:localhost:" .. server.port), "resumed=true", "client=true resumed=3")
  end)
end)
