-- SPDX-License-Identifier: MIT
-- TLS from files: what "tls:" endpoints and transport:start_tls need. A server
-- looks at its files each second; new ones serve the next handshake, and sessions
-- that there are go on.

local core = require "ropewalk.core"
local endpoint = require "ropewalk.endpoint"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"

local error, getmetatable, ipairs, pairs, require, setmetatable, type =
  error, getmetatable, ipairs, pairs, require, setmetatable, type
local format, gsub, match = string.format, string.gsub, string.match
local concat, sort = table.concat, table.sort
local open = io.open

local _ENV <const> = nil

local tls = {}
local logger = log.logger "tls"

local MAX_FILE <const> = 1 << 20  -- bytes: a chain has some thousand
local LOOK_EVERY <const> = 1      -- seconds
local WARN_AHEAD <const> = 14 * 86400
local WARN_EVERY <const> = 86400

local function bad(...) return nil, Failure.new("bad_certificate", format(...)) end

local function read(path)
  local file, why = open(path, "rb")
  if not file then return bad("cannot open %s", why) end -- it begins with the path
  local text
  text, why = file:read(MAX_FILE + 1)
  file:close()
  if not text then return bad("cannot read %s: %s", path, why or "it is empty") end
  if #text > MAX_FILE then return bad("%s is longer than %d bytes", path, MAX_FILE) end
  return text
end

-- Certificates -----------------------------------------------------------------

