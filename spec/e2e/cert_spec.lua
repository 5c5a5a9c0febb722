-- SPDX-License-Identifier: MIT
-- `ropewalk cert`: openssl reads what it writes, and the other way round.
local e2e = require "spec.support.e2e"
local rw = require "ropewalk"

describe("ropewalk cert", function()
  after_each(e2e.finish)

  local dir

  before_each(function() dir = e2e.directory() end)

  -- Runs it in the directory; the output of both streams, and the status.
  local function cert(arguments)
    return e2e.shell(("cd %s && timeout 30 %s cert %s"):format(dir, e2e.quote(e2e.binary), arguments))
  end

  local function good(arguments)
    local out, status = cert(arguments)
    assert.equal(0, status, out)
    return out
  end

  local function bad(status, text, arguments)
    local out, was = cert(arguments)
    assert.equal(status, was, out)
    assert.truthy(out:find(text, 1, true), out)
  end

  local function openssl(arguments) return (e2e.shell(("cd %s && openssl %s"):format(dir, arguments))) end

  it("makes an authority, and certificates of it that openssl accepts", function()
    assert.equal("dev/ca.key\ndev/ca.pem\n", good "ca --dir dev")
    good "issue localhost 127.0.0.1 ::1 '*.example.org' --ca dev"
    good "issue --client --user alice --email alice@example.org --ca dev --type p384"
    local verify = "verify -x509_strict -CAfile dev/ca.pem -purpose "
    assert.equal("localhost.pem: OK\n", openssl(verify .. "sslserver localhost.pem"))
    assert.equal("alice.pem: OK\n", openssl(verify .. "sslclient alice.pem"))
    assert.truthy(openssl "verify -purpose sslclient -CAfile dev/ca.pem localhost.pem":find "failed")
    local text = openssl "x509 -in localhost.pem -noout -ext subjectAltName,keyUsage,extendedKeyUsage"
    assert.truthy(text:find("DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, "
      .. "DNS:*.example.org", 1, true), text)
    assert.truthy(openssl "x509 -in alice.pem -noout -subject -email -text":find "alice@example.org")
    assert.equal("600\n644\n", openssl "version >/dev/null; stat -c %a localhost.key localhost.pem")
  end)

  it("signs with RSA, for as many days as it is told, into the files it is told", function()
    good "self x.test --rsa --days 7 --out-cert a.pem --out-key b.key --subject 'O=Example, CN=x'"
    local text = openssl "x509 -in a.pem -noout -text"
    for _, each in ipairs { "2048 bit", "sha256WithRSA", "O = Example, CN = x", "DNS:x.test", "CA:FALSE" } do
      assert.truthy(text:find(each, 1, true), each .. text)
    end
    assert.equal("a.pem: good for 6 days more\n", good "check a.pem --days 6 --key b.key --name x.test")
    assert.truthy(openssl "x509 -in a.pem -noout -checkend 518400":find "will not expire")
  end)

  it("writes requests that openssl signs, with a key that there is", function()
    openssl "ecparam -name prime256v1 -genkey -noout -out own.key"
    assert.equal("r.csr\n", good "csr example.org '*.example.org' 10.0.0.1 --key own.key --out r.csr")
    local text = openssl "req -in r.csr -noout -verify -text"
    assert.truthy(text:find("verify OK", 1, true), text)
    assert.truthy(text:find("DNS:example.org, DNS:*.example.org, IP Address:10.0.0.1", 1, true), text)
    openssl "x509 -req -in r.csr -signkey own.key -copy_extensions copy -out r.pem"
    assert.truthy(good "show r.pem --key own.key":find("names        example.org, *.example.org, 10.0.0.1", 1, true))
    local long = ("a"):rep(60) .. ".example.org" -- too long for a common name
    good("csr --out l.csr --out-key l.key " .. long)
    assert.truthy(openssl "req -in l.csr -noout -text":find("DNS:" .. long, 1, true))
  end)

  it("overwrites nothing unless it is told to", function()
    good "self a.test"
    local before = e2e.read(dir .. "/a.test.key")
    bad(1, "a.test.pem is there already", "self a.test")
    os.remove(dir .. "/a.test.pem")
    bad(1, "a.test.key is there already", "self a.test")
    assert.equal(before, e2e.read(dir .. "/a.test.key"))
    assert.equal("a.test.key\n", openssl "version >/dev/null; ls")
    good "self a.test --force"
    assert.not_equal(before, e2e.read(dir .. "/a.test.key"))
    e2e.shell(("cd %s && rm a.test.* && ln -s /nowhere/x a.test.key"):format(dir))
    bad(1, "a.test.key is there already", "self a.test") -- not through a link
  end)

  it("shows chains, fingerprints and what does not fit", function()
    good "ca --dir dev"
    good "issue a.test --ca dev"
    good "self b.test"
    e2e.shell(("cd %s && cat a.test.pem dev/ca.pem >good.pem && cat a.test.pem b.test.pem >bad.pem"):format(dir))
    local shown = good "show good.pem --key a.test.key"
    assert.truthy(shown:find("certificate 2 of 2", 1, true) and shown:find("chain          in order", 1, true)
      and shown:find("belongs to it", 1, true), shown)
    assert.truthy(good "show bad.pem":find("certificate 1 was not issued by certificate 2", 1, true))
    bad(1, "the key does not belong", "show a.test.pem --key b.test.key")
    bad(1, "out of order", "check bad.pem")
    bad(1, "it is not for c.test", "check a.test.pem --name c.test")
    bad(1, "expires in 396 days", "check a.test.pem --days 400")
    local print = openssl "x509 -in a.test.pem -noout -fingerprint -sha256":match "=(%S+)"
    assert.equal(print .. "\n", good "fingerprint a.test.pem")
    openssl "x509 -in a.test.pem -outform der -out a.der"
    assert.equal(print .. "\n", good "fingerprint a.der")
  end)

  it("shows what a server has, and checks it", function()
    good "ca --dir dev"
    good "issue localhost --ca dev"
    local child = e2e.start([[
return rw.server("tls:127.0.0.1:0:cert=" .. rw.config.dir .. "/localhost.pem:key=" .. rw.config.dir
  .. "/localhost.key", rw.Factory:for_protocol(rw.Protocol))]], { set = { dir = dir } })
    local at = "localhost:" .. child.port
    local shown = good("show " .. at)
    assert.truthy(shown:find("subject      CN=localhost", 1, true), shown)
    assert.truthy(shown:find("TLS 1.3", 1, true) and shown:find("trusted        no: ", 1, true), shown)
    assert.truthy(good("show --ca dev/ca.pem " .. at):find("trusted        yes", 1, true))
    good("check --ca dev/ca.pem " .. at)
    bad(1, "no trusted authority", "check " .. at)
    bad(1, "it is for another name", ("check --ca dev/ca.pem 127.0.0.1:%d"):format(child.port))
    good(("check --ca dev/ca.pem --name localhost 127.0.0.1:%d"):format(child.port))
    bad(1, "", "show localhost:" .. e2e.free_port())
  end)

  it("reads a text of many beginnings in time", function()
    local began = os.clock()
    local list, failure = rw.certificate.read(("-----BEGIN CERTIFICATE-----\n"):rep(30000))
    assert.is_nil(list)
    assert.equal("bad_certificate", failure.code)
    local made = rw.certificate.issue { names = { "a.test" } }
    assert.equal(2, #assert(rw.certificate.read("x\n" .. made.certificate .. made.key .. made.certificate)))
    assert.truthy(os.clock() - began < 2)
  end)

  it("says what is wrong", function()
    for text, arguments in pairs {
      ["what? self"] = "", ["there is no \"mend\""] = "mend", ["--dir wants a value"] = "ca --dir",
      ["there is no option --quick"] = "self --quick a.test", ["for whom?"] = "self",
      ["--ca DIR is missing"] = "issue a.test", ["--days wants a number"] = "self a.test --days many",
      ["--email and --user are for --client"] = "self a.test --user me", ["--client is not for ca"] = "ca --client",
      ["--type wants p256"] = "self a.test --type dsa", ["one FILE or HOST:PORT"] = "show",
      ["--rsa takes no value"] = "self a.test --rsa=yes", ["is there twice"] = "self a --days 1 --days 2",
    } do
      bad(2, text, arguments)
    end
    good "self a.test"
    e2e.write(dir .. "/broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for text, arguments in pairs {
      ['"a b" is no name'] = "self 'a b'", ['"a.*.test": a * stands'] = "self 'a.*.test'",
      ["cannot open nothing.pem"] = "show nothing.pem", ["certificate 1 of 1 cannot be read"] = "show broken.pem",
      ["there is no certificate in it (but EC PRIVATE KEY)"] = "show a.test.key",
      ["cannot open none/ca.pem"] = "issue b.test --ca none", ["is no authority"] = "issue b.test --ca a.test.pem",
      ["cannot open no/such"] = "self b.test --out-cert no/such/b.pem --out-key b.key",
      ["the key cannot be read"] = "self b.test --key a.test.pem",
    } do
      bad(1, text, arguments)
    end
    assert.truthy(good "self --help":find "usage: ropewalk cert")
  end)
end)
