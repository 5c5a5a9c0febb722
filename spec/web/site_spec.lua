-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

local APP <const> = [[
local rw, web = require "ropewalk", require "ropewalk.web"
local site = web.Site { server_header = rw.config.server }

site:get("/nothing", function() end)
site:get("/status", function() return 404 end)
site:get("/gone", function() return 410 end)
site:get("/pair", function() return 201, "made" end)
site:get("/json", function() return web.json { a = { 1, 2 }, b = web.null, c = web.array {} } end)
site:get("/created", function() return 201, web.json { id = 1 } end)
site:get("/html", function() return web.html("<p>" .. web.escape "<&>" .. "</p>") end)
site:get("/redirect", function() return web.redirect("/elsewhere", 303) end)
site:get("/fields", function()
  return web.response(200, "x", { ["X-One"] = "1", ["X-Many"] = { "a", "b" } })
end)
site:get("/cookies", function()
  return web.text "x":cookie("a", "1"):cookie("__Host-b", "2", { max_age = 60 }):delete_cookie "c"
end)
site:get("/deferred", function()
  local d = rw.Deferred()
  rw.call_later(0.05, function() d:callback("later\n") end)
  return d
end)
site:get("/rejected", function()
  local d = rw.Deferred()
  rw.call_later(0.01, function() d:errback(web.error(409, "taken")) end)
  return d
end)
site:get("/awaited", function() rw.sleep(0.02):await() return "slept\n" end)
site:get("/thrown", function() error(web.error(403, "members only", { ["X-Why"] = "no" })) end)
site:get("/maybe/:id", function(r) return web.json(nil or web.error(404, { id = r.params.id })) end)
site:get("/broken", function() error "sesame" end)
site:get("/table", function() return { a = 1 } end)
site:get("/own", function(request)
  request:start(202, { ["Content-Type"] = "text/own" })
  request:write "by ";
  request:write "hand"
end)
site:get("/echo", function(request)
  return web.json {
    method = request.method, path = request.path, query = request.query,
    query_string = request.query_string, agent = request:header "user-agent",
    cookie = request:cookie "c" or web.null, url = request:url(),
    peer = request:peer_address(), json = request:wants_json(),
  }
end)
site:get("/a/:x/c/:y", function(r) return r.params.x .. "+" .. r.params.y end)
site:get("/a/:x/c/me", function(r) return "me " .. r.params.x end)
site:get("/rest/*all", function(r) return "[" .. r.params.all .. "]" end)
site:put("/only", function() return "put" end)
site:delete("/only", function() return "delete" end)
site:any("/any", function(r) return r.method end)
site:head("/headed", function() return web.response(200, "", { ["X-Head"] = "own" }) end)
site:get("/headed", function() return "got" end)
site:route({ "GET", "REPORT" }, "/report", function(r) return r.method end)

return rw.server(rw.config.listen, site)
]]

local function json(response)
  -- enough for what is asked here: one level of strings
  local out = {}
  for key, value in response.body:gmatch '"([%w_]+)":"([^"]*)"' do out[key] = value end
  return out
end

