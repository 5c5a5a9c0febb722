-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

local APP <const> = [[
local rw, web = require "ropewalk", require "ropewalk.web"
local site = web.Site()
site:use(web.log { format = rw.config.format })
site:get("/", function() return "hello" end)
site:get("/thrown", function() error(web.error(403)) end)
site:get("/broken", function() error "sesame" end)
return rw.server(rw.config.listen, site)
]]

describe("web.log", function()
  it("logs each request once it is answered", function()
    local site = server.start(APP)
    site:get("/", "-A", "spec")
    site:get "/thrown"
    site:get "/broken"
    site:get "/nowhere?a=b"
    assert.truthy(site:wait_log "nowhere?a=b")
    local log = site:log()
    for path, status in pairs { ["/"] = 200, ["/thrown"] = 403, ["/broken"] = 500, ["/nowhere?a=b"] = 404 } do
      local found = false
      for line in log:gmatch "[^\n]+" do
        local target = line:match 'target="([^"]*)"' or line:match "target=(%S+)"
        if target == path then
          found = true
          assert.truthy(line:find("status=" .. status, 1, true), line)
          assert.truthy(line:find("method=GET", 1, true))
          assert.truthy(line:find("peer=127.0.0.1", 1, true))
        end
      end
      assert.is_true(found, path)
    end
    site:stop()
  end)

  it("knows the combined format", function()
    local site = server.start(APP, { set = { format = "combined" } })
    site:get("/", "-A", 'a"b', "-e", "http://example.org/")
    assert.truthy(site:wait_log "HTTP/1.1")
    assert.truthy(site:log():find('127.0.0.1 - - [', 1, true))
    assert.truthy(site:log():find '"?GET / HTTP/1.1\\?"? 200 5 ')
    site:stop()
  end)

  it("has no address of a peer that has none", function()
    local path = os.tmpname() .. ".socket"
    local site = server.start(APP, { set = { format = "combined", listen = "unix:" .. path }, wait = false })
    assert.truthy(site:wait_log "listening")
    server.curl("--unix-socket", path, "http://localhost/")
    assert.truthy(site:wait_log "HTTP/1.1")
    assert.truthy(site:log():find("- - - [", 1, true), site:log())
    site:stop()
  end)
end)
