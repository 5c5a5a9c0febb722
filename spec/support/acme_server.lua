-- SPDX-License-Identifier: MIT
--- An authority that speaks ACME, for specs: it runs as a script of its own
--- beside the one that is tested. It believes nothing: signatures, requests and
--- challenges are checked by openssl and curl (acme_checks.lua), not by what they
--- were made with.
---
---     return require "acme_server".serve(rw.config.at, rw.config.dir)
---
--- `dir` has ca.pem and ca.key. POST /control takes JSON: `http_port`, `tls_port`
--- (where names are validated, on loopback), `life` and `age` (of certificates, seconds),
--- `eab` ({kid, key}), `do` ({STEP = list of ACTION}, each for one request). Steps:
--- directory, nonce, account, order, authorization, challenge, finalize,
--- certificate, state. Actions: `status` with `type`, `retry_after`; `body` (as it
--- is); `cut`, `slow` (seconds), `huge`; `invalid` (the order, with this `type`).
--- GET /facts tells what has happened: `violations` must be empty.

local core = require "ropewalk.core"
local checks = require "acme_checks"
local rw = require "ropewalk"
local web = require "ropewalk.web"

local acme_server = {}

local URN <const> = "urn:ietf:params:acme:error:"

local base
local control = { life = 7776000, ["do"] = {} }
local nonces, accounts, by_thumbprint, orders, authorizations = {}, {}, {}, {}, {}
local facts = { violations = {}, orders = 0, accounts = 0, certificates = 0, validated = {},
  requests = {}, contacts = {}, bad_nonces = 0, binding = false }

-- Answers ------------------------------------------------------------------------

local function reply(status, value, headers)
  headers = headers or {}
  headers["Replay-Nonce"] = core.base64url_encode(core.random(16))
  nonces[headers["Replay-Nonce"]] = true
  headers["Content-Type"] = headers["Content-Type"] or "application/json"
  return web.response(status, type(value) == "string" and value or core.json_encode(value), headers)
end

local function problem(status, kind, detail, headers)
  headers = headers or {}
  headers["Content-Type"] = "application/problem+json"
  error(reply(status, { type = URN .. kind, detail = detail, status = status }, headers), 0)
end

local function insist(value, text)
  if value then return value end
  table.insert(facts.violations, text)
  problem(400, "malformed", text)
end

-- What control has planned for this step: true when nothing else is to be done.
local function misbehave(step, request)
  facts.requests[step] = (facts.requests[step] or 0) + 1
  local plan = table.remove(control["do"][step] or {}, 1)
  if not plan then return nil end
  if plan.slow then rw.sleep(plan.slow):await() end
  if plan.cut then return request:close() or plan end
  if plan.huge then
    error(web.stream(function(send) for _ = 1, 1000 do send(("x"):rep(65536)) end end), 0)
  end
  if plan.status then
    problem(plan.status, plan.type or "serverInternal", "as planned",
      plan.retry_after and { ["Retry-After"] = plan.retry_after })
  end
  if plan.body then error(reply(200, plan.body), 0) end
  return plan.invalid and plan or nil
end

-- Signed requests ----------------------------------------------------------------

local function decode(text, what)
  local bytes = type(text) == "string" and core.base64url_decode(text)
  return insist(bytes, what .. " is not base64url")
end

-- The payload (nil: POST-as-GET), and the account or, with jwk, the key.
local function open(request, step, wants_jwk)
  insist(request.headers["content-type"] == "application/jose+json", "the content type is wrong")
  insist(request.headers["user-agent"], "there is no User-Agent")
  local body = core.json_decode(request:read())
  insist(type(body) == "table" and body.protected and body.payload and body.signature, "this is no JWS")
  local protected = core.json_decode(decode(body.protected, "protected"))
  insist(type(protected) == "table", "the protected header is no object")
  insist(protected.alg == "ES256", "alg is not ES256")
  insist(protected.url == base .. request.target, "url is not the one that was asked for")
  local known = nonces[protected.nonce]
  nonces[protected.nonce] = nil
  if not known then
    facts.bad_nonces = facts.bad_nonces + 1
    problem(400, "badNonce", "that nonce is not known")
  end
  insist((protected.jwk == nil) ~= (protected.kid == nil), "jwk and kid: one of them")
  insist((protected.jwk ~= nil) == wants_jwk, wants_jwk and "jwk is missing" or "kid is missing")
  local account = protected.kid and accounts[protected.kid]
  if protected.kid and not account then problem(400, "accountDoesNotExist", "no such account") end
  local jwk = protected.jwk or account.jwk
  insist(jwk.kty == "EC" and jwk.crv == "P-256" and not jwk.d, "the key is not a public one of P-256")
  insist(checks.verify(jwk, body.protected .. "." .. body.payload, decode(body.signature, "signature")),
    "the signature is wrong")
  local plan = misbehave(step, request)
  local payload = body.payload ~= "" and core.json_decode(decode(body.payload, "payload")) or nil
  return payload, account or jwk, plan
