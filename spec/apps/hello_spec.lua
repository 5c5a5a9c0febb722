-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

describe("apps/hello.lua", function()
  local hello
  setup(function() hello = server.start "apps/hello.lua" end)
  teardown(function() hello:stop() end)

  it("greets at /", function()
    local response = hello:get "/"
    assert.equal(200, response.status)
    assert.equal("text/plain; charset=utf-8", response.headers["content-type"])
    assert.equal("Hello from Ropewalk\n", response.body)
  end)

  it("greets by name", function()
    assert.equal("Hello, Ada L.\n", hello:get("/hello/Ada%20L.").body)
  end)

  it("answers HEAD, OPTIONS, 405 and 404 by itself", function()
    local head = hello:head "/"
    assert.same({ 200, "20", "" }, { head.status, head.headers["content-length"], head.body })
    assert.same({ 204, "GET, HEAD, OPTIONS" },
      { hello:get("/", "-X", "OPTIONS").status, hello:get("/", "-X", "OPTIONS").headers.allow })
    local refused = hello:get("/", "-X", "POST")
    assert.same({ 405, "GET, HEAD, OPTIONS" }, { refused.status, refused.headers.allow })
    assert.equal(404, hello:get("/nothing").status)
    assert.equal(404, hello:get("/hello/").status)
  end)

  it("ends cleanly on SIGTERM", function()
    local other = server.start "apps/hello.lua"
    assert.equal(0, (other:stop()))
  end)
end)
