-- SPDX-License-Identifier: MIT
-- Our client, and the servers that there are: openssl, GnuTLS, Python. It refuses
-- what it should, and says why.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("A TLS client", function()
  before_each(tls.directory)
  after_each(tls.finish)

  local SITE <const>, RSA <const> = "-cert DIR/site.pem -key DIR/site.key", "-cert DIR/rsa.pem -key DIR/rsa.key"

  local GNUTLS_SERV <const> =
    "gnutls-serv --echo --quiet -p PORT --x509certfile=DIR/site.pem --x509keyfile=DIR/site.key"

  local function has(text, ...)
    for _, each in ipairs { ... } do assert.truthy(text:find(each, 1, true), each .. " is not in:\n" .. text) end
  end

  -- Asks openssl's server for its page.
  local function ask(server, options)
    local client, failure = tls.connect(server.port, options)
    if not client then error(failure, 2) end
    client.transport:write "GET / HTTP/1.0\r\n\r\n"
    return client:await_text "</HTML>", client
  end

  for name, identity in pairs { ["a curve"] = SITE, RSA = RSA } do
    it("speaks each version and suite with openssl and a certificate of " .. name, function()
      local kind = name == "RSA" and "RSA" or "ECDSA"
      for suite, shown in pairs {
        ["-tls1_2 -cipher ECDHE-%s-AES128-GCM-SHA256 -groups X25519:P-256"] = "1.2 AES-128-GCM",
        ["-tls1_2 -cipher ECDHE-%s-AES256-GCM-SHA384 -groups P-256"] = "1.2 AES-256-GCM",
        ["-tls1_2 -cipher ECDHE-%s-CHACHA20-POLY1305 -groups X25519:P-256"] = "1.2 CHACHA20-POLY1305",
        ["-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256 -groups X25519"] = "1.3 AES-128-GCM",
        ["-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384 -groups P-256"] = "1.3 AES-256-GCM",
        ["-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256 -groups P-384"] = "1.3 CHACHA20-POLY1305",
      } do
        local server = tls.s_server(identity .. " " .. suite:format(kind))
        local page, client = ask(server)
        local session = client.transport.tls
        has(page, "Secure Renegotiation IS")
        assert.equal(shown:sub(1, 3), session.version)
        has(session.cipher, (shown:sub(5):gsub("AES%-(%d+)", "AES-%1")))
        assert.truthy(session.peer_verified)
        client.transport:abort_connection()
      end
    end)
  end

  it("speaks with GnuTLS", function()
    for priority, version in pairs { ["+VERS-TLS1.2"] = "1.2", ["+VERS-TLS1.3"] = "1.3" } do
      local server = tls.peer(GNUTLS_SERV .. " --priority=NORMAL:-VERS-ALL:" .. priority)
      local client = assert(tls.connect(server.port))
      assert.equal(version, client.transport.tls.version)
      client.transport:write "hello\n"
      client:await_text "hello"
      client.transport:abort_connection()
    end
  end)

  it("shows its own certificate, when it is asked", function()
    local mine = "ca=DIR/ca.pem:cert=DIR/me.pem:key=DIR/me.key"
    for _, version in ipairs { "-tls1_2", "-tls1_3" } do
      local server = tls.s_server(SITE .. " -CAfile DIR/ca.pem -Verify 1 -verify_return_error " .. version)
      has(ask(server, mine), "Subject: CN=me")
      local ok, failure = pcall(ask, server)
      assert.falsy(ok)
      has(failure.message .. failure.code, version == "-tls1_2" and "handshake_failure" or "")
    end
  end)

  it("agrees on a protocol, or on none", function()
    local server = tls.s_server(SITE .. " -alpn http/1.1")
    for options, agreed in pairs { [":alpn=h2,http/1.1"] = "http/1.1", [""] = "nil" } do
      local found = assert(tls.connect(server.port, "ca=DIR/ca.pem" .. options))
      assert.equal(agreed, tostring(found.transport.tls.alpn))
      found.transport:abort_connection() -- that server has one at a time
    end
    local client, failure = tls.connect(server.port, "ca=DIR/ca.pem:alpn=h2")
    assert.falsy(client)
    has(failure.message, "no_application_protocol")
  end)

  it("takes new tickets and key updates in its stride", function()
    local server = tls.peer(GNUTLS_SERV)
    local client = assert(tls.connect(server.port))
    for i = 1, 3 do
      client.transport:write(i .. "\n")
      client:await_text(i .. "\n")
    end
  end)

  -- Certificates ------------------------------------------------------------------

  -- The failure when a server has this certificate.
  local function refused(name, options, server_options)
    local server = tls.s_server(("-cert DIR/%s.pem -key DIR/%s.key -cert_chain DIR/%s.pem "):format(name, name, name)
      .. (server_options or ""))
    local client, failure = tls.connect(server.port, options)
    assert.falsy(client, name)
    assert.equal("RW_ECERTIFICATE", failure.code, name .. failure.message)
    return failure.message
  end

  it("refuses who is not the one, and says which of the reasons it is", function()
    tls.issue("other", { names = { "example.org", "*.localhost.test" } })
    tls.issue("old", { from = -9, to = -2 })
    tls.issue("early", { from = 2 })
    tls.issue("alone", { ca = false })
    tls.issue("client", { client = true })
    tls.issue("evil", { subject = "CN=Test Authority", names = {}, authority = true, ca = false })
    for name, why in pairs {
      other = "it is for another name", old = "it has expired", early = "it is not valid yet",
      alone = "no trusted authority has signed it", client = "its extended key usage does not allow this",
    } do
      local message = refused(name)
      has(message, "the peer's certificate for localhost is refused", why)
    end
    has(refused("site", "ca=DIR/evil.pem"), "no trusted authority has signed it") -- of the same name
    has(refused("site", "ca=DIR/ca.pem:name=127.0.0.2"), "for 127.0.0.2 is refused: it is for another name")
  end)

  it("follows a chain, and no further than it may", function()
    local middle = tls.issue("middle", { subject = "CN=Middle", names = {}, authority = true })
    tls.issue("leaf", { ca = middle })
    has(refused "leaf", "no trusted authority has signed it") -- the one between is missing
    tls.shell "cat DIR/middle.pem >>DIR/leaf.pem"
    local server = tls.s_server "-cert DIR/leaf.pem -key DIR/leaf.key -cert_chain DIR/leaf.pem"
    assert(tls.connect(server.port))
    -- a certificate of a site signs another one
    local site = { certificate = e2e.read(tls.placed "DIR/site.pem"), key = e2e.read(tls.placed "DIR/site.key") }
    tls.issue("forged", { ca = site })
    tls.shell "cat DIR/site.pem >>DIR/forged.pem"
    has(refused "forged", "no trusted authority has signed it")
  end)

  -- Made by openssl: what ours does not make.
  local function openssl_site(key, digest, extensions, ca)
    local out, status = tls.shell(([[cd DIR &&
      openssl req -newkey %s -nodes -keyout odd.key -subj /CN=localhost -out odd.csr &&
      printf 'subjectAltName=DNS:localhost\n%s\n' >odd.ext &&
      openssl x509 -req -in odd.csr -CA %s.pem -CAkey %s.key -CAcreateserial -%s -days 9 \
        -extfile odd.ext -out odd.pem]])
      :format(key, extensions or "", ca or "ca", ca or "ca", digest))
    assert.equal(0, status, out)
  end

  it("refuses weak keys and signatures, and wrong usages", function()
    openssl_site("rsa:1024", "sha256")
    has(refused("odd", nil, "-cipher ALL:@SECLEVEL=0"), "its key is too weak")
    openssl_site("rsa:2048", "sha1")
    has(refused("odd", nil, "-cipher ALL:@SECLEVEL=0"), "it is signed with a weak hash")
    tls.issue("rsa_ca", { kind = "rsa2048", subject = "CN=RSA", names = {}, authority = true, ca = false })
    openssl_site("rsa:2048", "md5", nil, "rsa_ca")
    has(refused("odd", "ca=DIR/rsa_ca.pem", "-cipher ALL:@SECLEVEL=0"), "cannot be read")
    openssl_site("rsa:2048", "sha256", "keyUsage=critical,cRLSign")
    has(refused "odd", "its key usage does not allow this")
    openssl_site("rsa:2048", "sha256", "1.2.3.4=critical,DER:0500")
    has(refused "odd", "cannot be read")
  end)

  it("refuses the revoked, on either side, and a list that is no more valid", function()
    -- a list with these certificates, made by openssl
    local function revoke(file, days, ...)
      local lines = { ("cd DIR && rm -rf db && mkdir db && : >db/index && echo 01 >db/number && printf '[ca]\n"
        .. "default_ca=x\n[x]\ndatabase=db/index\ncrlnumber=db/number\ndefault_md=sha256\n' >db/config") }
      local command = "openssl ca -config db/config -cert ca.pem -keyfile ca.key "
      for _, name in ipairs { ... } do lines[#lines + 1] = command .. "-revoke " .. name .. ".pem" end
      lines[#lines + 1] = command .. "-gencrl " .. days .. " -out " .. file
      local out, status = tls.shell(table.concat(lines, " && "))
      assert.equal(0, status, out)
    end
    revoke("crl.pem", "-crldays 9", "rsa", "me")
    revoke("old.pem", "-crl_lastupdate 20200101000000Z -crl_nextupdate 20200201000000Z")
    has(refused("rsa", "ca=DIR/ca.pem:crl=DIR/crl.pem"), "it has been revoked")
    has(refused("site", "ca=DIR/ca.pem:crl=DIR/old.pem"), "the revocation list is too old")
    local server = tls.s_server(SITE)
    assert(tls.connect(server.port, "ca=DIR/ca.pem:crl=DIR/crl.pem"))
    local ours = tls.server "cert=DIR/site.pem:key=DIR/site.key:ca=DIR/ca.pem:crl=DIR/crl.pem"
    tls.issue("you", { subject = "CN=you", names = {}, client = true })
    has(tls.s_client(ours, "-cert DIR/you.pem -key DIR/you.key"), "verified=true CN=you")
    assert.falsy(tls.s_client(ours, "-cert DIR/me.pem -key DIR/me.key"):find("echo hello", 1, true))
    ours:await_log "it has been revoked"
    local _, failure = tls.connect(server.port, "ca=DIR/ca.pem:crl=DIR/site.key")
    has(failure.message, "the revocation list cannot be read")
  end)

  it("refuses old versions and suites", function()
    local weak = " -cipher ALL:@SECLEVEL=0 "
    for _, options in ipairs { "-tls1" .. weak, "-tls1_1" .. weak, "-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256",
      "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA", "-tls1_2 -cipher ECDHE-ECDSA-AES128-CCM" } do
      local server = tls.s_server(SITE .. " " .. options)
      local client, failure = tls.connect(server.port)
      assert.falsy(client, options)
      assert.equal("RW_ETLS", failure.code, options)
      assert.truthy(failure.message:find "protocol_version" or failure.message:find "handshake_failure",
        options .. ": " .. failure.message)
    end
    local server = tls.s_server(SITE .. " -tls1_2")
    local client, failure = tls.connect(server.port, "ca=DIR/ca.pem:min=1.3")
    assert.falsy(client)
    has(failure.message, "protocol_version")
  end)
end)
