-- SPDX-License-Identifier: MIT
-- Certificates that the first handshake for a name brings about.
local acme = require "spec.support.acme"
local e2e = require "spec.support.e2e"

describe("ACME on demand", function()
  after_each(e2e.finish)

  local SCRIPT <const> = [[
local site, asked = web.Site(), 0
rw.limits.acme_waiting = tonumber(rw.config.waiting) or 1000
rw.limits.acme_answer = tonumber(rw.config.answer) or 262144
site:get("/", function() return "hello\n" end)
local function allow(name)
  asked = asked + 1
  rw.log.info("asked {n} for {name}", { n = asked, name = name })
  rw.sleep(0.05):await()
  if name == "boom.test" then error "boom" end
  while name:find "^endless" do end
  return name:find "%.ok%.test$" ~= nil
end
return rw.server(rw.acme.over("tcp:127.0.0.1:" .. rw.config.port, { allow = allow, store = rw.config.store,
  directory = rw.config.directory, directory_ca = rw.config.ca, max_pending = 2,
  retry_policy = function() return tonumber(rw.config.retry) or 60 end }), site)]]

  local function start(authority, set, store)
    return acme.site(authority, "unused.test", { script = SCRIPT, set = set, store = store })
  end

  local function refused(site, name)
    local out = acme.curl(site, name)
    return assert.truthy(out:find("unrecognized name", 1, true), out)
  end

  it("orders a certificate for a name that is allowed, once, and keeps it", function()
    local authority = acme.authority()
    local site = start(authority)
    assert.equal("hello\n", acme.curl(site, "a.ok.test"))
    assert.equal("hello\n", acme.curl(site, "A.OK.test"))
    site:stop()
    local again = start(authority, nil, site.store)
    assert.equal("hello\n", acme.curl(again, "a.ok.test"))
    local facts = authority:facts()
    assert.same({ 1, 1 }, { facts.accounts, facts.orders })
    assert.same({}, facts.violations)
  end)

  it("spends nothing on names that are not allowed", function()
    local authority = acme.authority()
    local site = start(authority)
    refused(site, "denied.test")
    refused(site, "boom.test")
    assert.truthy(acme.curl(site, "127.0.0.1") ~= "hello\n") -- no name at all
    assert.same({}, authority:facts().requests)
    assert.equal("", (e2e.shell("ls " .. site.store)))
    assert.truthy(site:log():find("boom", 1, true))
  end)

  it("goes on when the script's budget was used up, and a place is free when its peer has gone", function()
    local authority = acme.authority { ["do"] = { order = { { slow = 3 } } } }
    local site = start(authority, { waiting = 1 })
    for i = 1, 3 do refused(site, ("endless%d.test"):format(i)) end -- more than max_pending
    assert.truthy(site:log():find("script_budget", 1, true))
    assert.truthy(acme.curl(site, "d.ok.test", "--max-time", "0.5") ~= "hello\n")
    assert.equal("hello\n", acme.curl(site, "d.ok.test"))
    assert.equal(1, authority:facts().orders)
  end)

  it("shares one order among handshakes, and finishes it when they have gone", function()
    local authority = acme.authority { ["do"] = { challenge = { { slow = 1 }, { slow = 1 } } } }
    local site = start(authority)
    local command = ("for i in 1 2 3 4 5 6; do curl -sS --max-time 20 --cacert %s --resolve b.ok.test:%d:127.0.0.1"
      .. " https://b.ok.test:%d/ & done; wait"):format(site.ca, site.port, site.port)
    assert.equal(("hello\n"):rep(6), (e2e.shell(command)))
    assert.equal(1, authority:facts().orders)
    assert.falsy(site:log():find("asked 2", 1, true))
    assert.truthy(acme.curl(site, "c.ok.test", "--max-time", "0.3") ~= "hello\n")
    site:mark()
    site:await_log("the certificate is there", 20)
    assert.equal("hello\n", acme.curl(site, "c.ok.test"))
    assert.equal(2, authority:facts().orders)
  end)

  it("bounds how many names are ordered at a time", function()
    local authority = acme.authority { ["do"] = { order = { { slow = 1 }, { slow = 1 } } } }
    local site = start(authority)
    local names = {}
    for i = 1, 5 do
      names[i] = ("curl -sS --max-time 20 --cacert %s --resolve n%d.ok.test:%d:127.0.0.1 https://n%d.ok.test:%d/")
        :format(site.ca, i, site.port, i, site.port)
    end
    local out = e2e.shell("(" .. table.concat(names, " & ") .. " & wait)")
    assert.equal(2, select(2, out:gsub("hello\n", "")), out)
    assert.truthy(site:log():find("limit=acme_pending", 1, true))
    assert.equal(2, authority:facts().orders)
  end)

  it("bounds how many handshakes wait for one name, and what an authority may say", function()
    local authority = acme.authority { ["do"] = { order = { { slow = 1 } } } }
    local site = start(authority, { waiting = 2 })
    local curl = ("curl -sS --max-time 20 --cacert %s --resolve w.ok.test:%d:127.0.0.1 https://w.ok.test:%d/ & ")
      :format(site.ca, site.port, site.port)
    local out = e2e.shell("(" .. curl:rep(4) .. "wait)")
    assert.equal(2, select(2, out:gsub("hello\n", "")), out)
    assert.truthy(site:log():find("limit=acme_waiting", 1, true))
    site:stop()
    site = start(authority, { answer = 100 })
    refused(site, "x.ok.test")
    assert.truthy(site:log():find("longer than 100 bytes", 1, true))
  end)

  it("does not try again before it is time", function()
    local authority = acme.authority { ["do"] = { order = { { status = 500 } } } }
    local site = start(authority)
    refused(site, "d.ok.test")
    refused(site, "d.ok.test")
    assert.equal(1, authority:facts().requests.order)
  end)

  it("renews in the background when somebody asks", function()
    local authority = acme.authority { life = 15 }
    local site = start(authority)
    assert.equal("hello\n", acme.curl(site, "e.ok.test"))
    e2e.shell "sleep 10"
    site:mark()
    assert.equal("hello\n", acme.curl(site, "e.ok.test"))
    site:await_log("the certificate is there", 20)
    assert.equal("hello\n", acme.curl(site, "e.ok.test"))
    assert.equal(2, authority:facts().orders)
    assert.same({}, authority:facts().violations)
  end)
end)
