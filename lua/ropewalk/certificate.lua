-- SPDX-License-Identifier: MIT
-- rw.certificate: keys, certificates and requests are made and read, all as PEM
-- texts. Nothing here waits; an RSA key takes a second, and belongs into a thread.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"

local error, ipairs, pairs, tostring, type = error, ipairs, pairs, tostring, type
local find, format, gsub, rep, sub, upper =
  string.find, string.format, string.gsub, string.rep, string.sub, string.upper
local concat = table.concat
local expect = argument.expect

local _ENV <const> = nil

---@class ropewalk.Certificate what a certificate says
---@field subject string "CN=example.org"
---@field issuer string
---@field names string[] host names and addresses
---@field emails string[]
---@field uris string[]
---@field serial string
---@field key string "EC P-256", "RSA 2048"
---@field signature string "ECDSA with SHA256"
---@field authority boolean it may sign others
---@field usage string[] "serverAuth", "digitalSignature", …
---@field not_before integer seconds since 1970
---@field not_after integer
---@field fingerprint string SHA-256 of it all, in hex
---@field self_signed boolean
---@field der string

local certificate = {}

local DAY <const> = 86400
local MARGIN <const> = 300 -- seconds that the peer's clock may be behind
local SOON <const> = 397   -- days: what browsers take at most
local AUTHORITY_DAYS <const> = 3650
local MAX_NAME <const> = 253
local LINE <const> = 64    -- characters of base64, RFC 7468

local KEYS <const> = { p256 = true, p384 = true, rsa2048 = true, rsa4096 = true }

local function bad(...) return nil, Failure.new("bad_certificate", format(...)) end

-- PEM -----------------------------------------------------------------------

---Bytes as PEM, under a label.
---
---    print(rw.certificate.to_pem("CERTIFICATE", der))
---@param label string
---@param der string
---@return string
function certificate.to_pem(label, der)
  expect("to_pem", 1, label, "string")
  local text = core.base64_encode(expect("to_pem", 2, der, "string"))
  local wrapped = gsub(text, rep(".", LINE), "%0\n")
  if #text % LINE ~= 0 then wrapped = wrapped .. "\n" end
  return concat { "-----BEGIN ", label, "-----\n", wrapped, "-----END ", label, "-----\n" }
end

