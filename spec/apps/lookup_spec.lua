-- SPDX-License-Identifier: MIT
local name_server = require "spec.support.name_server"
local server = require "spec.support.server"

describe("apps/lookup.lua", function()
  local lookup, dns
  setup(function()
    dns = name_server.start()
    lookup = server.start("apps/lookup.lua", { set = { servers = dns.address } })
  end)
  teardown(function()
    lookup:stop()
    dns:stop()
  end)

  it("gives records as JSON", function()
    local response = lookup:get "/mx/good.test"
    assert.equal(200, response.status)
    assert.truthy(response.body:find '"exchange":"a.mx.test"', response.body)
  end)

  it("gives addresses and names", function()
    assert.equal('["127.0.0.9"]', (lookup:get("/host/host9.test").body))
    assert.equal('["host.test"]', (lookup:get("/address/192.0.2.1").body))
  end)

  it("says what went wrong", function()
    assert.equal(404, lookup:get("/A/missing.test").status)
    assert.equal(502, lookup:get("/A/servfail.test").status)
    assert.equal(400, lookup:get("/A/a..b").status)
    assert.equal(400, lookup:get("/NONSENSE/a.test").status)
  end)
end)
