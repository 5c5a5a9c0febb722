-- SPDX-License-Identifier: MIT
--- A web site: routes, sub-sites, middleware. It is a factory, so
--- `rw.server("tcp:8080", site)` serves it.
---
--- Each site has a router in C. A route of a mounted site stands in the
--- routers of all the sites above it too, so a request is matched once,
--- however deep. What a router calls is the route's handler itself, or, where
--- middleware applies, one function composed of both: made when routes or
--- middleware come, never per request. So the order of route(), use() and
--- mount() does not matter.

local Factory = require "ropewalk.factory"
local answer = require "ropewalk.web.answer"
local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local missing = require "ropewalk.web.missing"

local error, getmetatable, ipairs, pairs, pcall, select, table, tostring, type =
  error, getmetatable, ipairs, pairs, pcall, select, table, tostring, type
local _ENV <const> = nil

---@class ropewalk.web.Site: ropewalk.Factory
local Site = Factory:extend "Site"

Site.reload_policy = "next_message"

--- Options: `server_header` (a Server field on each response), `limits`
--- (overrides for its connections, see docs/limits.md).
---
---     local site = web.Site { limits = { max_body = 10 * 1024 * 1024 } }
---@param options? table
function Site:init(options)
  options = argument.optional("Site", 1, options, "table") or {}
  for name in pairs(options) do
    if name ~= "server_header" and name ~= "limits" then
      argument.misuse(("Site: there is no option '%s'"):format(tostring(name)))
    end
  end
  self.limits = options.limits
  self._routes = {}      -- list of {id, route, sites, prefix}: all in our router
  self._middleware = {}
  self._mounts = {}      -- list of {prefix, site or nil}
  self._parents = {}     -- list of {site, prefix}
  self.http = {
    router = core.router(),
    answer = answer.answer,
    failed = function(request, failure) return missing.failed(self, request, failure) end,
    answer_missing = missing.handler(self),
  }
  if options.server_header then
    local value = options.server_header
    self:use(function(_, next) return next():header("Server", value) end)
  end
end

local function is_callable(value)
  if type(value) == "function" then return true end
  local meta = getmetatable(value)
  return type(meta) == "table" and type(meta.__call) == "function"
end

local function as_function(value)
  if type(value) == "function" then return value end
  return function(request) return value(request) end
end

--- One function of a chain of middleware and a handler.
local function compose(chain, handler)
  local composed = handler
  for i = #chain, 1, -1 do
    local middleware, inner = chain[i], composed
    composed = function(request)
      return middleware(request, function() return answer.call(inner, request) end)
    end
  end
  return composed
end
Site._compose = compose

