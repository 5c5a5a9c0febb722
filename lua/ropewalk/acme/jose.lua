-- SPDX-License-Identifier: MIT
-- JSON Web Signatures (RFC 7515) as ACME has them: ES256 with an account's key,
-- HS256 with a key that the authority has given out otherwise.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local error = error
local format, sub = string.format, string.sub
local encode64 = core.base64url_encode

local _ENV <const> = nil

local jose = {}

local function need(value, code, message)
  if value then return value end
  error(Failure.new(code, message), 0)
end

-- The public half of a key, as RFC 7638 wants it for its digest: these fields,
-- in this order, and no spaces.
local function jwk_text(key)
  local point = need(core.p256_point(key))
  return format('{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}',
    encode64(sub(point, 1, 32)), encode64(sub(point, 33)))
end

---The public half of a P-256 key (PEM), as a table.
function jose.jwk(key) return core.json_decode(jwk_text(key)) end

---Its thumbprint (RFC 7638).
function jose.thumbprint(key) return encode64(core.sha256(jwk_text(key))) end

local function flattened(protected, payload, sign)
  protected = encode64(core.json_encode(protected))
  payload = encode64(payload)
  local signature = encode64(sign(protected .. "." .. payload))
  return { protected = protected, payload = payload, signature = signature }
end

---Signs with ES256: a table for JSON. `protected` is the header without alg.
function jose.sign(key, protected, payload)
  protected.alg = "ES256"
  return flattened(protected, payload, function(text) return need(core.p256_sign(key, text)) end)
end

---The same with HS256 and a secret.
function jose.mac(secret, protected, payload)
  protected.alg = "HS256"
  return flattened(protected, payload, function(text) return core.hmac_sha256(secret, text) end)
end

return jose
