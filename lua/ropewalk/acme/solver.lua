-- SPDX-License-Identifier: MIT
-- Answers to an authority that validates a name. What is to be found is a file of
-- the store, so that any worker can answer, whichever has ordered.
--
--   http-01       GET /.well-known/acme-challenge/TOKEN gives the key authorization
--   tls-alpn-01   a handshake with the protocol acme-tls/1 gets a certificate that
--                 holds its digest (RFC 8737)

local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local core = require "ropewalk.core"

local error, type = error, type
local find, lower = string.find, string.lower

local _ENV <const> = nil

---@class ropewalk.acme.Solver
---@field kinds string[] the best first
local Solver = Object:extend "AcmeSolver"

local MAX_TOKEN <const> = 200
local DAY <const> = 86400

function Solver:init(store, kinds) self.store, self.kinds = store, kinds end

local function file_of(kind, name, token)
  if kind == "http-01" then return "http-" .. token .. ".challenge" end
  return "tls-" .. name .. ".challenge"
end

function Solver:publish(kind, name, token, key_authorization)
  self.store:write(file_of(kind, name, token), key_authorization)
end

function Solver:withdraw(kind, name, token) self.store:remove(file_of(kind, name, token)) end

---The key authorization of a token, or nil.
---@param token string as the peer has it
---@return string?
function Solver:key_authorization(token)
  if type(token) ~= "string" or #token > MAX_TOKEN or not find(token, "^[%w_-]+$") then return nil end
  return self.store:read(file_of("http-01", "", token))
end

---The certificate that answers for a name, or nil.
---@param name string as the peer has it
---@return userdata? identity
function Solver:identity(name)
  name = lower(name)
  if #name > MAX_TOKEN or not find(name, "^[%w_][%w_.-]*$") then return nil end
  local key_authorization = self.store:read(file_of("tls-alpn-01", name))
  if not key_authorization then return nil end
  local key, now = core.tls_make_key "p256", core.time() // 1
  local pem, code, why = core.tls_make_certificate { key = key, names = { name },
    not_before = now - DAY, not_after = now + DAY, acme = core.sha256(key_authorization) }
  local identity
  if pem then identity, code, why = core.tls_identity(pem, key) end
  if not identity then error(Failure.new(code, why), 0) end
  return identity
end

return Solver
