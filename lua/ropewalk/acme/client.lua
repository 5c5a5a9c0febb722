-- SPDX-License-Identifier: MIT
-- What is said to an authority (RFC 8555), one signed request after the other:
--
--   directory ─→ account ─→ order ─→ each authorization ─→ finalize ─→ chain
--                                      publish, ask to validate, poll
--
-- All methods wait, and raise Failures. Of a problem document the last word of
-- its type is the code ("rateLimited", "rejectedIdentifier"); failures have
-- `retry_after` in seconds when the authority has said so.

local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"
local core = require "ropewalk.core"
local http = require "ropewalk.acme.http"
local jose = require "ropewalk.acme.jose"
local tls = require "ropewalk.tls"

local error, ipairs, pcall, setmetatable, tonumber, type =
  error, ipairs, pcall, setmetatable, tonumber, type
local max, min = math.max, math.min
local find, format, gsub, lower, match, sub =
  string.find, string.format, string.gsub, string.lower, string.match, string.sub
local insert, remove = table.insert, table.remove

local _ENV <const> = nil

---@class ropewalk.acme.Client
---@field account_key string|false PEM
---@field account_url string|false
local Client = Object:extend "AcmeClient"

local MAX_ANSWER <const> = 256 * 1024 -- bytes; a chain has some thousand
local MAX_NONCES <const> = 4
local MAX_BAD_NONCES <const> = 5      -- in a row
local MAX_TEXT <const> = 500          -- bytes of what the authority says, in a message
local MAX_RETRY_AFTER <const> = 7 * 86400
local POLL_FIRST <const>, POLL_MOST <const> = 0.5, 10

local function fail(code, ...) error(Failure.new(code, format(...)), 0) end

-- What the authority says goes into messages: short, and on one line.
local function clean(text)
  return (gsub(sub(text, 1, MAX_TEXT), "[%c\127]", "?"))
end

---@param options { directory: string, ca?: string, timeout: number, order_timeout: number }
function Client:init(options)
  self.directory_url, self.ca = options.directory, options.ca
  self.timeout, self.order_timeout = options.timeout, options.order_timeout
  self.nonces, self.directory, self.context = {}, false, false
  self.account_key, self.account_url = false, false
end

-- Requests ------------------------------------------------------------------------

local function seconds_of(text)
  if not text then return nil end
  local seconds = find(text, "^%d+$") and #text < 12 and tonumber(text)
  if not seconds then
    local at = core.http_date_parse(text)
    seconds = at and at - core.time()
  end
  return seconds and min(max(seconds, 0), MAX_RETRY_AFTER)
end

local function send(self, request)
  if not self.context then
    local context, failure = tls.client_context { ca = self.ca }
    if not context then error(failure, 0) end
    self.context = context
  end
  request.context, request.timeout, request.max_body = self.context, self.timeout, MAX_ANSWER
  local response = http.request(request):await()
  local nonce = response.headers["replay-nonce"]
  if nonce and find(nonce, "^[%w_-]+$") and #nonce <= 256 and #self.nonces < MAX_NONCES then
    insert(self.nonces, nonce)
  end
  response.retry_after = seconds_of(response.headers["retry-after"])
  return response
end

local function read_json(response, what)
  local value, why = core.json_decode(response.body)
  if type(value) ~= "table" then fail("bad_answer", "%s: %s", what, why or "this is no JSON object") end
  return value
end

local function text_of(value) return type(value) == "string" and value or "" end

-- Of a problem document (RFC 7807, RFC 8555 §6.7), also one within an order.
local function problem_text(problem)
  local parts = text_of(problem.detail)
  for i, each in ipairs(type(problem.subproblems) == "table" and problem.subproblems or {}) do
    if i > 5 or type(each) ~= "table" then break end
    local whose = type(each.identifier) == "table" and text_of(each.identifier.value) or ""
    parts = format("%s; %s: %s", parts, whose, text_of(each.detail))
  end
  return clean(parts)
end

local function problem_of(problem, what, status)
  local name = match(text_of(problem.type), "^urn:ietf:params:acme:error:([%w_]+)$") or "problem"
  local failure = Failure.new(name, format("%s: %s (%s)", what, problem_text(problem), name))
  failure.status = status
  return failure
end

local function raise_problem(response, what)
  local problem = core.json_decode(response.body)
  local failure
  if type(problem) == "table" and problem.type then
    failure = problem_of(problem, what, response.status)
  else
    failure = Failure.new("bad_answer", format("%s: status %d", what, response.status))
    failure.status = response.status
  end
  failure.retry_after = response.retry_after
  error(failure, 0)
