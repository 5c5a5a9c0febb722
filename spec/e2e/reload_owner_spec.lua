-- SPDX-License-Identifier: MIT
-- A connection that moves leaves behind what the old code has begun for it: the old
-- lua_State is freed, so nothing of it may be called any more, or hold it back.
local e2e = require "spec.support.e2e"

describe("A connection that goes over", function()
  after_each(e2e.finish)

  local BEGIN <const> = [[
local function begin()
  for i = 1, 50 do rw.call_later(0.5 + i / 100, function() rw.log.info "the old code was called" end) end
  rw.spawn(function()
    local ok = pcall(function() rw.Deferred():await() end)
    rw.log.info(ok and "woken" or "cancelled")
  end)
end
]]
  local MOVED <const> = [[
      edit(open(APP).read().replace("old:", "new:"))
      expect(reload(), True)
      wait(lambda: "generation freed generation=1" in log())
      expect(log().count("cancelled"), 1)
      time.sleep(1.2) # the last of its timers would have fired
      expect("the old code was called" in log(), False)
]]

  it("ends what a handler has begun", function()
    local child = e2e.start(BEGIN .. [[
local site = web.Site()
site:get("/", function() return "old: hello\n" end)
site:get("/begin", function() begin() return "begun\n" end)
return rw.server("tcp:127.0.0.1:0", site)]], { args = { "--log-level", "debug" } })
    e2e.talk(child, [[
      c = Client()
      expect(c.ask("/begin").body, b"begun\n")
]] .. MOVED .. [[
      expect(c.ask("/").body, b"new: hello\n")
    ]])
  end)

  it("ends what a protocol has begun", function()
    local child = e2e.start(BEGIN .. [[
local Echo = rw.LineProtocol:extend "Echo"
function Echo:connection_made() begin() end
function Echo:line_received(line) self:send_line("old: " .. line) end
local factory = rw.Factory:for_protocol(Echo)
factory.reload_policy = "migrate"
return rw.server("tcp:127.0.0.1:0", factory)]], { args = { "--log-level", "debug" } })
    e2e.talk(child, [[
      c = Client().send("a\n")
      expect(c.line(), "old: a")
]] .. MOVED .. [[
      c.send("b\n")
      expect(c.line(), "new: b")
    ]])
  end)
end)
