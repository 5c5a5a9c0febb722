-- SPDX-License-Identifier: MIT
-- One certificate: what the store has of it, whether it is time for another one,
-- and getting that. Whoever orders holds the lock of the first name, and looks
-- into the store again then: another worker may have been faster.

local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local core = require "ropewalk.core"
local log = require "ropewalk.log"

local error, ipairs, pcall, type = error, ipairs, pcall, type
local max, min, random = math.max, math.min, math.random
local concat = table.concat

local _ENV <const> = nil

---@class ropewalk.acme.Certificate
---@field names string[]
---@field identity userdata|false
---@field not_after integer when it expires
local Certificate = Object:extend "AcmeCertificate"

local logger = log.logger "acme"

local RENEW_AT <const> = 2 / 3      -- of its life
local RENEW_JITTER <const> = 0.02   -- likewise, by chance
local RATE_LIMITED <const> = 3600   -- when the authority does not say how long

-- Seconds; what is stored, or said by the authority, may be nonsense.
local function max_delay() return core.limits.acme_retry / 1000 end

---@param issuer ropewalk.acme.Issuer
---@param names string[]
function Certificate:init(issuer, names)
  self.issuer, self.names, self.file = issuer, names, names[1]
  self.identity, self.not_after, self.renew_at = false, 0, 0
  self.failures, self.retry_at = 0, 0
end

-- The one of the store, if it fits.
local function read_identity(self)
  local text = self.issuer.store:read(self.file .. ".pem")
  if not text then return nil end
  local identity, _, why = core.tls_identity(text, text)
  if not identity then
    logger:error("the stored certificate is damaged, there will be another one",
      { file = self.file .. ".pem", reason = why })
    return nil
  end
  for _, name in ipairs(self.names) do
    if not identity:serves(name) then return nil end
  end
  return identity
end

---Takes what the store has: is it another one than before?
---@return boolean
function Certificate:load()
  local state = self.issuer.store:read_json(self.file .. ".json") or {}
  self.failures = type(state.failures) == "number" and state.failures or 0
  self.retry_at = type(state.retry_at) == "number" and min(state.retry_at, core.time() + max_delay()) or 0
  local identity = read_identity(self)
  if not identity then return false end
  local says = identity:describe()
  if self.fingerprint == says.fingerprint or says.not_after <= core.time() then return false end
  local life = says.not_after - says.not_before
  self.identity, self.fingerprint, self.not_after = identity, says.fingerprint, says.not_after
  self.renew_at = says.not_before + life * (RENEW_AT + RENEW_JITTER * random())
  return true
end

---How many seconds until there is something to do, if nothing changes; 0: now.
---@return number
function Certificate:idle()
  return max(0, (self.identity and self.renew_at or 0) - core.time(), self.retry_at - core.time())
end

---The identity while it is valid, or nil.
function Certificate:valid() return self.not_after > core.time() and self.identity or nil end

---What ropewalk.tls.watch lists of it.
---@return { identity: userdata, file: string, says: table }
function Certificate:entry()
  return { identity = self.identity, says = self.identity:describe(),
    file = self.issuer.store.path .. "/" .. self.file .. ".pem" }
end

-- Seconds; the script's own policy may be broken.
local function delay_after(self, failures)
  local ok, seconds = pcall(self.issuer.retry_policy, failures)
  if ok and type(seconds) == "number" and seconds == seconds then return seconds end
  logger:error("retry_policy gives no number of seconds", { reason = seconds })
  return RATE_LIMITED
end

local function store_state(self, reason)
  self.issuer.store:write_json(self.file .. ".json", { failures = self.failures,
    retry_at = self.retry_at, reason = reason })
end

-- It may be the store that fails: then only we know.
local function note_failure(self, failure)
  self.failures = self.failures + 1
  local delay = delay_after(self, self.failures)
  if failure.code == "rateLimited" and not failure.retry_after then delay = max(delay, RATE_LIMITED) end
  delay = min(max(delay, failure.retry_after or 0), max_delay())
  self.retry_at = core.time() + delay
  logger[self:valid() and "warn" or "error"](logger, "there is no new certificate",
    { names = concat(self.names, ","), reason = failure, code = failure.code,
      failures = self.failures, retry_in = delay // 1 })
  pcall(store_state, self, failure.message)
end

-- A store that cannot be written to is found out before the authority is asked.
local function order(self)
  store_state(self)
  local key = core.tls_make_key "p256"
  logger:info("a certificate is ordered", { names = concat(self.names, ",") })
  local store = self.issuer.store
  store:write(self.file .. ".pem", self.issuer:order(self.names, key) .. "\n" .. key)
  store:remove(self.file .. ".json")
end

-- Who has a certificate that is as good as over (a clock is wrong, say) would order
-- the next one at once, and so on.
local function note_success(self, failures)
  logger:info("the certificate is there", { names = concat(self.names, ","),
    days = (self.not_after - core.time()) // 86400 })
  if self:idle() > 0 then return end
  self.failures = failures
  note_failure(self, Failure.new("bad_answer", "the new certificate is to be renewed already"))
end

local function attempt(self)
  local lock <close> = self.issuer.store:lock(self.file .. ".lock") -- luacheck: ignore 211
  local changed = self:load()
  if changed or self:idle() > 0 then return changed end
  local failures = self.failures
  local ok, failure = pcall(order, self)
  if ok then
    changed = self:load()
    note_success(self, failures)
    return changed
  end
  failure = Failure.wrap(failure)
  if failure.code == "cancelled" then error(failure, 0) end
  note_failure(self, failure)
  return false
end

---Orders another one if it is (still) time for it: is there another one than
---before? Waits. A failure is noted, and the next attempt is not before `idle`
---says so; only being cancelled is raised.
---@return boolean
function Certificate:obtain()
  local ok, result = pcall(attempt, self)
  if ok then return result end
  result = Failure.wrap(result)
  if result.code == "cancelled" then error(result, 0) end
  note_failure(self, result) -- of the lock
  return false
end

return Certificate
