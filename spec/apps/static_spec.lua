-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

describe("apps/static.lua", function()
  it("serves a directory, listed if asked for", function()
    local plain = server.start("apps/static.lua", { set = { root = "apps" } })
    assert.truthy(plain:get("/static.lua").body:find "web.static")
    assert.equal(404, plain:get("/").status)
    plain:stop()
    local listed = server.start("apps/static.lua", { set = { root = "apps", listing = "yes" } })
    assert.truthy(listed:get("/").body:find "static.lua")
    listed:stop()
  end)

  it("does not start without its directory, and says so", function()
    local broken = server.start("apps/static.lua", { set = { root = "/nowhere" }, wait = false })
    assert.truthy(broken:wait_log "/nowhere: No such file or directory")
    assert.truthy(server.wait(function() return not broken:alive() end))
    assert.equal(1, (broken:stop()))
  end)
end)
