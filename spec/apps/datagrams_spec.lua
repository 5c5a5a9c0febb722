-- SPDX-License-Identifier: MIT
local e2e = require "spec.support.e2e"

local function start(app)
  local child = e2e.start(nil, { app = app, set = { listen = "udp:127.0.0.1:0" }, wait = false })
  child:await_log "listening endpoint=udp:127.0.0.1:"
  child.port = tonumber(child:log():match "endpoint=udp:127.0.0.1:(%d+)")
  return child
end

local function socat(child, text)
  return (e2e.shell(("printf %s | socat -t0.5 - UDP:127.0.0.1:%d"):format(e2e.quote(text), child.port)))
end

describe("apps/statsd.lua", function()
  after_each(e2e.finish)

  it("counts, and says the counts", function()
    local child = start "apps/statsd.lua"
    socat(child, "logins:1|c\nlogins:2|c\nerrors:1.5|c")
    socat(child, "no sense\n%%|c\nlogins:x|c")
    assert.equal("errors 1.5\nlogins 3\n", socat(child, "stats"))
  end)
end)

describe("apps/udp_echo.lua", function()
  after_each(e2e.finish)

  it("sends back what it gets", function()
    assert.equal("hello", socat(start "apps/udp_echo.lua", "hello"))
  end)

  it("does so over a UNIX socket", function()
    local path = e2e.directory() .. "/echo"
    local child = e2e.start(nil, { app = "apps/udp_echo.lua", set = { listen = "unixgram:" .. path }, wait = false })
    child:await_log "listening endpoint=unixgram:"
    assert.equal("hello", (e2e.shell(("printf hello | socat -t0.5 - UNIX-SENDTO:%s,bind=%s-me"):format(path, path))))
  end)
end)
