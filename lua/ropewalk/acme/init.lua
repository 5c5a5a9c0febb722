-- SPDX-License-Identifier: MIT
-- rw.acme: certificates from an authority that speaks ACME (RFC 8555), ordered,
-- installed and renewed while the server runs.
--
--   options    what may be said
--   keeper     ties one port to    certificate   one certificate's life
--                                  ondemand      those of the first handshake
--   issuer     orders them, by     client        the authority's protocol
--                                  solver        answers to its challenges
--                                  store         what lasts
--   client     speaks it over      http, reader, jose

local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local Keeper = require "ropewalk.acme.keeper"
local Solver = require "ropewalk.acme.solver"
local Store = require "ropewalk.acme.store"
local options = require "ropewalk.acme.options"
local resource = require "ropewalk.acme.resource"
local tls = require "ropewalk.tls"

local error, ipairs, next, type = error, ipairs, next, type
local format = string.format

local _ENV <const> = nil

local acme = {
  ---Where certificates come from when no directory is given.
  DIRECTORY = options.DIRECTORY,
}

---TLS over an endpoint with certificates of an authority. With `allow` there are
---certificates for names that only the first handshake brings.
---
---    rw.server(rw.acme.over("tcp:443", {
---      email = "admin@example.org", store = "/var/lib/site/acme",
---      allow = function(name) return customers:has(name):await() end,
---    }), site)
---@param where string|ropewalk.Endpoint
---@param given { email?: string, hosts?: string[], allow?: fun(name: string): boolean,
---  directory?: string, directory_ca?: string, store?: string, http01?: any, eab_kid?: string,
---  eab_key?: string, retry_policy?: fun(failures: integer): number, timeout?: number,
---  order_timeout?: number, max_pending?: integer }
---@param more? { alpn?: string[], min?: string, ca?: string, crl?: string, verify?: string, tickets?: boolean,
---  ticket_key?: string, insecurely_log_session_keys_to?: string } as of server_context
---@return ropewalk.Endpoint
function acme.over(where, given, more)
  if type(given) ~= "table" then error("over: a table of options is needed, not a " .. type(given), 2) end
  local read, why = options.read(given)
  if not read then error("over: " .. why, 2) end
  local all = { acme = read }
  for name, value in next, argument.optional("over", 3, more, "table") or {} do
    if name == "acme" then error("over: there is no option 'acme'", 2) end
    all[name] = value
  end
  return (tls.over(where, all)) -- no tail call: whom to blame is counted
end

---What a site of the script's own answers to HTTP-01 with, when `http01` is true.
---
---    site:mount("/.well-known/acme-challenge", rw.acme.http01_resource "/var/lib/site/acme")
---@param store string the same directory
---@return ropewalk.web.Site
function acme.http01_resource(store)
  local opened, failure = Store.open(argument.expect("http01_resource", 1, store, "string"))
  if not opened then error(failure, 2) end
  return resource.challenges(Solver(opened, {}))
end

---For ropewalk.tls: what an endpoint listens with. Its `companion` starts when the
---port is open, and stops with it.
---@return userdata? context
---@return ropewalk.acme.Keeper|ropewalk.Failure companion
function acme.listening(at)
  for _, name in ipairs { "cert", "key", "chain" } do
    if at.tls[name] then
      return nil, Failure.new("bad_certificate", format("%s: either %s= or acme=", at.text, name))
    end
  end
  local keeper, failure = Keeper.open(at)
  if not keeper then return nil, failure end
  return keeper.context, keeper
end

return acme