end

local function check_binding(payload, jwk)
  local eab = control.eab
  if not eab then return end
  local given = payload.externalAccountBinding
  if not given then problem(403, "externalAccountRequired", "bind it") end
  local protected = core.json_decode(decode(given.protected, "protected"))
  insist(protected.alg == "HS256" and protected.kid == eab.kid and protected.url == base .. "/account"
    and not protected.nonce, "the binding's header is wrong")
  local bound = core.json_decode(decode(given.payload, "payload"))
  insist(bound.x == jwk.x and bound.y == jwk.y, "the binding is for another key")
  insist(checks.hmac(core.base64url_decode(eab.key), given.protected .. "." .. given.payload) == given.signature,
    "the binding's signature is wrong")
  facts.binding = true
end

local function new_account(request)
  local payload, jwk, plan = open(request, "account", true)
  if plan then return nil end
  local print = checks.thumbprint(jwk)
  local found = by_thumbprint[print]
  if found then return reply(200, { status = "valid" }, { Location = found.url }) end
  insist(payload.termsOfServiceAgreed == true, "the terms are not agreed to")
  check_binding(payload, jwk)
  facts.accounts = facts.accounts + 1
  local url = ("%s/account/%d"):format(base, facts.accounts)
  accounts[url] = { url = url, jwk = jwk, thumbprint = print }
  by_thumbprint[print] = accounts[url]
  facts.contacts = payload.contact or {}
  return reply(201, { status = "valid", contact = payload.contact }, { Location = url })
end

-- Orders -------------------------------------------------------------------------

local function show_order(order)
  local list = {}
  for i, each in ipairs(order.authorizations) do
    list[i] = each.url
    if each.status == "invalid" and order.status == "pending" then order.status = "invalid" end
  end
  local ready = order.status == "pending"
  for _, each in ipairs(order.authorizations) do ready = ready and each.status == "valid" end
  if ready then order.status = "ready" end
  return { status = order.status, identifiers = order.identifiers, authorizations = list,
    finalize = order.url .. "/finalize", error = order.error,
    certificate = order.pem and order.url .. "/certificate" or nil }
end

local function show_authorization(a)
  local challenges = {}
  for _, kind in ipairs(control.kinds or { "dns-01", "http-01", "tls-alpn-01" }) do
    table.insert(challenges, { type = kind, token = a.token, url = a.url .. "/" .. kind,
      status = a.kind == kind and a.status or "pending", error = a.kind == kind and a.error or nil })
  end
  return { status = a.status == "processing" and "pending" or a.status,
    identifier = { type = "dns", value = a.name }, challenges = challenges }
end

local function new_order(request)
  local payload, account, plan = open(request, "order", false)
  if plan then return nil end
  facts.orders = facts.orders + 1
  local order = { url = ("%s/order/%d"):format(base, facts.orders), status = "pending", account = account,
    identifiers = payload.identifiers, authorizations = {} }
  for i, each in ipairs(payload.identifiers) do
    insist(each.type == "dns" and each.value == each.value:lower(), "the identifier is malformed")
    local a = { url = ("%s/authorization/%d-%d"):format(base, facts.orders, i), status = "pending",
      name = each.value, account = account,
      token = core.base64url_encode(core.random(24)) }
    authorizations[a.url], order.authorizations[i] = a, a
  end
  orders[order.url] = order
  return reply(201, show_order(order), { Location = order.url })
end

-- Challenges ---------------------------------------------------------------------

