-- SPDX-License-Identifier: MIT
-- Certificates that are ordered at the first handshake for a name, if the script
-- allows it. Handshakes for one name share one order; the order goes on when they
-- give up. A name that is not allowed leaves nothing behind.
--
-- Certificates are kept in two tables: what is used moves to the young one; when
-- that is full it becomes the old one, and what nobody has used is forgotten (the
-- store still has it).

local Deferred = require "ropewalk.deferred"
local Object = require "ropewalk.class"
local Certificate = require "ropewalk.acme.certificate"
local async = require "ropewalk.async"
local core = require "ropewalk.core"
local log = require "ropewalk.log"
local options = require "ropewalk.acme.options"

local ipairs, next = ipairs, next
local max = math.max
local remove = table.remove

local _ENV <const> = nil

---@class ropewalk.acme.OnDemand
local OnDemand = Object:extend "AcmeOnDemand"

local logger = log.logger "acme"

local WARN_EVERY <const> = 1 -- seconds: who asks for many names shall not fill the log

---@param issuer ropewalk.acme.Issuer
---@param allow fun(name: string): boolean may wait
---@param max_pending? integer
function OnDemand:init(issuer, allow, max_pending)
  self.issuer, self.allow, self.max_pending = issuer, allow, max_pending or core.limits.acme_pending
  self.young, self.count, self.old = {}, 0, {}
  self.pending, self.pending_count, self.stopped = {}, 0, false
  self.warned = -WARN_EVERY
end

local function keep(self, name, certificate)
  if self.young[name] then return end
  if self.count >= max(1, core.limits.acme_kept // 2) then self.old, self.young, self.count = self.young, {}, 0 end
  self.young[name], self.count = certificate, self.count + 1
end

local function find(self, name)
  local certificate = self.young[name] or self.old[name]
  if certificate then keep(self, name, certificate) end
  return certificate
end

local function settle(self, name)
  local work = self.pending[name]
  self.pending[name], self.pending_count = nil, self.pending_count - 1
  local certificate = self.young[name]
  local identity = certificate and certificate:valid()
  local waiting = work.waiting
  work.waiting = {} -- who is woken may cancel others
  for _, d in ipairs(waiting) do
    if not d:called() then d:callback(identity) end
  end
end

-- Asks the script, then the store, then the authority.
local function get(self, name)
  local allowed = async.await(self.allow(name))
  if not allowed then return logger:debug("a name is not allowed", { name = name }) end
  local certificate = find(self, name) or Certificate(self.issuer, { name })
  certificate:load()
  if certificate:idle() == 0 then certificate:obtain() end
  if certificate:valid() then keep(self, name, certificate) end
end

-- In the scope of the generation: a client that goes away cancels nothing.
local function begin(self, name)
  local work = { waiting = {} }
  self.pending[name], self.pending_count = work, self.pending_count + 1
  core.spawn_detached(function()
    work.task = async.spawn(get, self, name)
    work.task:add_errback(function(failure)
      if failure.code ~= "cancelled" then logger:failure(failure, "a certificate on demand failed") end
    end):add_both(function() settle(self, name) end) -- also when its budget is used up
  end)
  return work
end

local function warn_of_many(self, limit, name)
  if core.now() - self.warned < WARN_EVERY then return end
  self.warned = core.now()
  logger:warn("too many wait for a certificate", { limit = limit, name = name })
end

---The certificate for a name, or nil. Waits.
---@param name string in lower case
---@return userdata? identity
function OnDemand:identity(name)
  local certificate = find(self, name)
  local identity = certificate and certificate:valid()
  local work = self.pending[name]
  if identity and (work or certificate:idle() > 0) then return identity end
  if self.stopped or not options.host(name) then return identity end
  if not work and self.pending_count >= self.max_pending then
    warn_of_many(self, "acme_pending", name)
    return identity
  end
  work = work or begin(self, name)
  if identity or not self.pending[name] then -- renewed in the background, or at once
    certificate = find(self, name)
    return certificate and certificate:valid()
  end
  if #work.waiting >= core.limits.acme_waiting then return warn_of_many(self, "acme_waiting", name) end
  local d
  d = Deferred.new(function() -- the peer has gone: its place is another's
    for i, each in ipairs(work.waiting) do
      if each == d then remove(work.waiting, i) break end
    end
  end)
  work.waiting[#work.waiting + 1] = d
  return d:await()
end

---Those that are in memory and valid, for ropewalk.tls.watch.
---@return { identity: userdata, file: string, says: table }[]
function OnDemand:certificates()
  local list = {}
  for _, certificates in ipairs { self.young, self.old } do
    for name, certificate in next, certificates do
      if certificate:valid() and (certificates == self.young or not self.young[name]) then
        list[#list + 1] = certificate:entry()
      end
    end
  end
  return list
end

---Gives up what is under way.
function OnDemand:stop()
  self.stopped = true
  for _, work in next, self.pending do
    if work.task then work.task:cancel() end
  end
end

return OnDemand