-- Where a certificate and its key are: files, or NAME.pem and NAME.key in a
-- directory, which is the list of all that it has.
local function pairs_of(options)
  if options.key then return { { cert = options.cert, key = options.key, chain = options.chain } } end
  local dir = core.dir(options.cert)
  if not dir then return bad("%s: the key is missing, and it is no directory", options.cert) end
  local at, list = dir:open ".", {}
  for _, name in ipairs(at and at:names() or {}) do
    local stem = match(name, "^(.+)%.pem$")
    if stem then
      local base = options.cert .. "/" .. stem
      list[#list + 1] = { cert = base .. ".pem", key = base .. ".key" }
    end
  end
  if at then at:close() end
  dir:close()
  if #list == 0 then return bad("%s has no NAME.pem with NAME.key", options.cert) end
  sort(list, function(a, b) return a.cert < b.cert end)
  return list
end

-- All identities of these options, and their texts in one, to see a change.
local function load_identities(options)
  local list, failure = pairs_of(options)
  if not list then return nil, failure end
  local identities, seen = {}, {}
  for i, files in ipairs(list) do
    local parts = {}
    for _, which in ipairs { "cert", "chain", "key" } do
      if files[which] then
        parts[which], failure = read(files[which])
        if not parts[which] then return nil, failure end
        seen[#seen + 1] = parts[which]
      end
    end
    local chain = parts.cert .. (parts.chain and "\n" .. parts.chain or "")
    local identity, _, why = core.tls_identity(chain, parts.key)
    if not identity then return bad("%s with %s: %s", files.cert, files.key, why) end
    identities[i] = { identity = identity, file = files.cert, says = identity:describe() }
  end
  return identities, concat(seen)
end

local function install(context, identities)
  local names = {}
  for _, each in ipairs(identities) do
    for _, name in ipairs(each.says.names) do names[name] = names[name] or each.identity end
  end
  context:set_names(names, identities[1].identity)
end

local function warn_of_expiry(identities)
  local now = core.time()
  for _, each in ipairs(identities) do
    local left = each.says.not_after - now
    if left < WARN_AHEAD then
      logger:warn(left < 0 and "the certificate has expired" or "the certificate expires soon",
        { file = each.file, days = left // 86400 })
    end
  end
end

-- Looks again, as long as somebody holds the context.
local function watch(context, options, identities, seen)
  local alive = setmetatable({ context = context }, { __mode = "v" })
  local warned, complaint = core.time(), nil
  warn_of_expiry(identities)
  local function look()
    local now = alive.context
    if not now then return end
    local found, text = load_identities(options)
    if not found then -- half written, perhaps; the old ones go on
      if complaint ~= text.message then
        logger:warn("the new certificate is not taken: {reason}", { reason = text.message })
      end
      complaint = text.message
    elseif text ~= seen then
      install(now, found)
      identities, seen, complaint, warned = found, text, nil, core.time()
      logger:info("the certificate was replaced", { file = options.cert })
      warn_of_expiry(identities)
    end
    if core.time() - warned >= WARN_EVERY then
      warned = core.time()
      warn_of_expiry(identities)
    end
    core.housekeeping(LOOK_EVERY, look)
  end
  core.housekeeping(LOOK_EVERY, look)
end

-- Contexts -----------------------------------------------------------------------

local function trust_of(options)
  local trust = core.tls_trust()
  local count, code, why
  if options.ca then
    local pem, failure = read(options.ca)
    if not pem then return nil, failure end
    count, code, why = trust:add(pem)
    if not count then return bad("%s: %s", options.ca, why or code) end
    return trust
  end
  count, code, why = trust:add_system()
  if not count then return bad("the system's authorities: %s", why or code) end
  return trust
end

local function made(context, _, why)
  if context then return context end
  return bad("%s", why)
end

---What a server shakes hands with. `cert` and `key` are files, `cert` alone is a
---directory with NAME.pem and NAME.key; `choose` is asked for names that no
---certificate is for, may wait, and returns `rw.tls.identity(…)` or nil.
---
---    local context = assert(rw.tls.server_context { cert = "site.pem", key = "site.key" })
---@param options { cert: string?, key: string?, chain: string?, ca: string?,
---  verify: string?, alpn: string[]?, min: string?, choose: function?, challenge: boolean? }
---@return userdata? context
---@return ropewalk.Failure? failure
function tls.server_context(options)
  if not options.cert and not options.choose then return bad("tls: cert= is missing") end
  local identities, seen, trust, failure
  if options.cert then
    identities, seen = load_identities(options)
    if not identities then return nil, seen end
  end
  local verify = options.verify or (options.ca and "required") or "none"
  if verify ~= "none" then
    if not options.ca then return bad("tls: verify=%s needs ca=FILE", verify) end
    trust, failure = trust_of(options)
    if not trust then return nil, failure end
  end
  local context
  context, failure = made(core.tls_context { verify = verify, trust = trust, alpn = options.alpn,
    min_version = options.min, tickets = true, ticket_secret = core.random(32),
    choose = options.choose, challenge = options.challenge })
  if not context then return nil, failure end
  if identities then
    install(context, identities)
    watch(context, options, identities, seen)
  end
  return context
end

---What a client shakes hands with: it checks the server against `ca` or the
---system's authorities.
---
---    local context = assert(rw.tls.client_context { ca = "ca.pem" })
---@param options? { ca: string?, cert: string?, key: string?, chain: string?, alpn: string[]?,
---  min: string?, insecurely_trust_anyone: boolean? }
---@return userdata? context
---@return ropewalk.Failure? failure
function tls.client_context(options)
  options = options or {}
  local trust, identities, failure
  if not options.insecurely_trust_anyone then
    trust, failure = trust_of(options)
    if not trust then return nil, failure end
  end
  if options.cert then
    identities, failure = load_identities(options)
    if not identities then return nil, failure end
  end
  return made(core.tls_context { client = true, trust = trust, alpn = options.alpn,
    verify = trust and "required" or "none", min_version = options.min,
    identity = identities and identities[1].identity })
end

---A certificate chain and its key, both PEM: for `choose`.
---
---    local identity = assert(rw.tls.identity(chain, key))
---@param chain string
---@param key string
---@return userdata? identity
---@return ropewalk.Failure? failure
function tls.identity(chain, key)
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
---@param options table as of server_context or client_context, or { context = … }
---@return ropewalk.Endpoint
function tls.over(where, options)
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
    context, other = tls.server_context(at.tls)
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
  if not context then context, failure = tls.client_context(at.tls) end
  if not context then return nil, failure end
  return with(at, { tls_context = context, tls_name = name and gsub(name, "%%.*$", "") })
end

-- In mid-stream ----------------------------------------------------------------------

---transport:start_tls (transport.lua).
function tls.start(transport, options)
  if type(options) ~= "table" or getmetatable(options) then
    error("start_tls: a table is needed: { context = … } or { name = … }", 3)
  end
  local context, failure = options.context
  if not context then
    local make = options.name and tls.client_context or tls.server_context
    context, failure = make(options)
  end
  if not context then return nil, failure end
  local begun, code, message = transport:begin_tls(context, options.name)
  if not begun then return nil, Failure.new(code, message) end
  return true
end

return tls
