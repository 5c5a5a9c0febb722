-- SPDX-License-Identifier: MIT
-- Certificates that a client does not accept: each reason is named, in both versions.
-- docs/tls.md has the same list.
local tls = require "spec.support.tls"

describe("A TLS client refuses", function()
  before_each(tls.directory)
  after_each(tls.finish)

  -- bad.pem and bad.key, made by openssl: what ours does not make.
  local function openssl(key, digest, extensions)
    local out, status = tls.shell(([[cd DIR &&
      openssl req -newkey %s -nodes -keyout bad.key -subj /CN=localhost -out bad.csr &&
      printf 'subjectAltName=DNS:localhost\n%s\n' >bad.ext &&
      openssl x509 -req -in bad.csr -CA ca.pem -CAkey ca.key -CAcreateserial -%s -days 9 \
        -extfile bad.ext -out bad.pem]]):format(key, extensions or "", digest))
    assert.equal(0, status, out)
  end

  local function revoke()
    tls.issue("bad", {})
    local out, status = tls.shell([[cd DIR && mkdir db && : >db/index && echo 01 >db/number && printf '[ca]
default_ca=x
[x]
database=db/index
crlnumber=db/number
default_md=sha256
' >db/config && ca="openssl ca -config db/config -cert ca.pem -keyfile ca.key" &&
      $ca -revoke bad.pem && $ca -gencrl -crldays 9 -out crl.pem]])
    assert.equal(0, status, out)
  end

  local function leaf_of(name, options)
    return function()
      local middle = tls.issue(name, options)
      tls.issue("bad", { ca = middle })
      tls.shell(("cat DIR/%s.pem >>DIR/bad.pem"):format(name))
    end
  end

  -- What is wrong; how it is made; what is said; options of the client.
  local REASONS <const> = {
    { "another name", function() tls.issue("bad", { names = { "example.org", "*.localhost" } }) end,
      "it is for another name" },
    { "an address that it is not for", function() tls.issue("bad", { names = { "localhost", "127.0.0.2" } }) end,
      "for 127.0.0.1 is refused: it is for another name", "ca=DIR/ca.pem:name=127.0.0.1" },
    { "no name at all, but a common one", function() tls.issue("bad", { names = {}, subject = "CN=localhost" }) end,
      "it is for another name" },
    { "an expired one", function() tls.issue("bad", { from = -9, to = -1 }) end, "it has expired" },
    { "one of the future", function() tls.issue("bad", { from = 1 }) end, "it is not valid yet" },
    { "one that has signed itself", function() tls.issue("bad", { ca = false }) end,
      "no trusted authority has signed it" },
    { "one of a stranger", function()
      local other = tls.issue("other", { subject = "CN=Test Authority", names = {}, authority = true, ca = false })
      tls.issue("bad", { ca = other })
    end, "no trusted authority has signed it" },
    { "one that the system does not know", function() tls.issue("bad", {}) end,
      "no trusted authority has signed it", "name=localhost" },
    { "one whose issuer is no authority", leaf_of("middle", { names = { "middle.test" } }),
      "no trusted authority has signed it" },
    { "one whose issuer has expired", leaf_of("middle", { subject = "CN=Middle", names = {}, authority = true,
      from = -9, to = -1 }), "it has expired" },
    { "a revoked one", revoke, "it has been revoked", "ca=DIR/ca.pem:crl=DIR/crl.pem" },
    { "a key for something else", function() openssl("rsa:2048", "sha256", "keyUsage=critical,cRLSign") end,
      "its key usage does not allow this" },
    { "one for clients", function() tls.issue("bad", { client = true }) end,
      "its extended key usage does not allow this" },
    { "RSA with 1024 bits", function() openssl("rsa:1024", "sha256") end, "its key is too weak" },
    { "a signature with SHA-1", function() openssl("rsa:2048", "sha1") end, "it is signed with a weak hash" },
    { "one with two faults, which are both named", function()
      tls.issue("bad", { names = { "example.org" }, from = -9, to = -1 })
    end, "it has expired; it is for another name" },
  }

  for _, reason in ipairs(REASONS) do
    local name, make, why, options = table.unpack(reason)
    it(name, function()
      make()
      for _, version in ipairs { "1_2", "1_3" } do
        local server = tls.s_server("-cert DIR/bad.pem -key DIR/bad.key -cert_chain DIR/bad.pem "
          .. "-cipher ALL:@SECLEVEL=0 -tls" .. version)
        local client, failure = tls.connect(server.port, options)
        assert.is_nil(client)
        assert.equal("RW_ECERTIFICATE", failure.code, failure.message)
        assert.truthy(failure.message:find(why, 1, true), failure.message)
        assert.truthy(failure.message:find("the peer's certificate for ", 1, true), failure.message)
      end
    end)
  end

  it("none of these for nothing: the good one is accepted", function()
    for _, version in ipairs { "1_2", "1_3" } do
      local server = tls.s_server("-cert DIR/site.pem -key DIR/site.key -cipher ALL:@SECLEVEL=0 -tls" .. version)
      local client = assert(tls.connect(server.port))
      assert.equal((version:gsub("_", ".")), client.transport.tls.version)
      client.transport:abort_connection()
    end
  end)
end)
