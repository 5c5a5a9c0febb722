-- SPDX-License-Identifier: MIT
--- For the specs of ACME: an authority, and sites that have certificates of it.
---
---     local authority = acme.authority()
---     local site = acme.site(authority, "a.test")
---     site:await_log "the certificate is there"
---     assert.equal("hello\n", acme.curl(site, "a.test"))

local core = require "ropewalk.core"
local e2e = require "spec.support.e2e"
local rw = require "ropewalk"

local acme = {}

local function write_pair(dir, name, pem, key)
  e2e.write(("%s/%s.pem"):format(dir, name), pem)
  e2e.write(("%s/%s.key"):format(dir, name), key)
end

local function make_authority(dir)
  local now = core.time() // 1
  local function issue(wish)
    wish.key, wish.not_before, wish.not_after = core.tls_make_key "p256", now - 3600, now + 86400 * 400
    return assert(core.tls_make_certificate(wish)), wish.key
  end
  local ca, ca_key = issue { subject = "CN=Test Authority", authority = true }
  write_pair(dir, "ca", ca, ca_key)
  write_pair(dir, "server", issue { names = { "localhost" }, issuer = ca, issuer_key = ca_key })
end

--- Starts one, with TLS: control { … } and facts() are as in acme_server.lua.
function acme.authority(settings)
  local dir = e2e.directory()
  make_authority(dir)
  local at = ("tls:127.0.0.1:0:cert=%s/server.pem:key=%s/server.key"):format(dir, dir)
  local child = e2e.start([[return require "acme_server".serve(rw.config.at, rw.config.dir)]], {
    set = { at = at, dir = dir },
    files = { ["acme_server.lua"] = e2e.read "spec/support/acme_server.lua",
      ["acme_checks.lua"] = e2e.read "spec/support/acme_checks.lua" } })
  child.ca = dir .. "/ca.pem"
  child.base = "https://localhost:" .. child.port
  child.tls_port, child.http_port = e2e.free_port(), e2e.free_port()
  function child:control(what)
    local out = e2e.curl("--cacert", self.ca, "-d", core.json_encode(what), self.base .. "/control")
    assert(out == "ok", out)
  end
  function child:facts()
    return (assert(core.json_decode((e2e.curl("--cacert", self.ca, self.base .. "/facts")))))
  end
  child:control { base = child.base, tls_port = child.tls_port, http_port = child.http_port }
  if settings then child:control(settings) end
  return child
end

local SITE <const> = [[
local site = web.Site()
site:get("/", function() return "hello\n" end)
site:get("/certificates", function() return web.json(rw.tls.certificates()) end)
return rw.server(rw.config.at, site)]]

--- The endpoint of a site whose names the authority validates.
function acme.endpoint(authority, hosts, store, more)
  return ("tls:127.0.0.1:%d:acme=me@example.org:host=%s:directory=%s:directory_ca=%s:store=%s%s"):format(
    authority.tls_port, hosts, rw.endpoint.escape(authority.base .. "/directory"), authority.ca, store, more or "")
end

--- Starts a site. Options: `store` (a new directory), `more` (of the endpoint),
--- `script` (with `rw.config.at`), `set`.
function acme.site(authority, hosts, options)
  options = options or {}
  local store = options.store or e2e.directory() .. "/acme"
  local set = options.set or {}
  set.at = acme.endpoint(authority, hosts, store, options.more)
  set.directory, set.ca, set.store, set.port = authority.base .. "/directory", authority.ca, store,
    authority.tls_port
  local child = e2e.start(options.script or SITE, { set = set })
  child.store, child.ca = store, authority.ca
  return child
end

--- What curl gets from a site for a name, with a path or without.
function acme.curl(site, where, ...)
  local name, path = where:match "^([^/]+)(.*)$"
  return (e2e.curl("--cacert", site.ca, "--resolve", ("%s:%d:127.0.0.1"):format(name, site.port),
    ("https://%s:%d%s"):format(name, site.port, path == "" and "/" or path), ...))
end

return acme