describe("a site", function()
  local site
  setup(function() site = server.start(APP) end)
  teardown(function() site:stop() end)

  describe("answers", function()
    local function check(path, status, body, kind)
      local r = site:get(path)
      assert.same({ status, body }, { r.status, r.body })
      if kind then assert.equal(kind, r.headers["content-type"]) end
      return r
    end

    it("204 for nothing", function()
      local r = check("/nothing", 204, "")
      assert.is_nil(r.headers["content-length"])
    end)
    it("a status with its reason", function()
      check("/status", 404, "Not Found\n", "text/plain; charset=utf-8")
      check("/gone", 410, "Gone\n")
    end)
    it("a status and a text", function() check("/pair", 201, "made") end)
    it("a status and a response", function()
      check("/created", 201, '{"id":1}', "application/json")
    end)
    it("JSON", function()
      local r = site:get "/json"
      assert.equal("application/json", r.headers["content-type"])
      assert.truthy(r.body:find('"a":[1,2]', 1, true))
      assert.truthy(r.body:find('"b":null', 1, true))
      assert.truthy(r.body:find('"c":[]', 1, true))
    end)
    it("HTML", function()
      check("/html", 200, "<p>&lt;&amp;&gt;</p>", "text/html; charset=utf-8")
    end)
    it("redirects", function()
      assert.equal("/elsewhere", check("/redirect", 303, "See Other\n").headers.location)
    end)
    it("fields, lists of them too", function()
      local r = site:get "/fields"
      assert.equal("1", r.headers["x-one"])
      assert.same({ "a", "b" }, r.all["x-many"])
    end)
    it("cookies, each in its own field", function()
      local list = site:get("/cookies").all["set-cookie"]
      assert.equal("a=1; Path=/; HttpOnly; SameSite=Lax", list[1])
      assert.equal("__Host-b=2; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure", list[2])
      assert.truthy(list[3]:find("^c=; Path=/; Max%-Age=0; Expires=Thu, 01 Jan 1970"))
    end)
    it("a Deferred, when it fires", function() check("/deferred", 200, "later\n") end)
    it("a Deferred that fails with a response", function()
      check("/rejected", 409, "taken\n")
    end)
    it("after waiting", function() check("/awaited", 200, "slept\n") end)
    it("a thrown response, which is not logged as an error", function()
      local before = #site:log()
      assert.equal("no", check("/thrown", 403, "members only\n").headers["x-why"])
      assert.equal(before, #site:log())
    end)
    it("the error instead of the value", function()
      check("/maybe/7", 404, '{"id":"7"}', "application/json")
    end)
    it("500 for a broken handler, and logs the traceback", function()
      check("/broken", 500, "Internal Server Error\n")
      assert.truthy(site:wait_log "sesame")
      assert.truthy(site:log():find "traceback")
    end)
    it("500 for a table, and says what to do", function()
      check("/table", 500, "Internal Server Error\n")
      assert.truthy(site:wait_log "web.json")
    end)
    it("nothing more when the handler has answered itself", function()
      check("/own", 202, "by hand", "text/own")
    end)
  end)

  describe("tells of the request", function()
    it("its parts", function()
      local t = json(site:get("/echo?a=1&b=x%20y&a=2", "-A", "spec", "-b", "c=d"))
      assert.same({ "GET", "/echo", "a=1&b=x%20y&a=2", "spec", "d", "127.0.0.1" },
        { t.method, t.path, t.query_string, t.agent, t.cookie, t.peer })
      assert.same({ "1", "x y" }, { t.a, t.b })
      assert.equal(site.url .. "/echo?a=1&b=x%20y&a=2", t.url)
    end)
    it("what type the peer would like", function()
      local function wants(accept)
        return site:get("/echo", "-H", "Accept: " .. accept).body:find('"json":true', 1, true) ~= nil
      end
      assert.is_true(wants "application/json")
      assert.is_true(wants "text/html;q=0.5, application/*")
      assert.is_false(wants "text/html, application/json;q=0.9")
      assert.is_false(wants "*/*")
    end)
  end)

  describe("routes", function()
    it("take parameters, static segments first", function()
      assert.equal("1+2", site:get("/a/1/c/2").body)
      assert.equal("me 1", site:get("/a/1/c/me").body)
      assert.equal("me 1", site:get("/%61/1/c/m%65").body)
    end)
    it("decode parameters after splitting", function()
      assert.equal("x/y+é", site:get("/a/x%2Fy/c/%C3%A9").body)
    end)
    it("give the rest with its slashes", function()
      assert.equal("[]", site:get("/rest/").body)
      assert.equal("[a//b/]", site:get("/rest/a//b/").body)
      assert.equal(404, site:get("/rest").status)
    end)
    it("tell slashes at the end apart", function()
      assert.equal(404, site:get("/any/").status)
      assert.equal(404, site:get("//any").status)
      assert.equal(404, site:get("/a//c/2").status)
    end)
    it("refuse malformed escapes", function()
      assert.equal(400, site:get("/a/%/c/2").status)
      assert.equal(400, site:get("/%zz").status)
    end)
    it("are by method", function()
      assert.equal("put", site:get("/only", "-X", "PUT").body)
      assert.equal("delete", site:get("/only", "-X", "DELETE").body)
      local r = site:get "/only"
      assert.same({ 405, "DELETE, OPTIONS, PUT" }, { r.status, r.headers.allow })
      assert.equal("BREW", site:get("/any", "-X", "BREW").body)
      assert.equal("REPORT", site:get("/report", "-X", "REPORT").body)
    end)
    it("answer HEAD by GET, without a body, unless there is a HEAD", function()
      local r = site:head "/pair"
      assert.same({ 201, "4", "" }, { r.status, r.headers["content-length"], r.body })
      assert.equal("own", site:head("/headed").headers["x-head"])
      assert.equal("got", site:get("/headed").body)
    end)
    it("answer OPTIONS, for the server too", function()
      local r = site:get("/only", "-X", "OPTIONS")
      assert.same({ 204, "DELETE, OPTIONS, PUT" }, { r.status, r.headers.allow })
      assert.equal(204, site:get("/", "-X", "OPTIONS", "--request-target", "*").status)
    end)
  end)

  it("has a Server field if asked for", function()
    local named = server.start(APP, { set = { server = "Rope/1" } })
    assert.equal("Rope/1", named:get("/status").headers.server)
    assert.equal("Rope/1", named:get("/nowhere").headers.server)
    assert.is_nil(site:get("/status").headers.server)
    named:stop()
  end)
end)