end

local function url_in(object, field, what)
  local url = object[field]
  if type(url) ~= "string" or #url > 2048 then fail("bad_answer", "%s: %s is no URL", what, field) end
  local parts, failure = http.parse_url(url)
  if not parts then error(failure, 0) end
  return url
end

local function directory(self)
  if self.directory then return self.directory end
  local what = "the directory"
  local response = send(self, { method = "GET", url = self.directory_url })
  if response.status ~= 200 then raise_problem(response, what) end
  local found = read_json(response, what)
  for _, field in ipairs { "newNonce", "newAccount", "newOrder" } do url_in(found, field, what) end
  self.directory = found
  return found
end

local function take_nonce(self)
  local nonce = remove(self.nonces)
  if nonce then return nonce end
  local response = send(self, { method = "HEAD", url = directory(self).newNonce })
  if response.status ~= 200 and response.status ~= 204 then raise_problem(response, "a nonce") end
  return remove(self.nonces) or fail("bad_answer", "there is no nonce in the answer")
end

local function is_bad_nonce(response)
  if response.status ~= 400 then return false end
  local problem = core.json_decode(response.body)
  return type(problem) == "table" and problem.type == "urn:ietf:params:acme:error:badNonce"
end

-- A signed request: the response, which is a good one. Without a payload it only
-- reads (POST-as-GET).
local function post(self, what, url, payload, more)
  local text = payload and core.json_encode(payload) or ""
  for attempt = 1, MAX_BAD_NONCES do
    local protected = { nonce = take_nonce(self), url = url }
    if more and more.jwk then protected.jwk = more.jwk else protected.kid = self.account_url end
    local response = send(self, { method = "POST", url = url,
      body = core.json_encode(jose.sign(self.account_key, protected, text)),
      fields = { "Content-Type", "application/jose+json",
        "Accept", more and more.accept or "application/json" } })
    if response.status >= 200 and response.status < 300 then return response end
    if not is_bad_nonce(response) or attempt == MAX_BAD_NONCES then raise_problem(response, what) end
  end
end

-- The account -----------------------------------------------------------------------

local function bind(self, jwk, eab)
  local url = directory(self).newAccount
  return jose.mac(eab.key, { kid = eab.kid, url = url }, core.json_encode(jwk))
end

---Makes the account of this key, or finds the one that there is: its URL.
---@param key string PEM
---@param email? string
---@param eab? { kid: string, key: string } what the authority has given out otherwise
---@return string url
function Client:register(key, email, eab)
  local what = "the account"
  local found = directory(self)
  local meta = type(found.meta) == "table" and found.meta or {}
  if meta.externalAccountRequired == true and not eab then
    fail("externalAccountRequired", "%s: the authority wants eab_kid and eab_key", what)
  end
  self.account_key, self.account_url = key, false
  local jwk = jose.jwk(key)
  local response = post(self, what, found.newAccount, {
    termsOfServiceAgreed = true,
    contact = email and { "mailto:" .. email } or nil,
    externalAccountBinding = eab and bind(self, jwk, eab) or nil,
  }, { jwk = jwk })
  self.account_url = url_in({ location = response.headers.location }, "location", what)
  return self.account_url
end

---Uses an account that there is.
function Client:use_account(key, url) self.account_key, self.account_url = key, url end

---The account's contact is another one now.
function Client:change_contact(email)
  post(self, "the account", self.account_url, { contact = email and { "mailto:" .. email } or {} })
end

-- Orders ----------------------------------------------------------------------------

-- Reads a resource until its status is one of these; `deadline` on core.now().
local function poll(self, what, url, wanted, deadline)
  local delay = POLL_FIRST
  while true do
    local response = post(self, what, url)
    local answer = read_json(response, what)
    if wanted[answer.status] then return answer end
    local seconds = max(delay, min(response.retry_after or 0, POLL_MOST))
    if core.now() + seconds > deadline then
      fail("timeout", "%s is still %s after %d s", what, clean(text_of(answer.status)), self.order_timeout)
    end
    async.sleep(seconds):await()
    delay = min(delay * 1.5, POLL_MOST)
  end
end

local function refused(what, object)
  if type(object.error) == "table" then error(problem_of(object.error, what), 0) end
  fail("invalid", "%s is %s", what, clean(text_of(object.status)))
end

