-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

local APP <const> = [[
local rw, web = require "ropewalk", require "ropewalk.web"

local function mark(name)
  return function(request, next)
    request.trail = (request.trail or "") .. name
    local response = next()
    return response:header("X-Trail", (response:header "X-Trail" or "") .. name)
  end
end

local site, admin, users = web.Site(), web.Site(), web.Site()

site:mount("/admin", admin)         -- before there is anything in it
admin:mount("/users/:group", users)

users:get("/", function(r) return "group " .. r.params.group end)
users:get("/:id", mark "r", function(r)
  return table.concat({ r.params.group, r.params.id, r:base_path(), r:rest_path(), r.trail }, " ")
end)
users:get("/broken/now", function() error "users are broken" end)
admin:get("/", function() return "admin" end)
admin:not_found(function(r) return "no such admin page " .. r:rest_path() end)
admin:on_error(function(_, failure) return 503, "admin: " .. failure.message end)
site:mount("/fn", function(r) return r.method .. " " .. r:base_path() .. " " .. r:rest_path() end)

users:use(mark "u")                 -- after the routes
admin:use(mark "a")
site:use(mark "s")

local guarded = web.Site()
guarded:use(function(request, next)
  if request:header "authorization" ~= "Bearer x" then
    return web.error(401, nil, { ["WWW-Authenticate"] = "Bearer" })
  end
  return next()
end)
guarded:get("/secret", function() error(web.error(418)) end)
guarded:get("/text", function() return "plain" end)
guarded:get("/stream", function() return web.stream(function(write) write "a" write "b" end) end)
guarded:get("/own", function(r) r:respond(200, nil, "own") end)
guarded:get("/half", function(r)
  r:start(200)
  r:write "half"
  error(web.error(500))
end)
site:mount("/guarded", guarded)

site:use(function(request, next)
  local response = next()
  return response:header("X-Status", response.status)
end)

local shop, deep = web.Site(), web.Site()
shop:not_found(function() return 404, "no such thing\n", { ["X-Shop"] = "yes" } end)
deep:not_found(function() return "nothing deep\n" end)
site:mount("/in/:town", shop)
site:mount("/in/here", web.Site():not_found(function() return "not here\n" end))
site:mount("/in/here/deep", deep)

site:get("/", function() return "top" end)
return rw.server(rw.config.listen, site)
]]

describe("a mounted site", function()
  local site
  setup(function() site = server.start(APP) end)
  teardown(function() site:stop() end)

  it("sees its path and the parameters of the prefix", function()
    assert.equal("top", site:get("/").body)
    assert.equal("admin", site:get("/admin/").body)
    assert.equal("group ops", site:get("/admin/users/ops/").body)
    assert.equal("ops 7 /admin/users/ops /7 saur", site:get("/admin/users/ops/7").body)
  end)

  it("runs middleware from the outermost in, whenever it was added", function()
    assert.equal("ruas", site:get("/admin/users/ops/7").headers["x-trail"])
    assert.equal("s", site:get("/").headers["x-trail"])
  end)

  it("answers its own errors and 404s", function()
    local r = site:get "/admin/users/ops/broken/now"
    assert.equal(503, r.status)
    assert.truthy(r.body:find "^admin: .*users are broken")
    r = site:get "/admin/nowhere"
    assert.same({ 404, "no such admin page /admin/nowhere" }, { r.status, r.body })
    assert.equal("Not Found\n", site:get("/nowhere").body)
  end)

  it("answers the 404s below parameters and encoded prefixes; the innermost one does", function()
    local r = site:get "/in/rome/shoes"
    assert.same({ 404, "no such thing\n", "yes" }, { r.status, r.body, r.headers["x-shop"] })
    assert.equal("not here\n", site:get("/in/here/shoes").body)
    assert.equal("not here\n", site:get("/in/h%65re/shoes").body)
    assert.equal("nothing deep\n", site:get("/in/here/deep/er").body)
    assert.equal("no such admin page /%61dmin/nowhere", site:get("/%61dmin/nowhere").body)
  end)

  it("is reached from its prefix by a redirect", function()
    local r = site:get "/admin?x=1"
    assert.same({ 308, "./admin/?x=1" }, { r.status, r.headers.location })
    assert.equal("admin", (server.curl("-L", site.url .. "/admin")))
  end)

  it("can be a function", function()
    assert.equal("POST /fn /a//b", site:get("/fn/a//b", "-X", "POST").body)
  end)
end)

describe("middleware", function()
  local site
  setup(function() site = server.start(APP) end)
  teardown(function() site:stop() end)
  local function allowed(path) return site:get(path, "-H", "Authorization: Bearer x") end

  it("can answer instead of the handler", function()
    local r = site:get "/guarded/text"
    assert.same({ 401, "Bearer" }, { r.status, r.headers["www-authenticate"] })
    assert.equal("plain", allowed("/guarded/text").body)
  end)

  it("gets thrown responses, streams and 404s as responses", function()
    assert.equal("418", allowed("/guarded/secret").headers["x-status"])
    local r = allowed "/guarded/stream"
    assert.same({ "ab", "200" }, { r.body, r.headers["x-status"] })
    assert.equal("404", site:get("/nowhere").headers["x-status"])
    assert.equal("405", site:get("/", "-X", "POST").headers["x-status"])
  end)

  it("leaves alone what a handler has sent itself", function()
    assert.equal("own", allowed("/guarded/own").body)
  end)

  it("does not make a whole answer of half a one, whatever its handler throws", function()
    assert.not_equal(0, allowed("/guarded/half").curl)
  end)
end)
