-- SPDX-License-Identifier: MIT
-- What `make soak` loads: a port of each kind, and the server's counters.

local rw = require "ropewalk"
local web = require "ropewalk.web"
local core = require "ropewalk.core"

local site = web.Site()
site:get("/", function() return "hello\n" end)
site:get("/slow", function()
  rw.sleep(0.02):await()
  return "slow\n"
end)
site:post("/json", function(request) return web.json(request:json()) end)
site:get("/stats", function()
  collectgarbage()
  local stats = core.stats()
  stats.lua_bytes = collectgarbage "count" * 1024 // 1
  return web.json(stats)
end)

local Lines = rw.LineProtocol:extend "Lines"
function Lines:line_received(line)
  if line == "wait" then rw.sleep(0.01):await() end
  self:send_line(line:upper())
end

local Echo = rw.DatagramProtocol:extend "Echo"
function Echo:datagram_received(bytes, address) self.transport:write(bytes, address) end

local lines, config = rw.Factory:for_protocol(Lines), rw.config

return {
  rw.server("tcp:127.0.0.1:" .. config.http, site),
  rw.server("tcp:127.0.0.1:" .. config.lines, lines),
  rw.server(("tls:127.0.0.1:%s:cert=%s:key=%s"):format(config.tls, config.cert, config.key), lines),
  rw.server("udp:127.0.0.1:" .. config.udp, rw.Factory:for_protocol(Echo)),
}