local function choose_challenge(solver, authorization, what)
  local challenges = authorization.challenges
  for _, kind in ipairs(solver.kinds) do
    for _, each in ipairs(type(challenges) == "table" and challenges or {}) do
      if type(each) == "table" and each.type == kind then return each end
    end
  end
  return fail("no_challenge", "%s: the authority offers nothing that we can do", what)
end

local SETTLED <const> = { valid = true, invalid = true, deactivated = true, expired = true, revoked = true }

local function failed_challenge(what, authorization, kind)
  for _, each in ipairs(type(authorization.challenges) == "table" and authorization.challenges or {}) do
    if type(each) == "table" and each.type == kind then refused(what, each) end
  end
  refused(what, authorization)
end

local function authorize(self, url, solver, names, deadline)
  local what = "the authorization"
  local authorization = read_json(post(self, what, url), what)
  local identifier = type(authorization.identifier) == "table" and authorization.identifier or {}
  local name = lower(text_of(identifier.value))
  if not names[name] then fail("bad_answer", '%s is for "%s", which was not ordered', what, clean(name)) end
  what = "the authorization of " .. name
  if authorization.status == "valid" then return end
  if authorization.status ~= "pending" then refused(what, authorization) end
  local challenge = choose_challenge(solver, authorization, what)
  local token = text_of(challenge.token)
  if not find(token, "^[%w_-]+$") or #token > 200 then fail("bad_answer", "%s: the token is malformed", what) end
  local challenge_url = url_in(challenge, "url", what)
  local key_authorization = token .. "." .. jose.thumbprint(self.account_key)
  solver:publish(challenge.type, name, token, key_authorization)
  local published <close> = setmetatable({}, { __close = function() -- luacheck: ignore 211
    solver:withdraw(challenge.type, name, token)
  end })
  post(self, what, challenge_url, {})
  local settled = poll(self, what, url, SETTLED, deadline)
  if settled.status ~= "valid" then failed_challenge(what, settled, challenge.type) end
end

local function read_chain(response, names, key)
  local chain, what = response.body, "the certificate"
  if not find(chain, "-----BEGIN CERTIFICATE-----", 1, true) or find(chain, "PRIVATE KEY", 1, true) then
    fail("bad_answer", "%s is no chain in PEM", what)
  end
  local identity, _, why = core.tls_identity(chain, key)
  if not identity then fail("bad_answer", "%s: %s", what, why) end
  for _, name in ipairs(names) do
    if not identity:serves(name) then fail("bad_answer", "%s is not for %s", what, name) end
  end
  local says, now = identity:describe(), core.time()
  if says.not_after <= now or says.not_after <= says.not_before then
    fail("bad_answer", "%s has expired already", what)
  end
  return chain
end

local ORDER_READY <const> = { ready = true, valid = true, invalid = true }
local ORDER_DONE <const> = { valid = true, invalid = true }

local function order(self, names, key, solver)
  local what, deadline = "the order", core.now() + self.order_timeout
  local identifiers, wanted = {}, {}
  for i, name in ipairs(names) do
    identifiers[i] = { type = "dns", value = name }
    wanted[name] = true
  end
  local response = post(self, what, directory(self).newOrder, { identifiers = identifiers })
  local url = url_in({ location = response.headers.location }, "location", what)
  local found = read_json(response, what)
  local authorizations = found.authorizations
  if type(authorizations) ~= "table" or #authorizations > #names then
    fail("bad_answer", "%s: its authorizations are missing, or too many", what)
  end
  for i in ipairs(authorizations) do
    authorize(self, url_in(authorizations, i, what), solver, wanted, deadline)
  end
  found = poll(self, what, url, ORDER_READY, deadline)
  if found.status == "ready" then
    local request, _, why = core.tls_make_request(names, key)
    if not request then fail("error", "%s", why) end
    post(self, what, url_in(found, "finalize", what), { csr = core.base64url_encode(request) })
    found = poll(self, what, url, ORDER_DONE, deadline)
  end
  if found.status ~= "valid" then refused(what, found) end
  response = post(self, "the certificate", url_in(found, "certificate", what), nil,
    { accept = "application/pem-certificate-chain" })
  return read_chain(response, names, key)
end

---Orders a certificate for these names and this key: the chain in PEM.
---@param names string[] host names
---@param key string PEM
---@param solver ropewalk.acme.Solver
---@return string chain
function Client:order(names, key, solver)
  local ok, result = pcall(order, self, names, key, solver)
  if ok then return result end
  self.nonces, self.directory = {}, false -- may be what was wrong
  error(result, 0)
end

return Client
