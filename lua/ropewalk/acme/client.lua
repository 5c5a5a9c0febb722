-- SPDX-License-Identifier: MIT
-- An order, from the names to the certificate (RFC 8555 §7.4):
--
--   order ─→ each authorization ─→ finalize ─→ chain
--              publish, ask to validate, poll

local Session = require "ropewalk.acme.session"
local answer = require "ropewalk.acme.answer"
local async = require "ropewalk.async"
local core = require "ropewalk.core"
local jose = require "ropewalk.acme.jose"

local error, ipairs, setmetatable, type = error, ipairs, setmetatable, type
local max, min = math.max, math.min
local find, lower = string.find, string.lower
local clean, fail, read_json, text_of, url_in =
  answer.clean, answer.fail, answer.json, answer.text, answer.url

local _ENV <const> = nil

---@class ropewalk.acme.Client: ropewalk.acme.Session
local Client = Session:extend "AcmeClient"

local POLL_FIRST <const>, POLL_MOST <const> = 0.5, 10

---@param options { directory: string, ca?: string, timeout: number, order_timeout: number }
function Client:init(options)
  Session.init(self, options)
  self.order_timeout = options.order_timeout
end

-- Reads a resource until its status is one of these; `deadline` on core.now().
local function poll(self, what, url, wanted, deadline)
  local delay = POLL_FIRST
  while true do
    local response = self:post(what, url)
    local found = read_json(response, what)
    if wanted[found.status] then return found end
    local seconds = max(delay, min(answer.retry_after(response.headers) or 0, POLL_MOST))
    if core.now() + seconds > deadline then
      fail("timeout", "%s is still %s after %d s", what, clean(found.status), self.order_timeout)
    end
    async.sleep(seconds):await()
    delay = min(delay * 1.5, POLL_MOST)
  end
end

local function refused(what, object)
  if type(object.error) == "table" then error(answer.problem(object.error, what), 0) end
  fail("invalid", "%s is %s", what, clean(object.status))
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
  local authorization = read_json(self:post(what, url), what)
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
  self:post(what, challenge_url, {})
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

---Orders a certificate for these names and this key: the chain in PEM.
---@param names string[] host names
---@param key string PEM
---@param solver ropewalk.acme.Solver
---@return string chain
function Client:order(names, key, solver)
  local what, deadline = "the order", core.now() + self.order_timeout
  local identifiers, wanted = {}, {}
  for i, name in ipairs(names) do
    identifiers[i] = { type = "dns", value = name }
    wanted[name] = true
  end
  local response = self:post(what, self:directory().newOrder, { identifiers = identifiers })
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
    self:post(what, url_in(found, "finalize", what), { csr = core.base64url_encode(request) })
    found = poll(self, what, url, ORDER_DONE, deadline)
  end
  if found.status ~= "valid" then refused(what, found) end
  response = self:post("the certificate", url_in(found, "certificate", what), nil,
    { accept = "application/pem-certificate-chain" })
  return read_chain(response, names, key)
end

return Client
