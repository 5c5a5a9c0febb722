-- SPDX-License-Identifier: MIT
--- For the specs of TLS: an authority with certificates in a directory, a server that
--- says what it sees, a client that says how it fares, and programs as peers.
---
---     after_each(tls.finish)
---     local dir = tls.directory()
---     local child = tls.server "cert=DIR/site.pem:key=DIR/site.key"
---     print(tls.s_client(child, "-tls1_2"))

local child = require "spec.support.child"
local e2e = require "spec.support.e2e"
local rw = require "ropewalk"

local tls = {}

local DAY <const> = 86400
local dir, authority
local keys = {} -- by kind; an RSA key takes its time
local peers = {}

--- Writes NAME.pem and NAME.key, of the directory's authority unless `ca` is there
--- (false: signed with its own key). More options as of core.tls_make_certificate.
function tls.issue(name, options)
  local core = require "ropewalk.core"
  local ca = options.ca
  if ca == nil then ca = authority end
  ca = ca or {}
  local kind = options.kind or "p256"
  if not keys[kind] then keys[kind] = core.tls_make_key(kind) end
  local key = kind == "p256" and core.tls_make_key() or keys[kind]
  local now = core.time() // 1
  local pem, _, why = core.tls_make_certificate {
    key = key, names = options.names or { "localhost", "127.0.0.1" }, subject = options.subject,
    not_before = now + (options.from or -1) * DAY // 1, not_after = now + (options.to or 60) * DAY // 1,
    authority = options.authority, client = options.client,
    issuer = ca.certificate, issuer_key = ca.key,
  }
  assert(pem, why)
  e2e.write(dir .. "/" .. name .. ".pem", pem)
  e2e.write(dir .. "/" .. name .. ".key", key)
  return { certificate = pem, key = key }
end

--- A directory with ca.pem and site.pem, rsa.pem, me.pem (a client's).
function tls.directory()
  dir, authority = e2e.directory(), nil
  authority = tls.issue("ca", { subject = "CN=Test Authority", names = {}, authority = true, ca = false })
  tls.issue("site", {})
  tls.issue("rsa", { kind = "rsa2048" })
  tls.issue("me", { subject = "CN=me", names = {}, client = true })
  return dir
end

local function placed(text) return (text:gsub("DIR", dir)) end
tls.placed = placed

--- Runs a command, with DIR for the directory: its output and status.
function tls.shell(command) return e2e.shell(placed(command)) end

-- Servers -----------------------------------------------------------------------

local SERVER <const> = [[
local Facts = rw.LineProtocol:extend "Facts"
function Facts:handshake_completed()
  local tls = self.transport.tls
  local peer = tls.peer_certificate or {}
  self:send_line(("facts %s %s alpn=%s resumed=%s verified=%s %s %s"):format(tls.version, tls.cipher,
    tls.alpn, tls.resumed, tls.peer_verified, peer.subject, peer.fingerprint))
end
function Facts:line_received(line)
  self:send_line("echo " .. line)
  if line == "bye" then self.transport:lose_connection() end
end
function Facts:connection_lost(reason) rw.log.info("lost: {code}", { code = reason.code, name = reason.name }) end
]]

--- Our server, with these options of its endpoint; a first line says what it sees,
--- further ones come back, "bye" is the last.
function tls.server(options, started)
  started = started or {}
  started.set = { at = "tls:127.0.0.1:0:" .. placed(options), dir = dir }
  return e2e.start(SERVER .. (started.listen or "return rw.server(rw.config.at, rw.Factory:for_protocol(Facts))"),
    started)
end

--- openssl's client: its output. What it sends is "hello" and "bye".
function tls.s_client(server, options)
  return tls.shell(("printf 'hello\\nbye\\n' | timeout 20 openssl s_client -ign_eof -connect 127.0.0.1:%d "
    .. "-CAfile DIR/ca.pem %s"):format(server.port, options or "-servername localhost"))
end

--- GnuTLS's client.
function tls.gnutls_cli(server, options)
  return tls.shell(("(printf 'hello\\nbye\\n'; sleep 0.5) | timeout 20 gnutls-cli --x509cafile=DIR/ca.pem "
    .. "--sni-hostname=localhost --verify-hostname=localhost -p %d %s 127.0.0.1"):format(server.port, options or ""))
end

-- Clients -----------------------------------------------------------------------

local Client = rw.Protocol:extend "Client"

function Client:data_received(bytes)
  self.got = (self.got or "") .. bytes
  if self.wanted and self.got:find(self.wanted, 1, true) then self.arrived:callback(self.got) end
end

function Client:connection_lost(reason)
  self.reason = reason
  if self.arrived and not self.arrived:called() then self.arrived:errback(reason) end
end

--- Waits until the text has come.
function Client:await_text(text)
  if not (self.got or ""):find(text, 1, true) then
    self.wanted, self.arrived = text, rw.Deferred()
    self.arrived:add_timeout(10):await()
  end
  return self.got
end

--- Connects to a port of ours by TLS; the client, or nil and the Failure.
function tls.connect(port, options, host)
  local ok, result = pcall(function()
    return rw.connect(placed(("tls:%s:%d:%s"):format(host or "localhost", port, options or "ca=DIR/ca.pem")),
      rw.Factory:for_protocol(Client)):await()
  end)
  if ok then return result end
  return nil, result
end

--- Starts a program that listens on a port, a new one unless it is given; waits until
--- it does.
function tls.peer(command, port)
  port = port or e2e.free_port()
  local job = child.start("sh", { "-c", "exec " .. placed(command):gsub("PORT", port) })
  peers[#peers + 1] = job
  job.port = port
  for _ = 1, 200 do
    local ok, protocol = pcall(function()
      return rw.connect("tcp:127.0.0.1:" .. port, rw.Factory:for_protocol(rw.Protocol)):await()
    end)
    if ok then
      protocol.transport:abort_connection()
      return job
    end
    rw.sleep(0.02):await()
  end
  error(("%s does not listen: %s"):format(command, table.concat(job.text)), 2)
end

--- openssl as a server, answering requests with a page of what was agreed on.
function tls.s_server(options)
  return tls.peer("openssl s_server -www -accept 127.0.0.1:PORT " .. options)
end

--- For after_each.
function tls.finish()
  for _, job in ipairs(peers) do
    job.process:kill_group()
    job:wait "ended"
  end
  peers = {}
  e2e.finish()
end

return tls
