-- SPDX-License-Identifier: MIT
-- Responses as data; they need the real core (`ropewalk test`).
local real, core = pcall(require, "ropewalk.core")
if not real or not core.json_encode or core.fake then return end

local cookie = require "ropewalk.web.cookie"
local negotiate = require "ropewalk.web.negotiate"
local range = require "ropewalk.web.range"
local web = require "ropewalk.web"

describe("a response", function()
  it("sets, adds, reads and removes fields, whatever the case", function()
    local r = web.text "x":header("X-A", "1"):header("x-a", { "2", "3" }):add_header("X-B", 4)
    assert.equal("2", r:header "X-A")
    assert.equal("4", r:header "x-b")
    assert.same({ { "Content-Type", "text/plain; charset=utf-8" }, { "x-a", "2" }, { "x-a", "3" },
      { "X-B", "4" } }, r.headers)
    assert.is_nil(r:remove_header("X-A"):header "x-a")
  end)

  it("does not share changes with others", function()
    web.text "x":header("Content-Type", "text/odd")
    assert.equal("text/plain; charset=utf-8", web.text "y":header "Content-Type")
  end)

  it("refuses fields that would break the head", function()
    local r = web.text "x"
    for _, field in ipairs { { "X-A", "a\r\nb" }, { "X-A", "a\nb" }, { "X-A", "a\0b" }, { "X A", "a" },
        { "X:A", "a" }, { "", "a" }, { "X-A", {} , true }, { "X-A", { "a", "b\n" } } } do
      if not field[3] then
        assert.has_error(function() r:header(field[1], field[2]) end)
      end
    end
    assert.has_error(function() web.redirect "/x\r\nSet-Cookie: a=b" end)
    assert.has_error(function() web.response(200, "x", { ["A\n"] = "b" }) end)
  end)

  it("refuses odd arguments where they are given", function()
    local function refuses(fn, message)
      local ok, e = pcall(fn)
      assert.is_false(ok)
      assert.truthy(tostring(e):find("response_spec.lua:%d+: " .. message), e)
    end
    refuses(function() web.response(99) end, "bad status 99")
    refuses(function() web.response(200, {}) end, "a body is a string")
    refuses(function() local r = web.json { print } return r end, "web.json: value%[1%]")
    refuses(function() local r = web.redirect("/", 200) return r end, "a redirect")
    refuses(function() local r = web.stream "x" return r end, "web.stream")
    refuses(function() local r = web.static "/nowhere" return r end, "web.static: /nowhere")
    refuses(function() web.Site():get("x", print) end, "a pattern begins")
    refuses(function() web.Site():get("/x", "y") end, "GET /x: the handler is a string")
    refuses(function() web.Site():get("/x", print):get("/x", print) end, "route GET /x")
    refuses(function() web.Site():mount("/x/", print) end, "a prefix")
    local site = web.Site()
    refuses(function() site:mount("/x", site) end, "a site cannot")
  end)

  it("says what it is", function()
    assert.equal("404 Not Found", tostring(web.error(404)))
    assert.equal("403 Forbidden: no", tostring(web.error(403, "no")))
    assert.equal(404, web.status.not_found)
    assert.equal("Not Found", web.status[404])
  end)
end)

describe("cookies", function()
  local format = cookie.format

  it("are safe by default", function()
    assert.equal("a=b; Path=/; HttpOnly; SameSite=Lax", format("a", "b"))
    assert.equal("a=b; Path=/x; Domain=example.org; Max-Age=5; Expires=Thu, 01 Jan 1970 00:00:00 GMT"
      .. "; SameSite=None; Secure; Partitioned", format("a", "b", { path = "/x", domain = "example.org",
      max_age = 5, expires = 0, http_only = false, same_site = "None", secure = true, partitioned = true }))
    assert.equal("a=b; Path=/; HttpOnly", format("a", "b", { same_site = false }))
  end)

  it("keep the promise of their names", function()
    assert.equal("__Host-a=b; Path=/; HttpOnly; SameSite=Lax; Secure", format("__Host-a", "b"))
    assert.has_error(function() format("__Host-a", "b", { domain = "example.org" }) end)
    assert.has_error(function() format("__host-a", "b", { path = "/x" }) end)
    assert.has_error(function() format("__Secure-a", "b", { secure = false }) end)
  end)

  it("refuse what a browser could misread", function()
    for _, case in ipairs { { "a b", "x" }, { "", "x" }, { "a=", "x" }, { "a", "x;y" }, { "a", "x y" },
        { "a", "x\r\n" }, { "a", '"x"' }, { "a", "ü" }, { "a", "x,y" }, { "a", "x\\y" }, { "a", 1 },
        { "a", ("x"):rep(4096) }, { "a", "b", { path = "x" } }, { "a", "b", { path = "/;x" } },
        { "a", "b", { domain = "x;y" } }, { "a", "b", { max_age = 1.5 } }, { "a", "b", { max_age = "1" } },
        { "a", "b", { same_site = "lax" } }, { "a", "b", { same_site = "None" } },
        { "a", "b", { samesite = "Strict" } }, { "a", "b", { expires = 0 / 0 } }, { "a", "b", { expires = 1e300 } } } do
      assert.has_error(function() format(case[1], case[2], case[3]) end)
    end
  end)
end)

describe("negotiation", function()
  it("takes a range with parameters for the plain type where there is no other one", function()
    local best = negotiate.best
    local field = "text/html;level=1;q=0.1, text/html;q=0.7, text/plain;q=0.5"
    assert.equal("text/html", best(field, "text/plain", "text/html"))
    assert.equal("a/json", best("a/json; charset=utf-8, */*;q=0.1", "text/html", "a/json"))
  end)

  it("is chosen in time whatever Accept is", function()
    local began = os.clock()
    negotiate.best("a/b;" .. (" "):rep(32000) .. "x", "text/html")
    assert.truthy(os.clock() - began < 0.2)
  end)

  it("takes the type that is liked best", function()
    local best = negotiate.best
    assert.equal("text/html", best("text/*;q=0.5, text/html", "text/plain", "text/html"))
    assert.equal("text/plain", best(nil, "text/plain", "text/html"))
    assert.equal("text/plain", best("*/*", "text/plain", "text/html"))
    assert.equal("application/json", best("application/json, */*;q=0.1", "text/html", "application/json"))
    assert.is_nil(best("text/html;q=0, image/*", "text/html"))
    assert.is_nil(best("garbage", "text/html"))
    assert.equal("text/html", best("text/html ; q=0.5 ", "text/html"))
  end)
end)

describe("ranges", function()
  it("are parsed against the size", function()
    assert.same({ { first = 0, last = 9 }, { first = 95, last = 99 } }, range.parse("bytes=0-9,-5", 100))
    assert.is_false(range.parse("bytes=100-", 100))
    assert.is_false(range.parse("bytes=-5", 0))
    assert.is_nil(range.parse("bytes=5-1", 100))
    assert.is_nil(range.parse("bytes=" .. ("1-1,"):rep(200), 100))
    assert.is_nil(range.parse(nil, 100))
  end)
end)