---The blocks of a PEM text with this label, decoded, in their order; of bytes that
---are no PEM, themselves.
---@param label string
---@param text string
---@return string[]? ders
---@return ropewalk.Failure? failure
function certificate.from_pem(label, text)
  if not find(expect("from_pem", 2, text, "string"), "-----BEGIN ", 1, true) then return { text } end
  local list, at = {}, 1
  while true do -- one pattern for all would look for the end from each beginning anew
    local _, last, name = find(text, "%-%-%-%-%-BEGIN ([^\n-]+)%-%-%-%-%-%s", at)
    local stop = last and find(text, "-----END ", last, true)
    if not stop then return list end
    if name == label then
      local der = core.base64_decode((gsub(sub(text, last, stop - 1), "%s+", "")))
      if not der then return bad("a %s in it is damaged", label) end
      list[#list + 1] = der
    end
    at = stop
  end
end

-- Making --------------------------------------------------------------------

---A private key: "p256" (unless said otherwise), "p384", "rsa2048", "rsa4096".
---
---    local key = rw.certificate.make_key()
---@param kind? string
---@return string pem
function certificate.make_key(kind)
  kind = kind or "p256"
  if not KEYS[kind] then argument.refuse("make_key", 1, "p256, p384, rsa2048 or rsa4096 expected") end
  return core.tls_make_key(kind)
end

local function check_names(what, names)
  for i, name in ipairs(expect(what, 1, names, "table")) do
    if type(name) ~= "string" then
      error(format("%s: name %d must be a string, not %s", what, i, type(name)), 3)
    end
    local is_host = not find(name, "[@:]")
    if name == "" or #name > MAX_NAME or find(name, "[%s%c\x80-\xff]")
      or (is_host and find(name, "[^%w.*_-]")) then
      return bad('"%s" is no name for a certificate', name)
    end
    local star = find(name, "*", 1, true)
    if is_host and star and (star ~= 1 or not find(name, "^%*%.[^*]+%.[^*]+$")) then
      return bad('"%s": a * stands for the first label, above two others', name)
    end
  end
  return true
end

-- A certificate that nobody would accept is better not made.
local function check_authority(ca)
  local list, failure = certificate.read(ca.certificate)
  if not list then return nil, failure end
  local says, now = list[1], core.time()
  if not says.authority then return bad("%s is no authority", says.subject) end
  if says.not_after < now then return bad("the authority %s has expired", says.subject) end
  local identity, _, why = core.tls_identity(ca.certificate, ca.key)
  if not identity then return bad("the authority %s: %s", says.subject, why) end
  return says
end

local KNOWN <const> = {
  names = "table", key = "string", kind = "string", subject = "string", days = "number",
  client = "boolean", authority = "boolean", ca = "table", acme = "string",
}

---A certificate, signed with its own key, or by an authority `ca`, which it does not
---outlive. Names are host names, addresses, mail addresses, URIs.
---
---    local ca = assert(rw.certificate.issue { subject = "CN=Mine", authority = true })
---    local site = assert(rw.certificate.issue { names = { "localhost" }, ca = ca })
---    local identity = assert(rw.tls.identity(site.certificate, site.key))
---@param options { names: string[]?, subject: string?, key: string?, kind: string?, days: number?,
---  client: boolean?, authority: boolean?, ca: { certificate: string, key: string }?,
---  acme: string? } acme: the 32 bytes for a TLS-ALPN-01 challenge
---@return { certificate: string, key: string }? made
---@return ropewalk.Failure? failure
function certificate.issue(options)
  for name, value in pairs(expect("issue", 1, options, "table")) do
    if type(value) ~= KNOWN[name] then
      error(format("issue: %s must be %s, not %s", tostring(name), KNOWN[name] or "left out",
        type(value)), 2)
    end
  end
  local names = options.names or {}
  if #names == 0 and not options.subject then error("issue: names or a subject are missing", 2) end
  local ok, failure = check_names("issue", names)
  if not ok then return nil, failure end
  local now, ca = core.time() // 1, options.ca or {}
  local days = options.days or (options.authority and AUTHORITY_DAYS) or SOON
  local not_after = (now + days * DAY) // 1
  if options.ca then
    local says
    says, failure = check_authority(ca)
    if not says then return nil, failure end
    if says.not_after < not_after then not_after = says.not_after end
  end
  local key = options.key or certificate.make_key(options.kind)
  local pem, _, why = core.tls_make_certificate {
    names = names, subject = options.subject, key = key, client = options.client,
    authority = options.authority, not_before = now - MARGIN,
    not_after = not_after, issuer = ca.certificate, issuer_key = ca.key,
    acme = options.acme,
  }
  if not pem then return bad("%s", why) end
  return { certificate = pem, key = key }
end

---A request for a certificate with these names (PKCS #10), for an authority to sign.
---
---    local pem, der = assert(rw.certificate.request({ "example.org" }, key))
---@param names string[]
---@param key string PEM
---@return string? pem
---@return ropewalk.Failure|string failure or the same in DER
function certificate.request(names, key)
  expect("request", 2, key, "string")
  local ok, failure = check_names("request", names)
  if not ok then return nil, failure end
  local der, _, why = core.tls_make_request(names, key)
  if not der then return bad("%s", why) end
  return certificate.to_pem("CERTIFICATE REQUEST", der), der
end

-- Reading -------------------------------------------------------------------

---What the certificates in a text say (PEM, or DER of one), in their order.
---
---    for _, each in ipairs(assert(rw.certificate.read(text))) do print(each.subject) end
---@param text string
---@return ropewalk.Certificate[]? list
---@return ropewalk.Failure? failure
function certificate.read(text)
  local ders, failure = certificate.from_pem("CERTIFICATE", expect("read", 1, text, "string"))
  if not ders then return nil, failure end
  if #ders == 0 then return bad("there is no certificate in it") end
  local list = {}
  for i, der in ipairs(ders) do
    local says = core.tls_certificate(der)
    if not says then return bad("certificate %d of %d cannot be read", i, #ders) end
    list[i] = says
  end
  return list
end

---A fingerprint as people compare it: "AB:CD:…".
---@param hex string
---@return string
function certificate.show_fingerprint(hex)
  return sub(gsub(upper(expect("show_fingerprint", 1, hex, "string")), "%x%x", "%0:"), 1, -2)
end

return certificate
