-- SPDX-License-Identifier: MIT
-- What sslscan finds on a server with default settings: nothing but versions 1.2
-- and 1.3 with AEAD suites and forward secrecy.
local tls = require "spec.support.tls"

describe("A TLS server, scanned,", function()
  before_each(tls.directory)
  after_each(tls.finish)

  local SITE <const> = [[
local app = web.Site()
app:get("/", function() return "hello\n" end)
return rw.server(rw.config.at, app)]]

  local function scan(identity)
    local child = tls.server(("cert=DIR/%s.pem:key=DIR/%s.key"):format(identity, identity), { listen = SITE })
    return tls.shell(("timeout 60 sslscan --no-colour --sni-name=localhost 127.0.0.1:%d"):format(child.port))
  end

  for name, kind in pairs { site = "ECDSA", rsa = "RSA" } do
    it("has no weakness with a key of " .. kind, function()
      local report = scan(name)
      for version, state in pairs { SSLv2 = "disabled", SSLv3 = "disabled", ["TLSv1.0"] = "disabled",
        ["TLSv1.1"] = "disabled", ["TLSv1.2"] = "enabled", ["TLSv1.3"] = "enabled" } do
        assert.truthy(report:find(version .. "%s+" .. state), version .. report)
      end
      local suites = {}
      for line in report:gmatch "\n(%u%l+%s+TLSv1%.[23]%s+%d+ bits  [^\n]+)" do
        local bits, suite = line:match "(%d+) bits  (%S+)"
        suites[#suites + 1] = suite
        assert.truthy(tonumber(bits) >= 128, line)
        assert.truthy(suite:find "^TLS_" or suite:find("^ECDHE%-" .. kind .. "%-"), line)
        assert.truthy(suite:find "GCM" or suite:find "POLY1305", line)
      end
      assert.equal(6, #suites, report)
      assert.truthy(report:find("Session renegotiation not supported", 1, true), report)
      for line in report:gmatch "[^\n]* heartbleed" do
        assert.truthy(line:find("not vulnerable", 1, true), line)
      end
      assert.falsy(report:find("Insecure", 1, true), report)
    end)
  end
end)
