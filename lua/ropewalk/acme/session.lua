-- SPDX-License-Identifier: MIT
-- Signed requests to one authority (RFC 8555 §6), and the account they are signed
-- for. All methods wait, and raise Failures.

local Object = require "ropewalk.class"
local answer = require "ropewalk.acme.answer"
local core = require "ropewalk.core"
local http = require "ropewalk.acme.http"
local jose = require "ropewalk.acme.jose"
local tls = require "ropewalk.tls"

local error, ipairs, type = error, ipairs, type
local find = string.find
local insert, remove = table.insert, table.remove

local _ENV <const> = nil

---@class ropewalk.acme.Session
---@field account_key string|false PEM
---@field account_url string|false
local Session = Object:extend "AcmeSession"

local KEPT_NONCES <const> = 4

---@param options { directory: string, ca?: string, timeout: number }
function Session:init(options)
  self.directory_url, self.ca, self.timeout = options.directory, options.ca, options.timeout
  self.nonces, self.found, self.context = {}, false, false
  self.account_key, self.account_url = false, false
end

---Forgets what an authority has said of itself: may be it was what went wrong.
function Session:forget() self.nonces, self.found = {}, false end

-- Requests ------------------------------------------------------------------------

local function send(self, request)
  if not self.context then
    local context, failure = tls.client_context { ca = self.ca }
    if not context then error(failure, 0) end
    self.context = context
  end
  request.context, request.timeout, request.max_body = self.context, self.timeout, core.limits.acme_answer
  local response = http.request(request):await()
  local nonce = response.headers["replay-nonce"]
  if nonce and find(nonce, "^[%w_-]+$") and #nonce <= 256 and #self.nonces < KEPT_NONCES then
    insert(self.nonces, nonce)
  end
  return response
end

---Where things are, by their names in RFC 8555.
function Session:directory()
  if self.found then return self.found end
  local what = "the directory"
  local response = send(self, { method = "GET", url = self.directory_url })
  if response.status ~= 200 then error(answer.failure(response, what), 0) end
  local found = answer.json(response, what)
  for _, field in ipairs { "newNonce", "newAccount", "newOrder" } do answer.url(found, field, what) end
  self.found = found
  return found
end

local function take_nonce(self)
  local nonce = remove(self.nonces)
  if nonce then return nonce end
  local response = send(self, { method = "HEAD", url = self:directory().newNonce })
  if response.status ~= 200 and response.status ~= 204 then error(answer.failure(response, "a nonce"), 0) end
  return remove(self.nonces) or answer.fail("bad_answer", "there is no nonce in the answer")
end

---A signed request: the response, which is a good one. Without a payload it only
---reads (POST-as-GET).
---@param what string for messages
---@param url string
---@param payload? table
---@param more? { jwk?: table instead of the account's URL, accept?: string }
---@return table response
function Session:post(what, url, payload, more)
  more = more or {}
  local text = payload and core.json_encode(payload) or ""
  local failure
  for _ = 1, core.limits.acme_nonces do
    local protected = { nonce = take_nonce(self), url = url, jwk = more.jwk }
    if not more.jwk then protected.kid = self.account_url end
    local response = send(self, { method = "POST", url = url,
      body = core.json_encode(jose.sign(self.account_key, protected, text)),
      fields = { "Content-Type", "application/jose+json", "Accept", more.accept or "application/json" } })
    if response.status >= 200 and response.status < 300 then return response end
    failure = answer.failure(response, what)
    if failure.code ~= "badNonce" then break end
  end
  error(failure, 0)
end

-- The account -----------------------------------------------------------------------

local function bind(self, jwk, eab)
  local url = self:directory().newAccount
  return jose.mac(eab.key, { kid = eab.kid, url = url }, core.json_encode(jwk))
end

---Makes the account of this key, or finds the one that there is: its URL.
---@param key string PEM
---@param email? string
---@param eab? { kid: string, key: string } what the authority has given out otherwise
---@return string url
function Session:register(key, email, eab)
  local what = "the account"
  local found = self:directory()
  local meta = type(found.meta) == "table" and found.meta or {}
  if meta.externalAccountRequired == true and not eab then
    answer.fail("externalAccountRequired", "%s: the authority wants eab_kid and eab_key", what)
  end
  self.account_key = key
  local jwk = jose.jwk(key)
  local response = self:post(what, found.newAccount, {
    termsOfServiceAgreed = true,
    contact = email and { "mailto:" .. email } or nil,
    externalAccountBinding = eab and bind(self, jwk, eab) or nil,
  }, { jwk = jwk })
  self.account_url = answer.url({ location = response.headers.location }, "location", what)
  return self.account_url
end

---Uses an account that there is.
function Session:use_account(key, url) self.account_key, self.account_url = key, url end

---The account's contact is another one now.
function Session:change_contact(email)
  self:post("the account", self.account_url, { contact = email and { "mailto:" .. email } or core.array {} })
end

return Session
