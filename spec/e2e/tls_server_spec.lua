-- SPDX-License-Identifier: MIT
-- Our server, and the clients that there are: openssl, GnuTLS, Python.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("A TLS server", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local SITE <const> = "cert=DIR/site.pem:key=DIR/site.key"
  local RSA <const> = "cert=DIR/rsa.pem:key=DIR/rsa.key"

  local function has(text, ...)
    for _, each in ipairs { ... } do assert.truthy(text:find(each, 1, true), each .. " is not in:\n" .. text) end
  end

  -- Runs Python with an open context; c(…) connects and returns the socket and
  -- the line of facts.
  local function python(child, code)
    return e2e.python(([[
import ssl
DIR = %q
context = ssl.create_default_context(cafile=DIR + "/ca.pem")
def c(context=context, name="localhost", **more):
    raw = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
    s = context.wrap_socket(raw, server_hostname=name, **more)
    return s, line(s)
def line(s):
    got = b""
    while not got.endswith(b"\n"):
        more = s.recv(1)
        if not more: raise EOFError(got)
        got += more
    return got.decode().strip()
def fact(text, key): return dict(w.split("=", 1) for w in text.split() if "=" in w)[key]
]]):format(dir) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  local SUITES <const> = {
    ["1.2"] = {
      site = { "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305" },
      rsa = { "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-CHACHA20-POLY1305" },
    },
    ["1.3"] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256" },
  }

  for kind, options in pairs { site = SITE, rsa = RSA } do
    it("speaks each suite with openssl, with a certificate of " .. (kind == "rsa" and "RSA" or "a curve"), function()
      local child = tls.server(options)
      for version, flags in pairs { ["1.2"] = "-tls1_2 -cipher %s", ["1.3"] = "-tls1_3 -ciphersuites %s" } do
        for _, suite in ipairs(SUITES[version][kind] or SUITES[version]) do
          local groups = { ["X25519"] = "X25519", ["P-256"] = "ECDH, prime256v1, 256 bits" }
          if version == "1.2" then -- there it speaks for certificates, too
            groups["X25519"], groups["X25519:P-256"] = nil, "Server Temp Key"
          end
          for group, shown in pairs(groups) do
            local out = tls.s_client(child, (flags .. " -groups %s -servername localhost"):format(suite, group))
            -- in 1.2 the server chooses, by what is accelerated
            if version == "1.2" and group:find ":" then shown = "Server Temp Key: " end
            has(out, "Cipher is " .. suite, "Verify return code: 0 (ok)", shown, "facts " .. version,
              "echo hello", "echo bye")
          end
        end
      end
    end)

    it("speaks with GnuTLS, with a certificate of " .. (kind == "rsa" and "RSA" or "a curve"), function()
      local child = tls.server(options)
      for version, priority in pairs { ["1.2"] = "VERS-TLS1.2", ["1.3"] = "VERS-TLS1.3" } do
        for suite, name in pairs { ["AES-128-GCM"] = "AES-128-GCM", ["AES-256-GCM"] = "AES-256-GCM",
          ["CHACHA20-POLY1305"] = "CHACHA20-POLY1305" } do
          local group = suite == "AES-256-GCM" and "SECP256R1" or "X25519"
          local out = tls.gnutls_cli(child, ("--priority=NORMAL:-VERS-ALL:+%s:-CIPHER-ALL:+%s:-GROUP-ALL:+GROUP-%s")
            :format(priority, suite, group))
          has(out, "The certificate is trusted", "(TLS" .. version, name, group, "facts " .. version, "echo hello")
        end
      end
    end)
  end

  it("resumes sessions by tickets, and takes no early data", function()
    local child = tls.server(SITE)
    for _, version in ipairs { "1_2", "1_3" } do
      local first = tls.s_client(child, ("-tls%s -servername localhost -sess_out DIR/%s"):format(version, version))
      has(first, "New, ", "resumed=false")
      local again = tls.s_client(child, ("-tls%s -servername localhost -sess_in DIR/%s"):format(version, version))
      has(again, "Reused, ", "resumed=true", "echo hello")
    end
    e2e.write(dir .. "/early", "early\n")
    local early = tls.s_client(child, "-tls1_3 -servername localhost -sess_in DIR/1_3 -early_data DIR/early")
    has(early, "echo hello")
    assert.falsy(early:find("echo early", 1, true), early)
    has(tls.gnutls_cli(child, "-r --priority=NORMAL:-VERS-ALL:+VERS-TLS1.2"), "*** This is a resumed session")
    python(child, [[
      for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
          context.minimum_version = context.maximum_version = version
          s, text = c()
          expect(fact(text, "resumed"), "false")
          s.send(b"x\n")
          line(s)
          session = s.session
          s.close()
          s, text = c(session=session)
          expect((fact(text, "resumed"), s.session_reused), ("true", True))
      # a ticket of another server is no more than none
    ]])
    local other = tls.server(SITE)
    has(tls.s_client(other, "-tls1_2 -servername localhost -sess_in DIR/1_2"), "New, ", "resumed=false")
    has(tls.s_client(other, "-tls1_3 -servername localhost -sess_in DIR/1_3"), "New, ", "resumed=false")
  end)

  it("asks for a client's certificate, and shows it to the script", function()
    local print = tls.shell "openssl x509 -in DIR/me.pem -noout -fingerprint -sha256"
    local fingerprint = print:match "=(%S+)":gsub(":", ""):lower()
    for _, verify in ipairs { "required", "optional" } do
      local child = tls.server(SITE .. ":ca=DIR/ca.pem:verify=" .. verify)
      for _, version in ipairs { "-tls1_2", "-tls1_3" } do
        local out = tls.s_client(child, version .. " -cert DIR/me.pem -key DIR/me.key")
        has(out, "verified=true CN=me " .. fingerprint, "echo hello")
        out = tls.s_client(child, version)
        if verify == "optional" then has(out, "verified=false nil nil", "echo hello")
        else has(out, version == "-tls1_3" and "alert certificate required" or "handshake failure") end
      end
      has(tls.gnutls_cli(child, "--x509certfile=DIR/me.pem --x509keyfile=DIR/me.key"), "verified=true CN=me")
    end
  end)

  it("refuses a client's certificate, and says in the log why", function()
    tls.issue("wrong", { subject = "CN=a server", client = false })
    tls.issue("old", { subject = "CN=old", client = true, from = -9, to = -2 })
    tls.issue("alone", { subject = "CN=alone", client = true, ca = false })
    for _, verify in ipairs { "required", "optional" } do
      local child = tls.server(SITE .. ":ca=DIR/ca.pem:verify=" .. verify)
      for name, why in pairs { wrong = "its extended key usage does not allow this", old = "it has expired",
        alone = "no trusted authority has signed it" } do
        child:mark()
        local out = tls.s_client(child, ("-tls1_3 -cert DIR/%s.pem -key DIR/%s.key"):format(name, name))
        if verify == "optional" then
          has(out, "verified=false CN=")
        else
          assert.falsy(out:find("echo", 1, true), out)
          if e2e.wait(function() return child:since():find "TLS failed" end, 1) then has(child:since(), why) end
        end
      end
    end
  end)

  it("lets the script decide who may stay", function()
    local child = tls.server(SITE .. ":ca=DIR/ca.pem", { listen = [[
local Door = Facts:extend "Door"
function Door:handshake_completed()
  rw.sleep(0.05):await() -- asks somebody
  if self.transport.tls.peer_certificate.subject ~= "CN=me" then return self.transport:abort_connection() end
  Facts.handshake_completed(self)
end
return rw.server(rw.config.at, rw.Factory:for_protocol(Door))]] })
    tls.issue("you", { subject = "CN=you", names = {}, client = true })
    has(tls.s_client(child, "-cert DIR/me.pem -key DIR/me.key"), "verified=true CN=me", "echo hello")
    assert.falsy(tls.s_client(child, "-cert DIR/you.pem -key DIR/you.key"):find("echo", 1, true))
  end)

  it("agrees on a protocol, or on none", function()
    local child = tls.server(SITE .. ":alpn=h2,http/1.1")
    python(child, [[
      for offered, agreed in ((["h2"], "h2"), (["http/1.1", "h2"], "h2"), (["x", "http/1.1"], "http/1.1"), ([], None)):
          context = ssl.create_default_context(cafile=DIR + "/ca.pem")
          if offered: context.set_alpn_protocols(offered)
          s, text = c(context)
          expect((s.selected_alpn_protocol(), fact(text, "alpn")), (agreed, str(agreed or "nil")))
      context = ssl.create_default_context(cafile=DIR + "/ca.pem")
      context.set_alpn_protocols(["x"])
      try:
          c(context)
          assert False
      except ssl.SSLError as e:
          assert "NO_APPLICATION_PROTOCOL" in str(e).upper().replace(" ", "_"), e
    ]])
  end)

  it("has a certificate for each name: exact, by wildcard, else the first", function()
    tls.shell "mkdir DIR/all"
    tls.issue("all/a", { names = { "a.test" } })
    tls.issue("all/b", { names = { "*.b.test", "b.test" } })
    local child = tls.server "cert=DIR/all"
    python(child, [[
      context.check_hostname = False
      for name, first in (("a.test", "a.test"), ("A.TEST", "a.test"), ("x.b.test", "*.b.test"), ("b.test", "*.b.test"),
                          ("y.x.b.test", "a.test"), ("other.test", "a.test"), (None, "a.test")):
          s, _ = c(name=name)
          expect((name, s.getpeercert()["subjectAltName"][0][1]), (name, first))
    ]])
  end)
end)
