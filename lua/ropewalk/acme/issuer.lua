-- SPDX-License-Identifier: MIT
-- Where certificates come from: a store, an account at one authority, and what
-- answers its challenges.

local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local Client = require "ropewalk.acme.client"
local Solver = require "ropewalk.acme.solver"
local Store = require "ropewalk.acme.store"
local core = require "ropewalk.core"
local log = require "ropewalk.log"
local retry = require "ropewalk.client"

local error, pcall, type = error, pcall, type
local sub = string.sub

local _ENV <const> = nil

---@class ropewalk.acme.Issuer
---@field store ropewalk.acme.Store
---@field solver ropewalk.acme.Solver
---@field retry_policy fun(failures: integer): number
local Issuer = Object:extend "AcmeIssuer"

local logger = log.logger "acme"

-- From a minute to half a day, as authorities ask for.
Issuer.retry_policy = retry.backoff_policy { initial_delay = 60, factor = 2, max_delay = 43200 }

---@param options table as of rw.acme.over
---@return ropewalk.acme.Issuer? issuer
---@return ropewalk.Failure? failure
function Issuer.open(options)
  local store, failure = Store.open(options.store)
  if not store then return nil, failure end
  local self = Issuer:new()
  self.store, self.email = store, options.email or false
  self.eab = options.eab_kid and { kid = options.eab_kid, key = core.base64url_decode(options.eab_key) }
  self.retry_policy = options.retry_policy
  self.solver = Solver(store, options.http01 and { "http-01", "tls-alpn-01" } or { "tls-alpn-01" })
  local limits = core.limits
  self.client = Client { directory = options.directory, ca = options.directory_ca,
    timeout = options.timeout or limits.acme_timeout / 1000,
    order_timeout = options.order_timeout or limits.acme_order_timeout / 1000 }
  -- no host name has such a character: those of certificates are others
  self.account_file = "account_" .. sub(core.hex_encode(core.sha256(options.directory)), 1, 16)
  return self
end

local function register(self, file, key)
  local url = self.client:register(key, self.email or nil, self.eab or nil)
  self.store:write_json(file, { key = key, url = url, email = self.email or nil,
    directory = self.client.directory_url })
  logger:info("there is an account at the authority", { account = url })
end

-- Of the store, or a new one. The key is stored before it is known to anybody, so
-- that an account whose answer was lost is found again by it.
local function use_account(self)
  local file = self.account_file .. ".json"
  local lock <close> = self.store:lock(self.account_file .. ".lock") -- luacheck: ignore 211
  local found = self.store:read_json(file)
  local key = found and type(found.key) == "string" and found.key
  if key and type(found.url) == "string" then
    self.client:use_account(key, found.url)
    if found.email == (self.email or nil) then return end
    self.client:change_contact(self.email or nil)
    found.email = self.email or nil
    return self.store:write_json(file, found)
  end
  if not key then
    key = core.tls_make_key "p256"
    self.store:write_json(file, { key = key })
  end
  return register(self, file, key)
end

-- The authority knows it no longer: it has forgotten all, as test servers do.
local function forget_account(self)
  local file = self.account_file .. ".json"
  local lock <close> = self.store:lock(self.account_file .. ".lock") -- luacheck: ignore 211
  local found = self.store:read_json(file)
  if found then self.store:write_json(file, { key = found.key }) end
end

---Orders a certificate: the chain in PEM. Waits; raises Failures.
---@param names string[]
---@param key string PEM
---@return string chain
function Issuer:order(names, key)
  for attempt = 1, 2 do
    local ok, result = pcall(use_account, self)
    if ok then ok, result = pcall(self.client.order, self.client, names, key, self.solver) end
    if ok then return result end
    result = Failure.wrap(result)
    self.client:forget()
    if result.code ~= "accountDoesNotExist" or attempt == 2 then error(result, 0) end
    forget_account(self)
  end
end

return Issuer
