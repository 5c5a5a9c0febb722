-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

local APP <const> = [[
local rw, web = require "ropewalk", require "ropewalk.web"
local site = web.Site()
local ended = "nothing"

site:get("/iterator", function()
  local n = 0
  return function() n = n + 1 if n <= 3 then return n .. "," end end
end)
site:get("/status", function() return 201, function() end end)
site:get("/stream", function()
  return web.stream(function(write, request)
    write(request.method)
    rw.sleep(0.02):await()
    write "" write(1) write ".\n"
  end, { type = "text/event-stream", headers = { ["Cache-Control"] = "no-store" } })
end)
site:get("/large", function()
  local piece = ("x"):rep(65536)
  return web.stream(function(write) for _ = 1, 1600 do write(piece) end end)
end)
site:get("/broken", function()
  return web.stream(function(write) write "begun" rw.sleep(0.01):await() error "in the middle" end)
end)
site:get("/typed", function() return web.stream(function(write) write {} end) end)
site:get("/endless", function()
  return web.stream(function(write)
    local guard <close> = setmetatable({}, { __close = function() ended = "unwound" end })
    while true do write "tick\n" rw.sleep(0.01):await() end
  end)
end)
site:get("/ended", function() return ended end)
return rw.server(rw.config.listen, site)
]]

describe("a streamed answer", function()
  local site
  setup(function() site = server.start(APP) end)
  teardown(function() site:stop() end)

  it("comes from an iterator", function()
    local r = site:get "/iterator"
    assert.same({ 200, "1,2,3,", "chunked" }, { r.status, r.body, r.headers["transfer-encoding"] })
    assert.equal(201, site:get("/status").status)
  end)

  it("comes from a function that writes and waits", function()
    local r = site:get "/stream"
    assert.same({ "GET1.\n", "text/event-stream", "no-store" },
      { r.body, r.headers["content-type"], r.headers["cache-control"] })
  end)

  it("is not made for HEAD", function()
    local r = site:head "/endless"
    assert.same({ 200, "" }, { r.status, r.body })
  end)

  it("ends with the connection for HTTP/1.0", function()
    local r = site:get("/stream", "--http1.0")
    assert.same({ "GET1.\n" }, { r.body })
    assert.is_nil(r.headers["transfer-encoding"])
  end)

  it("waits for a slow reader instead of piling up", function()
    assert.equal("104857600", (server.curl("-o", "/dev/null", "-w", "%{size_download}",
      site.url .. "/large")))
    local before = site:resident()
    os.execute("curl -sS --limit-rate 1M --max-time 1 -o /dev/null " .. site.url .. "/large 2>/dev/null")
    assert.is_true(server.sanitized or site:resident() - before < 10240)
  end)

  it("is cut, not ended, when its maker fails", function()
    local r = site:get "/broken"
    assert.equal(200, r.status)
    assert.not_equal(0, r.curl)
    assert.truthy(site:wait_log "in the middle")
    assert.not_equal(0, site:get("/typed").curl)
  end)

  it("unwinds its maker when the peer goes away", function()
    server.curl("--max-time", "0.2", site.url .. "/endless")
    assert.truthy(server.wait(function() return site:get("/ended").body == "unwound" end))
  end)
end)
