-- SPDX-License-Identifier: MIT
-- A disk without room: what writes logs and traffic logs goes on serving.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local site = web.Site()
site:get("/", function()
  if not rw.config.traffic then rw.log.info("somebody is here") end
  return "still here"
end)
local bounded = rw.policy.traffic_log(site, { path = rw.config.traffic or "unused", format = "text" })
return rw.server("tcp:127.0.0.1:%s", rw.config.traffic and bounded or site)
]]

describe("a full disk", function()
  after_each(e2e.finish)

  it("takes no log, and the server goes on", function()
    local port = e2e.free_port()
    local child = e2e.start(APP:format(port), { wait = false, shell = "exec 2>/dev/full" })
    local function ask() return e2e.shell(("curl -s -m 5 http://127.0.0.1:%d/"):format(port)) end
    assert.truthy(e2e.wait(function() return ask() == "still here" end, 20))
    for _ = 1, 20 do assert.equal("still here", (ask())) end
    child:signal "HUP"
    for _ = 1, 20 do assert.equal("still here", (ask())) end
    assert.is_true(child:alive())
  end)

  it("ends a traffic log, which is logged once, and no connection", function()
    local child = e2e.start(APP:format "0", {
      shell = "trap '' XFSZ; ulimit -f 16", -- 8 KiB a file, or 16
      args = { "--set", "traffic=" .. e2e.directory() .. "/traffic.log" } })
    for _ = 1, 100 do assert.equal("still here", child:get("/").body) end
    child:await_log "File too large"
    local _, times = child:log():gsub("traffic log ended", "")
    assert.equal(1, times)
  end)
end)
