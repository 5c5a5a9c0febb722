-- SPDX-License-Identifier: MIT
-- What "tls:" endpoints and transport:start_tls need: contexts, from files.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local misuse = argument.misuse
local endpoint = require "ropewalk.endpoint"
local Failure = require "ropewalk.failure"
local files = require "ropewalk.tls.files"
local trusted = require "ropewalk.tls.trust"
local watch = require "ropewalk.tls.watch"

local error, getmetatable, ipairs, pairs, require, setmetatable, tostring, type =
  error, getmetatable, ipairs, pairs, require, setmetatable, tostring, type
local concat = table.concat
local format, gsub = string.format, string.gsub
local bad, read = files.bad, files.read

local _ENV <const> = nil

local tls = {}

local TICKET_KEY <const> = 32 -- bytes at least

---The certificates from files that servers of this script use now, the one that
---expires first in front; `rw.stats().tls_certificate_expiry` is when the first one
---expires that was not made on demand.
---
---    for _, each in ipairs(rw.tls.certificates()) do print(each.file, each.not_after) end
---@return { file: string, subject: string, names: string[], not_after: integer,
---  fingerprint: string, on_demand: boolean? }[]
function tls.certificates() return watch.certificates() end

-- Options ------------------------------------------------------------------------

local SHARED <const> = { cert = "string", key = "string", chain = "string", ca = "string", crl = "string",
  alpn = "table", min = "string", tickets = "boolean", insecurely_log_session_keys_to = "string" }
local SERVER <const> = { verify = "string", choose = "function", challenge = "boolean", ticket_key = "string" }
local CLIENT <const> = { insecurely_trust_anyone = "boolean" }
local OVER <const> = { context = "userdata", name = "string", acme = "table" }
local WORDS <const> = { verify = { none = true, optional = true, required = true },
  min = { ["1.2"] = true, ["1.3"] = true } }

-- What is misspelt would be left out without a word, and a client be let in, say. The
-- tables have the type of each option that there is.
local function check(what, options, ...)
  for name, value in pairs(options) do
    local kind
    for _, known in ipairs { SHARED, ... } do kind = kind or known[name] end
    if not kind then misuse(format("%s: there is no option '%s'", what, tostring(name))) end
    if type(value) ~= kind then misuse(format("%s: %s must be a %s, not a %s", what, name, kind, type(value))) end
    if WORDS[name] and not WORDS[name][value] then misuse(format("%s: %s cannot be '%s'", what, name, value)) end
  end
  return options
end

-- Tickets ------------------------------------------------------------------------

