-- SPDX-License-Identifier: MIT
-- TLS as its ciphers see it: everything that can be agreed on with OpenSSL, with
-- accelerators and without; much data, and a client that does not want it all.
local core = require "ropewalk.core"
local e2e = require "spec.support.e2e"

describe("TLS", function()
  after_each(e2e.finish)

  local dir

  local function issue(kind)
    local now, key = core.time() // 1, core.tls_make_key(kind)
    e2e.write(dir .. "/site.key", key)
    e2e.write(dir .. "/site.pem", core.tls_make_certificate { key = key, names = { "localhost" },
      not_before = now - 60, not_after = now + 86400 })
  end

  before_each(function()
    dir = e2e.directory()
    issue "p256"
  end)

  local function start(text, options)
    options.set = { at = ("tls:127.0.0.1:0:cert=%s/site.pem:key=%s/site.key"):format(dir, dir) }
    return e2e.start(text, options)
  end

  local function curl(child, options, path)
    return e2e.shell(("curl -sS --max-time 20 --cacert %s/site.pem %s https://localhost:%d/%s")
      :format(dir, options, child.port, path or ""))
  end

  it("speaks each suite and group with each kind of key, accelerated or not", function()
    local suites = { ["AES128-GCM-SHA256"] = "TLS_AES_128_GCM_SHA256",
      ["AES256-GCM-SHA384"] = "TLS_AES_256_GCM_SHA384",
      ["CHACHA20-POLY1305"] = "TLS_CHACHA20_POLY1305_SHA256" }
    local app = [[
local app = web.Site()
app:get("/", function(request) return request.tls.version .. "\n" end)
return rw.server(rw.config.at, app)]]
    for _, shell in ipairs { "true", "export ROPEWALK_ACCEL=0" } do
      for kind, curve in pairs { p256 = "P-256", p384 = "P-384", rsa2048 = "" } do
        issue(kind)
        local child = start(app, { shell = shell })
        for old, new in pairs(suites) do
          local by = kind == "rsa2048" and "ECDHE-RSA-" or "ECDHE-ECDSA-"
          assert.equal("1.3\n", curl(child, "--curves X25519 --tls13-ciphers " .. new))
          assert.equal("1.2\n", curl(child, "--tls-max 1.2 --ciphers " .. by .. old))
        end
        for _, group in ipairs { "P-256", "P-384", "X25519:P-256" } do
          assert.equal("1.3\n", curl(child, "--curves " .. group))
          if group:find(curve, 1, true) then -- in 1.2 it is about the certificate, too
            assert.equal("1.2\n", curl(child, "--tls-max 1.2 --curves " .. group))
          end
        end
        child:stop()
      end
    end
  end)

  it("sends a file whole, and lets a client leave in the middle of it", function()
    local child = start("return rw.server(rw.config.at, web.Site():mount('/', web.static(rw.script_dir)))",
      { files = { big = ("0123456789abcdef"):rep(1 << 18) } })
    for _ = 1, 5 do curl(child, "-N", "big | head -c 100000 | wc -c") end
    local sum = curl(child, "", "big | sha256sum"):match "%x+"
    assert.equal(e2e.shell(("sha256sum %s/big"):format(child.dir)):match "%x+", sum)
    assert.falsy(child:log():find("error", 1, true), child:log())
  end)
end)
