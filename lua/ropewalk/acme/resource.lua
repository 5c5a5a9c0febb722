-- SPDX-License-Identifier: MIT
-- What a web site answers to HTTP-01, and the small site that is opened for it.

local Site = require "ropewalk.web.site"
local web = require "ropewalk.web"

local ipairs = ipairs
local lower, match = string.lower, string.match

local _ENV <const> = nil

local resource = {}

---For /.well-known/acme-challenge.
---@param solver ropewalk.acme.Solver
---@return ropewalk.web.Site
function resource.challenges(solver)
  local site = Site()
  site:get("/:token", function(request)
    return solver:key_authorization(request.params.token) or web.error(404)
  end)
  return site
end

---A whole site: challenges, and a redirection to HTTPS for these hosts.
---@param issuer ropewalk.acme.Issuer
---@param hosts string[]
---@return ropewalk.web.Site
function resource.site(issuer, hosts)
  local known, site = {}, Site()
  for _, name in ipairs(hosts) do known[name] = true end
  site:mount("/.well-known/acme-challenge", resource.challenges(issuer.solver))
  site:not_found(function(request)
    local host = lower(match(request.host or "", "^[^:]*"))
    if not known[host] then return web.error(404) end
    return web.redirect("https://" .. host .. request.target, 308)
  end)
  return site
end

return resource
