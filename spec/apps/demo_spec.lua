-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

describe("apps/demo.lua", function()
  local demo
  setup(function() demo = server.start "apps/demo.lua" end)
  teardown(function() demo:stop() end)

  it("shows a page of things to try", function()
    local r = demo:get "/"
    assert.same({ 200, "text/plain; charset=utf-8" }, { r.status, r.headers["content-type"] })
    assert.truthy(r.body:find("curl " .. demo.url .. "/hello/you", 1, true))
  end)

  it("keeps what the page promises", function()
    assert.equal("Hello, you\n", demo:get("/hello/you").body)
    assert.truthy(demo:get("/api/status").body:find '"uptime":%d')
    assert.equal('{"sum":6}', demo:get("/api/sum", "-d", '{"numbers":[1,2,3]}').body)
    assert.equal(422, demo:get("/api/sum", "-d", '{"numbers":["x"]}').status)
    assert.truthy(demo:get("/form", "-F", "name=you", "-F", "file=@Makefile").body
      :find "^2 fields, and a file Makefile of %d+ bytes")
    local r = demo:get("/upload", "-T", "Makefile")
    assert.equal(201, r.status)
    assert.truthy(r.body:find "^%d+ bytes in %d+ pieces")
    assert.equal("5\n4\n3\n2\n1\nlift-off\n", demo:get("/count").body)
    assert.equal(418, demo:get("/teapot").status)
    assert.equal(200, demo:get("/docs/").status)
  end)
end)