--- The function for a route, seen from the outermost of `sites`.
local function compile(route, sites)
  local chain = {}
  for _, site in ipairs(sites) do
    table.move(site._middleware, 1, #site._middleware, #chain + 1, chain)
  end
  table.move(route.middleware, 1, #route.middleware, #chain + 1, chain)
  return compose(chain, route.handler)
end

local function segments(prefix)
  return select(2, prefix:gsub("/", ""))
end

--- Puts a route into our router and those above. `sites`: from us to the one
--- that the route was added to.
local function install(self, route, prefix, sites, level)
  level = level + 1
  local pattern = prefix .. route.pattern
  -- what request.route is: where it matched, and whose it is
  local value = { method = route.method, pattern = pattern, sites = sites,
                  base = segments(prefix) + (route.base or 0),
                  star = pattern:find("/%*[^/]*$") and segments(pattern) - 1 or nil }
  local ok, id = pcall(self.http.router.add, self.http.router, route.method,
    pattern, compile(route, sites), value)
  if not ok then error((tostring(id):gsub("^[^ ]*%.lua:%d+: ", "")), level) end
  self._routes[#self._routes + 1] = { id = id, route = route, sites = sites, prefix = prefix }
  for _, parent in ipairs(self._parents) do
    local above = table.move(sites, 1, #sites, 2, { parent.site })
    install(parent.site, route, parent.prefix .. prefix, above, level)
  end
end

local function recompile(self)
  for _, placed in ipairs(self._routes) do
    self.http.router:set(placed.id, compile(placed.route, placed.sites))
  end
  for _, parent in ipairs(self._parents) do recompile(parent.site) end
end

local function add(self, method, pattern, level, base, ...)
  level = level + 1
  local count = select("#", ...)
  if type(pattern) ~= "string" or pattern:sub(1, 1) ~= "/" then
    error("a pattern begins with /", level)
  end
  if count == 0 then error("no handler for " .. method .. " " .. pattern, level) end
  local functions = { ... }
  for i = 1, count do
    if not is_callable(functions[i]) then
      error(method .. " " .. pattern .. ": the handler is a " .. type(functions[i])
        .. ", not a function", level)
    end
    functions[i] = as_function(functions[i])
  end
  local handler = table.remove(functions)
  install(self, { method = method, pattern = pattern, handler = handler,
                  middleware = functions, base = base }, "", { self }, level)
  return self
end

for _, method in ipairs { "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS" } do
  Site[method:lower()] = function(self, pattern, ...)
    return (add(self, method, pattern, 2, nil, ...)) -- no tail call: add counts levels
  end
end

--- Site:get, post, put, delete, patch, head, options, any: a route.
---
---     site:get("/users/:id", function(request) return request.params.id end)
---     site:put("/users/:id", members_only, function(request) … end)
---@param pattern string `:name` is one segment, a last `*name` the rest
---@param ... function middleware for this route, and last the handler
---@return ropewalk.web.Site
function Site:any(pattern, ...)
  return (add(self, "*", pattern, 2, nil, ...))
end

--- A route for several methods.
---
---     site:route({ "GET", "POST" }, "/search", search)
---@param methods string|string[]
---@param pattern string
---@param ... function
---@return ropewalk.web.Site
function Site:route(methods, pattern, ...)
  if type(methods) == "string" then methods = { methods } end
  for _, method in ipairs(argument.expect("route", 1, methods, "table")) do
    add(self, method, pattern, 2, nil, ...)
  end
  return self
end

--- Middleware for all routes of this site and of those mounted in it, for 404s
--- and the like too. The outermost site's runs first, then in order.
--- `next()` runs the rest and returns its response, which may be changed.
---
---     site:use(function(request, next)
---       local response = next()
---       return response:header("X-Frame-Options", "DENY")
---     end)
---@param middleware fun(request: table, next: fun(): ropewalk.web.Response): any
---@return ropewalk.web.Site
function Site:use(middleware)
  if not is_callable(middleware) then error("middleware is a function", 2) end
  table.insert(self._middleware, as_function(middleware))
  recompile(self)
  return self
end

local function contains(site, other)
  if site == other then return true end
  for _, mount in ipairs(site._mounts) do
    if mount.site and contains(mount.site, other) then return true end
  end
  return false
end

local function mount_site(self, prefix, site, level)
  if contains(site, self) then error("a site cannot be mounted in itself", level + 1) end
  for _, placed in ipairs(table.move(site._routes, 1, #site._routes, 1, {})) do
    install(self, placed.route, prefix .. placed.prefix,
      table.move(placed.sites, 1, #placed.sites, 2, { self }), level + 1)
  end
  table.insert(site._parents, { site = self, prefix = prefix })
end

--- Hangs something in below a path: another site, `web.static(…)`, or a
--- function for whatever comes (`request:rest_path()` tells what). Parameters
--- in the prefix are the mounted site's too.
---
---     site:mount("/admin", admin)
---     site:mount("/static", web.static("public"))
---@param prefix string "/" or "/a/b", without a slash at its end
---@param target ropewalk.web.Site|table|function
---@return ropewalk.web.Site
function Site:mount(prefix, target)
  if type(prefix) ~= "string" or not prefix:find("^/") or prefix:find("./$") then
    error("a prefix begins with / and does not end with it", 2)
  end
  if prefix == "/" then prefix = "" end
  local is_site = type(target) == "table" and type(target.mount) == "function" and target.http
  if is_site then
    mount_site(self, prefix, target, 2)
  elseif is_callable(target) then
    local methods = type(target) == "table" and target.methods or { "*" }
    for _, method in ipairs(methods) do
      add(self, method, prefix .. "/*rest", 2, segments(prefix), target)
    end
  else
    error("a site, web.static(…) or a function can be mounted, not a " .. type(target), 2)
  end
  table.insert(self._mounts, { prefix = prefix, site = is_site and target or nil })
  return self
end

--- What to answer when a handler failed, instead of a bare 500. The failure has
--- been logged. Thrown responses (`error(web.error(404))`) do not come here.
---
---     site:on_error(function(request, failure) return web.json({ error = "sorry" }, 500) end)
---@param fn fun(request: table, failure: table): any
---@return ropewalk.web.Site
function Site:on_error(fn)
  if not is_callable(fn) then error("on_error takes a function", 2) end
  self._on_error = as_function(fn)
  return self
end

--- What to answer where there is no route, instead of a bare 404.
---
---     site:not_found(function(request) return 404, "nothing at " .. request.path .. "\n" end)
---@param fn fun(request: table): any
---@return ropewalk.web.Site
function Site:not_found(fn)
  if not is_callable(fn) then error("not_found takes a function", 2) end
  self._not_found = as_function(fn)
  return self
end

--- The handler for a method and path, for tests.
---
---     local handler, params = site:match("GET", "/users/7")
---@param method string
---@param path string
function Site:match(method, path)
  argument.expect("match", 1, method, "string")
  return self.http.router:match(method, argument.expect("match", 2, path, "string"))
end

return Site
