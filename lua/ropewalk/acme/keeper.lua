-- SPDX-License-Identifier: MIT
-- What serves an endpoint with ACME: its context, the certificate of its names,
-- renewed in time, those that are made on demand, and the port for HTTP-01. It
-- lives as long as the port it is for.

local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local Certificate = require "ropewalk.acme.certificate"
local Issuer = require "ropewalk.acme.issuer"
local OnDemand = require "ropewalk.acme.ondemand"
local async = require "ropewalk.async"
local log = require "ropewalk.log"
local net = require "ropewalk.listen"
local reactor = require "ropewalk.reactor"
local resource = require "ropewalk.acme.resource"
local tls = require "ropewalk.tls"
local watch = require "ropewalk.tls.watch"

local ipairs, next, xpcall = ipairs, next, xpcall
local min = math.min
local lower = string.lower

local _ENV <const> = nil

---@class ropewalk.acme.Keeper
local Keeper = Object:extend "AcmeKeeper"

-- Options of TLS that go with certificates of an authority.
Keeper.OPTIONS = { "ca", "crl", "verify", "alpn", "min", "tickets", "ticket_key",
  "insecurely_log_session_keys_to" }

local logger = log.logger "acme"

local LOOK_AGAIN <const> = 3600 -- seconds: the clock may be set
local BREATHE <const> = 1       -- likewise, between two attempts at least

local function install(self)
  local certificate, names = self.certificate, {}
  for _, name in next, certificate.names do names[name] = certificate.identity end
  self.context:set_names(names)
  watch.note(self.context, certificate:entry())
end

-- For names that the context has no certificate for.
local function choose(self, hello)
  if hello.alpn[1] == "acme-tls/1" and #hello.alpn == 1 then
    return self.issuer.solver:identity(hello.server_name)
  end
  local name = lower(hello.server_name)
  if name == "" then return self.certificate and self.certificate:valid() end
  return self.on_demand and self.on_demand:identity(name)
end

local function keep(self)
  while true do
    async.sleep(min(self.certificate:idle(), LOOK_AGAIN)):await()
    if self.certificate:idle() == 0 then
      if self.certificate:obtain() then install(self) end
      async.sleep(BREATHE):await()
    end
  end
end

---@param at ropewalk.Endpoint with tls.acme
---@return ropewalk.acme.Keeper? keeper
---@return ropewalk.Failure? failure
function Keeper.open(at)
  local options, self = at.tls.acme, Keeper:new()
  local failure
  self.issuer, failure = Issuer.open(options)
  if not self.issuer then return nil, failure end
  local wanted = { choose = function(hello) return choose(self, hello) end, challenge = true }
  for _, name in ipairs(Keeper.OPTIONS) do wanted[name] = at.tls[name] end
  self.context, failure = tls.server_context(wanted)
  if not self.context then return nil, failure end
  self.on_demand = options.allow and OnDemand(self.issuer, options.allow, options.max_pending)
  if self.on_demand then watch.note_many(self.on_demand) end
  self.certificate = options.hosts and Certificate(self.issuer, options.hosts)
  if self.certificate and self.certificate:load() then install(self) end
  if options.http01 and options.http01 ~= true then
    self.http, failure = net.open(options.http01, resource.site(self.issuer, options.hosts or {}))
    if not self.http then return nil, failure end
  end
  return self
end

---The port is open: certificates are ordered once the code is live.
function Keeper:start()
  if not self.certificate then return end
  reactor:call_when_running(function()
    if self.stopped then return end
    self.task = async.spawn(function()
      local ok, failure = xpcall(keep, Failure.caught, self)
      if not ok and failure.code ~= "cancelled" then
        logger:failure(failure, "certificates are renewed no longer")
      end
    end)
  end)
end

---The port is closed.
function Keeper:stop()
  self.stopped = true
  if self.task then self.task:cancel() end
  if self.on_demand then self.on_demand:stop() end
  if self.http then self.http:stop_listening() end
end

return Keeper
