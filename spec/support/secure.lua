-- SPDX-License-Identifier: MIT
--- Connections by TLS within this process, for specs: as spec/support/ends.lua.
---
---     after_each(ends.close)
---     local a, far = secure.connected(Protocol, "tls:tcp:127.0.0.1:0:write_rate=10000")

local core = require "ropewalk.core"
local ends = require "spec.support.ends"
local rw = require "ropewalk"

local secure = {}

local function write(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

--- A directory with site.pem and site.key, for localhost and signed by itself.
---@param kind? string of key
function secure.directory(kind)
  local dir = rw.testing.temp_dir()
  local key, now = core.tls_make_key(kind or "p256"), core.time() // 1
  write(dir .. "/site.key", key)
  write(dir .. "/site.pem", assert(core.tls_make_certificate { names = { "localhost" }, key = key,
    not_before = now - 60, not_after = now + 60 * 86400 }))
  return dir
end

--- What makes an endpoint one of TLS, for servers; ours of a client.
function secure.server(dir) return (":cert=%s/site.pem:key=%s/site.key"):format(dir, dir) end
function secure.client(dir) return (":name=localhost:ca=%s/site.pem"):format(dir) end

--- A new connection: our end, and the far one (ends.Collector, or of that class).
---@param class? table of our end
---@param where? string without the certificate: "tls:tcp:127.0.0.1:0"
---@param more? string options of the client's endpoint
function secure.connected(class, where, more)
  local dir = secure.directory()
  return ends.connected(class, (where or "tls:tcp:127.0.0.1:0") .. secure.server(dir), function(at)
    return "tls:" .. at .. secure.client(dir) .. (more or "")
  end)
end

return secure
