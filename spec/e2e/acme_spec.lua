-- SPDX-License-Identifier: MIT
-- ACME, against an authority of our own (spec/support/acme_server.lua) that checks
-- all with openssl and curl; and curl as the one that is served in the end.
local acme = require "spec.support.acme"
local e2e = require "spec.support.e2e"

describe("ACME", function()
  after_each(e2e.finish)

  it("orders a certificate, which curl accepts", function()
    local authority = acme.authority()
    local site = acme.site(authority, "a.test,b.test")
    site:await_log("the certificate is there", 30)
    assert.equal("hello\n", acme.curl(site, "a.test"))
    assert.equal("hello\n", acme.curl(site, "b.test"))
    assert.truthy(acme.curl(site, "c.test"):find("unrecognized name", 1, true))
    local facts = authority:facts()
    assert.same({}, facts.violations)
    assert.same({ 1, 1, 1 }, { facts.accounts, facts.orders, facts.certificates })
    assert.same({ "tls-alpn-01 a.test", "tls-alpn-01 b.test" }, facts.validated)
    assert.same({ "mailto:me@example.org" }, facts.contacts)
  end)
end)
