-- SPDX-License-Identifier: MIT
-- ACME, against an authority of our own (spec/support/acme_server.lua) that checks
-- all with openssl and curl; and curl as the one that is served in the end.
local acme = require "spec.support.acme"
local e2e = require "spec.support.e2e"
local rw = require "ropewalk"

describe("ACME", function()
  after_each(e2e.finish)

  local THERE <const> = "the certificate is there"

  it("orders a certificate with TLS-ALPN-01, which curl accepts; other names are refused", function()
    local authority = acme.authority { ["do"] = { challenge = { { slow = 1 } } } }
    local site = acme.site(authority, "a.test,b.test")
    assert.truthy(acme.curl(site, "a.test"):find("unrecognized name", 1, true)) -- not yet
    site:await_log(THERE, 30)
    assert.equal("hello\n", acme.curl(site, "a.test"))
    assert.equal("hello\n", acme.curl(site, "b.test"))
    assert.truthy(acme.curl(site, "c.test"):find("unrecognized name", 1, true))
    local listed = acme.curl(site, "a.test/certificates")
    assert.truthy(listed:find('"names":["a.test","b.test"]', 1, true), listed)
    local facts = authority:facts()
    assert.same({}, facts.violations)
    assert.same({ 1, 1, 1 }, { facts.accounts, facts.orders, facts.certificates })
    assert.same({ "tls-alpn-01 a.test", "tls-alpn-01 b.test" }, facts.validated)
    assert.same({ "mailto:me@example.org" }, facts.contacts)
    assert.equal("", (e2e.shell(("find %s ! -perm /077 -o -print"):format(site.store))), "others may read it")
    assert.equal("", (e2e.shell(("ls %s | grep challenge"):format(site.store))))
  end)

  it("takes what is stored when it starts again, and the account for other names", function()
    local authority = acme.authority()
    local site = acme.site(authority, "a.test")
    site:await_log(THERE, 30)
    site:stop()
    local again = acme.site(authority, "a.test", { store = site.store })
    assert.equal("hello\n", acme.curl(again, "a.test"))
    again:stop()
    local other = acme.site(authority, "a.test,b.test", { store = site.store })
    other:await_log(THERE, 30)
    assert.equal("hello\n", acme.curl(other, "b.test"))
    local facts = authority:facts()
    assert.same({ 1, 2 }, { facts.accounts, facts.orders })
    other:stop() -- and without a contact: an empty list, not an object
    local nobody = acme.site(authority, "d.test", { store = site.store, script = [[
return rw.server(rw.acme.over("tcp:127.0.0.1:" .. rw.config.port, { hosts = { "d.test" }, store = rw.config.store,
  directory = rw.config.directory, directory_ca = rw.config.ca }), web.Site())]] })
    nobody:await_log(THERE, 30)
    assert.truthy(e2e.curl("--cacert", authority.ca, authority.base .. "/facts"):find('"contacts":[]', 1, true))
    nobody:stop()
    -- the authority forgets all
    authority:control { forget = true }
    local later = acme.site(authority, "c.test", { store = site.store })
    later:await_log(THERE, 30)
    assert.equal(2, authority:facts().accounts)
    assert.same({}, authority:facts().violations)
  end)

  it("answers HTTP-01 on a port of its own, which sends others to HTTPS", function()
    local authority = acme.authority { kinds = { "http-01" } }
    local site = acme.site(authority, "a.test",
      { more = ":http01=" .. rw.endpoint.escape("tcp:127.0.0.1:" .. authority.http_port) })
    site:await_log(THERE, 30)
    assert.equal("hello\n", acme.curl(site, "a.test"))
    assert.same({ "http-01 a.test" }, authority:facts().validated)
    local plain = ("http://127.0.0.1:%d"):format(authority.http_port)
    local function head(...) return (e2e.curl("-i", "--path-as-is", ...)) end
    local answer = head(plain .. "/x?y=1", "-H", "Host: a.test")
    assert.truthy(answer:find "^HTTP/1.1 308", answer)
    assert.truthy(answer:find("ocation: https://a.test/x?y=1\r\n", 1, true), answer)
    assert.truthy(head(plain .. "/x", "-H", "Host: evil.test"):find "^HTTP/1.1 404")
    for _, token in ipairs { "nothing", "a.test.pem", "%2e%2e%2fa.test.pem", "..", ("x"):rep(300) } do
      assert.truthy(head(plain .. "/.well-known/acme-challenge/" .. token, "-H", "Host: x.test")
        :find "^HTTP/1.1 404", token)
    end
  end)

  it("answers HTTP-01 with the script's own site", function()
    local authority = acme.authority { kinds = { "http-01" } }
    local site = acme.site(authority, "a.test", { more = ":http01=yes", set = { http = authority.http_port },
      script = [[
local site = web.Site()
site:get("/", function() return "hello\n" end)
local plain = web.Site()
plain:mount("/.well-known/acme-challenge", rw.acme.http01_resource(rw.config.store))
return { rw.server("tcp:127.0.0.1:" .. rw.config.http, plain), rw.server(rw.config.at, site) }]] })
    site:await_log(THERE, 30)
    assert.same({ "http-01 a.test" }, authority:facts().validated)
  end)

  it("renews at two thirds of a life, while connections go on", function()
    local authority = acme.authority { life = e2e.sanitized and 30 or 12 }
    local site = acme.site(authority, "a.test")
    site:await_log(THERE, 30)
    site:mark()
    e2e.python(([[
      import ssl, socket, time
      context = ssl.create_default_context(cafile="%s")
      def connect():
          s = context.wrap_socket(socket.create_connection(("127.0.0.1", %d)), server_hostname="a.test")
          s.settimeout(10)
          return s
      def ask(s):
          s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
          answer = b""
          while not answer.endswith(b"hello\n"):
              more = s.recv(4096)
              assert more, answer
              answer += more
      old = connect()
      ask(old)
      first = old.getpeercert()["serialNumber"]
      end = time.time() + 60
      while connect().getpeercert()["serialNumber"] == first:
          assert time.time() < end
          time.sleep(0.2)
      ask(old)
    ]]):format(authority.ca, site.port), site)
    assert.truthy(site:since():find(THERE, 1, true))
    assert.same({}, authority:facts().violations)
    assert.equal(1, authority:facts().accounts)
  end)

  it("has one order for two servers with one store, and for a reload", function()
    local authority = acme.authority { ["do"] = { order = { { slow = 1 } } } }
    local site = acme.site(authority, "a.test")
    local port = authority.tls_port
    authority.tls_port = e2e.free_port()
    local other = acme.site(authority, "a.test", { store = site.store })
    authority.tls_port = port
    site:await_log(THERE, 30)
    assert.truthy(e2e.wait(function() return acme.curl(other, "a.test") == "hello\n" end))
    assert.equal(1, authority:facts().orders)
    assert.truthy(site:reload(e2e.read(site.app):gsub("^[^;]*; ", ""):gsub("hello", "hi")))
    assert.equal("hi\n", acme.curl(site, "a.test"))
    assert.equal(1, authority:facts().orders)
  end)

  it("goes on ordering in the new code when it is reloaded meanwhile", function()
    local authority = acme.authority { ["do"] = { challenge = { { slow = 2 } } } }
    local site = acme.site(authority, "a.test")
    assert(e2e.wait(function() return authority:facts().requests.challenge end))
    assert.truthy(site:reload(e2e.read(site.app):gsub("^[^;]*; ", ""):gsub("hello", "hi")))
    site:await_log(THERE, 30)
    assert.equal("hi\n", acme.curl(site, "a.test"))
    assert.same({}, authority:facts().violations)
  end)

  it("binds the account to one that the authority has given out", function()
    local authority = acme.authority { eab = { kid = "kid-1", key = "c2VjcmV0IGtleSBvZiBzcGVjcw" } }
    local without = acme.site(authority, "a.test")
    without:await_log("eab_kid and eab_key", 30)
    without:stop()
    local site = acme.site(authority, "a.test", { more = ":eab_kid=kid-1:eab_key=c2VjcmV0IGtleSBvZiBzcGVjcw" })
    site:await_log(THERE, 30)
    assert.equal(true, authority:facts().binding)
    assert.same({}, authority:facts().violations)
  end)

  it("refuses endpoints that cannot be meant", function()
    local function why(text)
      local at, failure = rw.endpoint.parse("tls:443:" .. text)
      return not at and failure.message or ""
    end
    for text, reason in pairs {
      ["acme=me@example.org:store=x"] = "host= is missing",
      ["acme=me:host=a.test:store=x"] = "mail address",
      ["acme=me@example.org:host=*.a.test:store=x"] = "DNS-01",
      ["acme=me@example.org:host=127.0.0.1:store=x"] = "no addresses",
      ["acme=none:host=a.test:store=x:eab_kid=1"] = "come together",
      ["acme=none:host=a.test:store=x:directory=ftp"] = "URL",
    } do
      assert.truthy(why(text):find(reason, 1, true), text .. ": " .. why(text))
    end
    assert.truthy(rw.endpoint.parse "tls:443:acme=none:host=A.test,b.test:store=x:http01=80")
  end)
end)