local function validate(a, kind)
  local check, port = checks.http01, control.http_port
  if kind == "tls-alpn-01" then check, port = checks.tls_alpn01, control.tls_port end
  local ok, why = check(a.name, port, a.token, a.account.thumbprint)
  a.status = ok and "valid" or "invalid"
  if ok then
    table.insert(facts.validated, kind .. " " .. a.name)
  else
    a.error = { type = URN .. "unauthorized", detail = why }
  end
end

local function challenge(request)
  local payload, account, plan = open(request, "challenge", false)
  if plan then return nil end
  local a = authorizations[base .. request.target:match "^(/authorization/%d+%-%d+)/"]
  insist(a and a.account == account, "not this account's")
  insist(payload and next(payload) == nil, "the payload is no empty object")
  local kind = request.params.kind
  insist(kind == "http-01" or kind == "tls-alpn-01", "a challenge that was not meant")
  if a.status == "pending" then
    a.status, a.kind = "processing", kind
    core.spawn_detached(validate, a, kind) -- the request is over first
  end
  return reply(200, { type = kind, url = base .. request.target, token = a.token, status = "processing" })
end

-- Certificates -------------------------------------------------------------------

local issuing = rw.DeferredLock()

local function issue(order, csr)
  local names = {}
  for i, each in ipairs(order.identifiers) do names[i] = each.value end
  local why
  order.pem, why = checks.issue(names, csr, control.life, control.age)
  order.status = order.pem and "valid" or "invalid"
  if why then table.insert(facts.violations, why) end
end

local function finalize(request)
  local payload, account, plan = open(request, "finalize", false)
  local order = orders[base .. request.target:match "^(/order/%d+)/"]
  insist(order and order.account == account, "not this account's")
  if plan and plan.invalid then
    order.status, order.error = "invalid", { type = URN .. plan.invalid, detail = "as planned" }
    return reply(200, show_order(order))
  end
  if show_order(order).status ~= "ready" then problem(403, "orderNotReady", "it is " .. order.status) end
  local csr = decode(payload.csr, "csr")
  order.status = "processing"
  core.spawn_detached(function() issuing:run(issue, order, csr):await() end)
  return reply(200, show_order(order))
end

local function certificate(request)
  local payload, account, plan = open(request, "certificate", false)
  if plan then return nil end
  local order = orders[base .. request.target:match "^(/order/%d+)/"]
  insist(order and order.account == account and order.pem, "not this account's")
  insist(payload == nil, "POST-as-GET has a payload")
  insist(request.headers.accept == "application/pem-certificate-chain", "another type is wanted")
  facts.certificates = facts.certificates + 1
  return reply(200, order.pem, { ["Content-Type"] = "application/pem-certificate-chain" })
end

local function show(list, render, step)
  return function(request)
    local payload, account, plan = open(request, step, false)
    if plan then return nil end
    local object = list[base .. request.target]
    insist(object and object.account == account, "not this account's")
    insist(payload == nil, "POST-as-GET has a payload")
    return reply(200, render(object), { ["Retry-After"] = control.poll_after })
  end
end

-- The server ---------------------------------------------------------------------

--- The service; control says what its `base` is.
function acme_server.serve(at, directory)
  checks.begin(directory)
  local site = web.Site()
  site:get("/directory", function(request)
    if misbehave("directory", request) then return nil end
    return web.json({ newNonce = base .. "/nonce", newAccount = base .. "/account",
      newOrder = base .. "/order", meta = { externalAccountRequired = control.eab and true or nil } }, 200)
  end)
  site:head("/nonce", function(request)
    if misbehave("nonce", request) then return nil end
    return reply(200, "")
  end)
  site:post("/account", new_account)
  site:post("/account/:id", function(request)
    facts.contacts = open(request, "contact", false).contact
    return reply(200, { status = "valid" })
  end)
  site:post("/order", new_order)
  site:post("/order/:id", show(orders, show_order, "state"))
  site:post("/order/:id/finalize", finalize)
  site:post("/order/:id/certificate", certificate)
  site:post("/authorization/:id", show(authorizations, show_authorization, "authorization"))
  site:post("/authorization/:id/:kind", challenge)
  site:post("/control", function(request)
    local given = request:json()
    for key, value in pairs(given) do control[key] = value end
    base = control.base
    if given.forget then accounts, by_thumbprint = {}, {} end
    return 200, "ok"
  end)
  site:get("/facts", function() return web.json(facts) end)
  return rw.server(at, site)
end

return acme_server
