-- SPDX-License-Identifier: MIT
-- What ropewalk.tls makes of options, wherever they come from.
local e2e = require "spec.support.e2e"
local rw = require "ropewalk"

describe("TLS's options", function()
  after_each(e2e.finish)

  local function nobody() end

  it("may be left out of rw.tls.over: it is TLS all the same", function()
    local Plain, first = rw.Protocol:extend "Plain", rw.Deferred()
    function Plain:data_received(bytes) -- luacheck: ignore 212
      first:callback(bytes)
      self.transport:abort_connection()
    end
    local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(Plain)):await()
    local Hello = rw.Protocol:extend "Hello"
    function Hello:connection_made() self.transport:write "a secret" end
    local at = rw.tls.over("tcp:127.0.0.1:" .. port.port)
    local ok = pcall(function() return rw.connect(at, rw.Factory:for_protocol(Hello)):await() end)
    assert.falsy(ok)
    assert.equal("\22\3", first:await():sub(1, 2)) -- a handshake
    port:stop_listening():await()
  end)

  it("are refused at the caller's line when there is none of that name, or it is of another type", function()
    local calls = {
      server_context = function(o) rw.tls.server_context(o) end,
      client_context = function(o) rw.tls.client_context(o) end,
      over = function(o) rw.tls.over("tcp:127.0.0.1:1", o) end,
      start_tls = function(o) require "ropewalk.tls".start({}, o) end,
    }
    for name, call in pairs(calls) do
      for _, options in ipairs { { verfy = "required" }, { cert = 5 }, { min = "1.1" }, { tickets = "no" },
        { alpn = "h2" }, { [1] = "x" } } do
        local ok, why = pcall(call, options)
        assert.falsy(ok, name)
        assert.truthy(tostring(why):find("tls_spec.lua:%d+: " .. name .. ":"), tostring(why))
      end
    end
    assert.falsy(pcall(rw.tls.server_context, { choose = nobody, verify = "requird" }))
    assert.falsy(pcall(rw.tls.server_context, { choose = nobody, insecurely_trust_anyone = true }))
    assert.falsy(pcall(rw.tls.client_context, { verify = "none" }))
    assert.falsy(pcall(rw.acme.over, "tcp:1", { hosts = { "a.test" }, store = "/tmp" }, { crlf = "x" }))
  end)

  it("of an authority hold no port when the factory does not start", function()
    local port = e2e.free_port()
    local at = rw.acme.over("tcp:127.0.0.1:0", { hosts = { "a.test" }, store = e2e.directory() .. "/acme",
      directory = "https://localhost:1/", http01 = "tcp:127.0.0.1:" .. port })
    local factory = rw.Factory:for_protocol(rw.Protocol)
    function factory:start_factory() error "it does not start" end -- luacheck: ignore 212
    for _ = 1, 2 do
      local ok, why = pcall(rw.listen, at, factory)
      assert.falsy(ok)
      assert.truthy(tostring(why):find "it does not start")
    end
    local free = rw.listen("tcp:127.0.0.1:" .. port, rw.Factory:for_protocol(rw.Protocol)):await()
    free:stop_listening():await()
  end)

  it("go for certificates of an authority, too, or are refused", function()
    local dir = e2e.directory()
    local ca = assert(rw.certificate.issue { subject = "CN=x", authority = true })
    e2e.write(dir .. "/ca.pem", ca.certificate)
    local at = ("tls:127.0.0.1:0:acme=none:host=a.test:directory=%s:store=%s/acme:ca=%s/ca.pem"):format(
      rw.endpoint.escape "https://localhost:1/", dir, dir)
    local factory = rw.Factory:for_protocol(rw.Protocol)
    for more, why in pairs { [":crl=/nowhere.pem"] = "/nowhere.pem", [":ticket_key=/nowhere.key"] = "/nowhere.key",
      [":key=/nowhere.key"] = "either key= or acme=", [":chain=/nowhere.pem"] = "either chain= or acme=" } do
      local failure
      rw.listen(at .. more, factory):add_callbacks(function(port) return port:stop_listening() end,
        function(f) failure = f end):await()
      assert.truthy(failure, more)
      assert.truthy(failure.message:find(why, 1, true), failure.message)
    end
  end)
end)