-- Who is let in by a ticket has passed what the label says: a context that asks
-- for more does not take it, the same one of the next generation does.
local function ticket_secret(options, verify, authorities)
  local parts = { verify, options.min or "", options.cert or "", options.key or "",
    authorities or "" }
  for i, part in ipairs(parts) do parts[i] = format("%d:%s", #part, part) end
  local label = concat(parts)
  if not options.ticket_key then return core.tls_ticket_secret(label) end
  local key, failure = read(options.ticket_key)
  if not key then return nil, failure end
  if #key < TICKET_KEY then
    return bad("%s: a ticket key has at least %d bytes", options.ticket_key, TICKET_KEY)
  end
  return core.hmac_sha256(key, label)
end

-- Contexts -----------------------------------------------------------------------

local function made(context, _, why)
  if context then return context end
  return bad("%s", why)
end

-- The context, without its certificates; or nil and a failure; and what the files of
-- its authorities hold.
local function server_context(options)
  local trust, authorities, secret, context, failure
  local verify = options.verify or (options.ca and "required") or "none"
  if options.crl and verify == "none" then return bad "tls: crl= needs ca=FILE" end
  if verify ~= "none" then
    if not options.ca then return bad("tls: verify=%s needs ca=FILE", verify) end
    trust, failure, authorities = trusted.of(options)
    if not trust then return nil, failure end
  end
  if options.tickets ~= false then
    secret, failure = ticket_secret(options, verify, authorities)
    if not secret then return nil, failure end
  end
  context, failure = made(core.tls_context { verify = verify, trust = trust, alpn = options.alpn,
    min_version = options.min, tickets = secret ~= nil, ticket_secret = secret,
    choose = options.choose, challenge = options.challenge,
    keylog = options.insecurely_log_session_keys_to })
  return context, failure, authorities
end

-- The context, with its certificates and looked after; or nil and a failure.
local function serving(options)
  if not options.cert and not options.choose then return bad("tls: cert= is missing") end
  local context, failure, seen = server_context(options)
  if not context then return nil, failure end
  if seen then watch.trust(context, options, seen, server_context) end
  if options.cert then
    local ok
    ok, failure = watch.serve(context, options)
    if not ok then return nil, failure end
  end
  return context
end

---What a server shakes hands with. `cert` and `key` are files, `cert` alone is a
---directory with NAME.pem and NAME.key; `choose` is asked for names that no
---certificate is for, may wait, and returns `rw.tls.identity(…)` or nil.
---
---    local context = assert(rw.tls.server_context { cert = "site.pem", key = "site.key" })
---@param options { cert: string?, key: string?, chain: string?, ca: string?, crl: string?,
---  verify: string?, alpn: string[]?, min: string?, choose: function?, challenge: boolean?,
---  tickets: boolean?, ticket_key: string?, insecurely_log_session_keys_to: string? }
---@return userdata? context
---@return ropewalk.Failure? failure
function tls.server_context(options)
  check("server_context", argument.expect("server_context", 1, options, "table"), SERVER)
  return serving(options)
end

local function client_context(options)
  local trust, authorities, identities, context, failure
  if options.insecurely_trust_anyone then
    if options.crl then return bad "tls: crl= and insecurely_trust_anyone= exclude each other" end
  else
    trust, failure, authorities = trusted.of(options)
    if not trust then return nil, failure end
  end
  if options.cert then
    local found
    found, failure = files.load(options)
    if found then identities, failure = files.identities(found) end
    if not identities then return nil, failure end
  end
  context, failure = made(core.tls_context { client = true, trust = trust, alpn = options.alpn,
    verify = trust and "required" or "none", min_version = options.min,
    tickets = options.tickets ~= false, keylog = options.insecurely_log_session_keys_to,
    identity = identities and identities[1].identity })
  return context, failure, authorities
end

---What a client shakes hands with: it checks the server against `ca` or the
---system's authorities. It goes on with an earlier session of that server, unless
---`tickets` is false.
---
---    local context = assert(rw.tls.client_context { ca = "ca.pem" })
---@param options? { ca: string?, crl: string?, cert: string?, key: string?, chain: string?, alpn: string[]?,
---  min: string?, tickets: boolean?, insecurely_trust_anyone: boolean?,
---  insecurely_log_session_keys_to: string? }
---@return userdata? context
---@return ropewalk.Failure? failure
function tls.client_context(options)
  options = check("client_context", argument.optional("client_context", 1, options, "table") or {}, CLIENT)
  local context, failure, seen = client_context(options)
  if not context then return nil, failure end
  if seen then watch.trust(context, options, seen, client_context) end
  return context
end

---A certificate chain and its key, both PEM: for `choose`.
---
---    local identity = assert(rw.tls.identity(chain, key))
---@param chain string
---@param key string
---@return userdata? identity
---@return ropewalk.Failure? failure
function tls.identity(chain, key)
  argument.expect("identity", 1, chain, "string")
  argument.expect("identity", 2, key, "string")
  local identity, _, why = core.tls_identity(chain, key)
  if not identity then return bad("%s", why) end
  return identity
end

-- Endpoints ------------------------------------------------------------------------

local function with(at, more)
  return setmetatable(more, { __index = at, __tostring = function() return at.text end })
end

---TLS with these options, or this `context`, over an endpoint; a client's has the
---`name` that it expects, if it is not the host.
---
---    rw.listen(rw.tls.over("tcp:8443", { choose = certificate_of }), factory)
---@param where string|ropewalk.Endpoint
---@param options? table as of server_context or client_context, or { context = … }
---@return ropewalk.Endpoint
function tls.over(where, options)
  options = check("over", argument.optional("over", 2, options, "table") or {}, SERVER, CLIENT, OVER)
  local at = endpoint.need(where)
  if at.tls then error("over: the endpoint speaks TLS already", 2) end
  local result = { tls = options, text = "tls:" .. at.text }
  for key, value in pairs(at) do result[key] = result[key] or value end
  return setmetatable(result, getmetatable(at))
end

---For ropewalk.listen: the endpoint with its context.
function tls.listening(at)
  if at.tls.name or at.tls.insecurely_trust_anyone then
    return bad("%s: name= and insecurely_trust_anyone= are for connecting", at.text)
  end
  local context, other = at.tls.context, nil -- a failure; of ACME what keeps the certificates
  if at.tls.acme then
    context, other = require "ropewalk.acme".listening(at)
  elseif not context then
    context, other = serving(at.tls)
  end
  if not context then return nil, other end
  return with(at, { tls_context = context, companion = other })
end

---For ropewalk.listen: connecting there.
function tls.connecting(at)
  local name = at.tls.name or at.host
  if not name and at.kind == "tcp" then name = "localhost" end
  if not name and not at.tls.insecurely_trust_anyone then
    return bad("%s: name=HOST is missing: whose certificate is expected", at.text)
  end
  if at.tls.verify or at.tls.acme then return bad("%s: verify= and acme= are for listening", at.text) end
  local context, failure = at.tls.context, nil
  if not context then context, failure = client_context(at.tls) end -- for this once
  if not context then return nil, failure end
  return with(at, { tls_context = context, tls_name = name and gsub(name, "%%.*$", "") })
end

-- In mid-stream ----------------------------------------------------------------------

---transport:start_tls (transport.lua).
function tls.start(transport, options)
  if type(options) ~= "table" or getmetatable(options) then
    misuse "start_tls: a table is needed: { context = … } or { name = … }"
  end
  check("start_tls", options, options.name and CLIENT or SERVER, OVER)
  local context, failure = options.context, nil
  if not context and options.name then
    context, failure = client_context(options) -- for this once
  elseif not context then
    context, failure = serving(options)
  end
  if not context then return nil, failure end
  local begun, code, message = transport:begin_tls(context, options.name)
  if not begun then return nil, Failure.new(code, message) end
  return true
end

return tls
