-- SPDX-License-Identifier: MIT
-- An authority that misbehaves, refuses, or is not the right one.
local acme = require "spec.support.acme"
local e2e = require "spec.support.e2e"

describe("ACME, when things go wrong", function()
  after_each(e2e.finish)

  local THERE <const> = "the certificate is there"

  local TIMEOUT <const> = e2e.sanitized and 6 or 2

  -- Tries again soon.
  local EAGER <const> = ([[
local site = web.Site()
site:get("/", function() return "hello\n" end)
return rw.server(rw.acme.over("tcp:127.0.0.1:" .. rw.config.port, { hosts = { "a.test" }, store = rw.config.store,
  directory = rw.config.directory, directory_ca = rw.config.trust or rw.config.ca, timeout = %d,
  order_timeout = tonumber(rw.config.patience) or 20,
  retry_policy = function() return 0.2 end }), site)]]):format(TIMEOUT)

  local function eager(authority, set)
    return acme.site(authority, "a.test", { script = EAGER, set = set })
  end

  -- What is planned for a step, in the order of the steps, and what is said of it then.
  local PLANS <const> = {
    { "directory", { status = 500, type = "serverInternal" }, "the directory: as planned (serverInternal)" },
    { "directory", { body = "<html>" }, "the directory:" },
    { "directory", { body = "[]" }, "newNonce is no URL" },
    { "directory", { body = '{"newNonce":"http://example.org/","newAccount":"x","newOrder":"y"}' }, "plain HTTP" },
    { "directory", { body = ("["):rep(5000) }, "the directory:" },
    { "directory", { huge = true }, "longer than 262144 bytes" },
    { "directory", { cut = true }, "in the middle of the answer" },
    { "directory", { slow = TIMEOUT + 1 }, ("timed out after %d s"):format(TIMEOUT) },
    { "nonce", { status = 503 }, "a nonce: status 503" },
    { "account", { status = 403, type = "unauthorized" }, "the account: as planned (unauthorized)" },
    { "account", { body = "{}" }, "location is no URL" },
    { "order", { status = 400, type = "rejectedIdentifier" }, "rejectedIdentifier" },
    { "authorization", { body = [[{"status":"pending","identifier":{"value":"b.test"}}]] },
      'is for "b.test", which was not ordered' },
    { "authorization", { body = [[{"status":"pending","identifier":{"value":"a.test"},
      "challenges":[{"type":"dns-01"}]}]] },
      "nothing that we can do" },
    { "authorization", { body = [[{"status":"pending","identifier":{"value":"a.test"},
      "challenges":[{"type":"tls-alpn-01","token":"../x","url":"https://localhost/"}]}]] }, "the token is malformed" },
    { "challenge", { status = 500 }, "the authorization of a.test: as planned" },
    { "challenge", { cut = true }, "in the middle of the answer" },
    { "state", { body = "null" }, "the order:" },
    { "finalize", { invalid = "badCSR" }, "the order: as planned (badCSR)" },
    { "certificate", { body = "garbage" }, "no chain in PEM" },
    { "certificate", { body = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" },
      "the certificate: " },
    { "certificate", { huge = true }, "longer than 262144 bytes" },
  }

  it("says why, and tries again, whatever goes wrong at whichever step", function()
    local plans = {}
    for _, plan in ipairs(PLANS) do
      plans[plan[1]] = plans[plan[1]] or {}
      table.insert(plans[plan[1]], plan[2])
    end
    local authority = acme.authority { ["do"] = plans }
    local site = eager(authority)
    site:await_log(THERE, 120)
    local i = 0
    for line in site:log():gmatch "no new certificate[^\n]*" do
      i = i + 1
      assert.truthy(line:gsub("\\", ""):find(PLANS[i][3], 1, true), line)
    end
    assert.equal(#PLANS, i)
    assert.equal("hello\n", acme.curl(site, "a.test"))
    assert.same({}, authority:facts().violations)
  end)

  it("sends a request again whose nonce was not liked, and no more than five times", function()
    local bad = { status = 400, type = "badNonce" }
    local authority = acme.authority { ["do"] = { account = { bad, bad }, order = { bad, bad, bad, bad } } }
    local site = eager(authority)
    site:await_log(THERE, 30)
    assert.falsy(site:log():find("no new certificate", 1, true))
    site:stop()
    authority:control { ["do"] = { order = { bad, bad, bad, bad, bad } } }
    local other = eager(authority)
    other:await_log(THERE, 30)
    assert.truthy(other:log():find("as planned (badNonce)", 1, true))
    assert.same({}, authority:facts().violations)
  end)

  it("waits as long as an authority says, also after it was started again", function()
    local authority = acme.authority { ["do"] = {
      order = { { status = 429, type = "rateLimited", retry_after = "8" } } } }
    local site = eager(authority)
    site:await_log("code=rateLimited", 20)
    site:await_log("retry_in=8", 5)
    site:stop()
    local before = authority:facts().requests.account
    local again = acme.site(authority, "a.test", { script = EAGER, store = site.store })
    e2e.shell "sleep 1"
    assert.equal(before, authority:facts().requests.account)
    assert.equal(1, authority:facts().requests.order)
    again:await_log(THERE, 20)
    again:stop()
    -- without a word how long: an hour at least
    authority:control { ["do"] = { order = { { status = 429, type = "rateLimited" } } } }
    local other = eager(authority)
    other:await_log("code=rateLimited", 20)
    other:await_log("retry_in=3600", 5)
  end)

  it("waits longer after each failure, a minute at first", function()
    local authority = acme.authority { ["do"] = { order = { { status = 500 } } } }
    local site = acme.site(authority, "a.test")
    site:await_log("failures=1", 20)
    assert.truthy(site:log():find "retry_in=[67]%d%f[%D]", site:log())
    local policy = require "ropewalk.acme.issuer".retry_policy
    assert.truthy(policy(1) >= 60 and policy(4) >= 480 and policy(50) <= 43200 * 1.2)
  end)

  it("does not validate where somebody else answers", function()
    local authority = acme.authority { tls_port = e2e.free_port() }
    local site = eager(authority)
    site:await_log("(unauthorized)", 20)
    assert.truthy(acme.curl(site, "a.test"):find("unrecognized name", 1, true))
    assert.equal(0, authority:facts().certificates)
  end)

  it("gives up an order that takes too long", function()
    local busy = { body = '{"status":"processing"}' }
    local authority = acme.authority { ["do"] = { state = { busy, busy, busy, busy } } }
    local site = eager(authority, { patience = 2 })
    site:await_log("the order is still processing after 2 s", 20)
    site:await_log(THERE, 30)
  end)

  it("trusts no directory that its authorities have not signed, and goes to no plain one", function()
    local authority = acme.authority()
    local site = eager(authority, { trust = acme.authority().ca })
    site:await_log("no trusted authority has signed it", 20)
    assert.equal(nil, authority:facts().requests.directory)
    site:stop()
    site = acme.site(authority, "a.test", { script = EAGER:gsub("rw.config.directory", '"http://example.org/"') })
    site:await_log("plain HTTP is for this machine only", 20)
  end)

  it("keeps what it has while it cannot be renewed, and orders anew what is damaged", function()
    local authority = acme.authority { life = 30 }
    local site = eager(authority)
    site:await_log(THERE, 30)
    site:stop()
    e2e.write(site.store .. "/a.test.pem", e2e.read(site.store .. "/a.test.pem"):sub(1, 300))
    local again = acme.site(authority, "a.test", { script = EAGER, store = site.store })
    again:await_log("the stored certificate is damaged", 20)
    again:await_log(THERE, 30)
    assert.equal(2, authority:facts().orders)
    again:stop()
    e2e.write(site.store .. "/a.test.json", "\0garbage")
    local accounts = e2e.shell("ls " .. site.store .. "/account_*.json"):match "%S+"
    e2e.write(accounts, '{"key":5')
    authority:control { life = 6 }
    e2e.shell("rm " .. site.store .. "/a.test.pem")
    local last = acme.site(authority, "a.test", { script = EAGER, store = site.store })
    last:await_log(THERE, 30)
    authority:control { life = 600, ["do"] = { order = { { status = 500 }, { status = 500 } } } }
    last:mark()
    last:await_log("warn  there is no new certificate", 20)
    assert.equal("hello\n", acme.curl(last, "a.test"))
    last:await_log(THERE, 20)
    assert.same({}, authority:facts().violations)
  end)

  it("goes on when its store works again", function()
    local authority = acme.authority()
    local store = e2e.directory() .. "/acme"
    e2e.shell(("mkdir -m 700 %s && mkdir %s/a.test.lock"):format(store, store))
    local site = acme.site(authority, "a.test", { script = EAGER, store = store })
    site:await_log("a.test.lock cannot be locked", 20)
    e2e.shell(("cd %s; until rm a.test.json 2>/dev/null; do sleep 0.1; done; mkdir a.test.json && rmdir a.test.lock")
      :format(store))
    site:await_log("a.test.json cannot be written", 20)
    assert.equal(nil, authority:facts().requests.order) -- nor is the authority asked in vain
    e2e.shell(("rmdir %s/a.test.json"):format(store))
    site:await_log(THERE, 30)
    assert.equal("hello\n", acme.curl(site, "a.test"))
  end)

  it("does not order again at once what is to be renewed when it comes, nor with a broken policy", function()
    local authority = acme.authority { age = 1000, life = 400 }
    local site = acme.site(authority, "a.test", { script = EAGER:gsub("0.2 end", "3000 end") })
    site:await_log("the new certificate is to be renewed already", 30)
    site:await_log("retry_in=3000", 5)
    assert.equal("hello\n", acme.curl(site, "a.test"))
    e2e.shell "sleep 2"
    assert.equal(1, authority:facts().orders)
    site:stop()
    local script = EAGER:gsub("0.2 end", "nil end"):gsub('"a.test"', '"b.test"')
    local broken = acme.site(authority, "b.test", { script = script })
    broken:await_log("retry_policy gives no number of seconds", 30)
    broken:await_log("retry_in=3600", 5)
  end)

  it("does not start without a directory for what lasts", function()
    local authority = acme.authority()
    local ok, why = pcall(acme.site, authority, "a.test", { store = "/nonexistent/acme" })
    assert.falsy(ok)
    assert.truthy(why:find("/nonexistent/acme: cannot be made", 1, true), why)
  end)
end)
