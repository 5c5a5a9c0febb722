-- SPDX-License-Identifier: MIT
-- Threads in a server of their own: reload, stop, connections that end.
local e2e = require "spec.support.e2e"

local SLOW <const> = e2e.sanitized and 4 or 1

describe("A server with threads", function()
  after_each(e2e.finish)

  local APP <const> = [[
local work = require "work"
local site = web.Site()
site:get("/twice/:n", function(request)
  return tostring(rw.defer_to_thread(work.double, tonumber(request.params.n)):await()) .. "\n"
end)
-- calls C: ThreadSanitizer keeps signals, the watchdog's too, until then
local function forever() while true do string.rep("x", 10) end end
site:get("/spin", function() rw.defer_to_thread(forever):await() end)
site:get("/given-up", function(request)
  rw.call_later(0.2, request.close, request)
  rw.defer_to_thread(forever):await()
end)
site:get("/sleep", function()
  rw.defer_to_thread(os.execute, "sleep 1"):await()
  return "slept\n"
end)
return rw.server(rw.config.listen, site)]]

  it("has the new code in its threads after a reload", function()
    local child = e2e.start(APP, { files = { ["work.lua"] = "return { double = function(n) return 2 * n end }" } })
    e2e.talk(child, [[ expect(Client().ask("/twice/21").body, b"42\n") ]])
    e2e.write(child.dir .. "/work.lua", "return { double = function(n) return 'twice ' .. n end }")
    assert.is_true((child:reload()))
    e2e.talk(child, [[ expect(Client().ask("/twice/21").body, b"twice 21\n") ]])
  end)

  it("lets a call finish that was begun before a reload", function()
    local child = e2e.start(APP, { files = { ["work.lua"] = "return {}" } })
    e2e.talk(child, [[
      c = Client().get("/sleep")
      time.sleep(0.2)
      os.kill(PID, signal.SIGHUP)
      expect(c.response().body, b"slept\n")
    ]])
  end)

  it("gives up what a thread does when the connection ends", function()
    local child = e2e.start(APP, { files = { ["work.lua"] = "return {}" } })
    e2e.talk(child, [[
      def used():
          with open("/proc/%d/stat" % PID) as f:
              return sum(map(int, f.read().rsplit(")")[1].split()[11:13]))
      Client().get("/given-up").ended()
      time.sleep(0.5)
      before = used()
      time.sleep(0.5)
      expect(used() - before < 20, True, "it goes on computing")
    ]])
  end)

  it("stops while threads compute, or sleep", function()
    for _, path in ipairs { "/spin", "/sleep" } do
      local child = e2e.start(APP, { args = { "--limit", "drain_timeout=300" },
        files = { ["work.lua"] = "return {}" } })
      local took = tonumber((e2e.talk(child, ([[
        c = Client().get("%s")
        time.sleep(0.2)
        began = time.time()
        os.kill(PID, signal.SIGTERM)
        wait(lambda: not os.path.exists("/proc/%%d" %% PID))
        print(time.time() - began)
      ]]):format(path))))
      assert.is_true(took < 3 * SLOW, took)
      assert.equal(0, child:stop())
    end
  end)
end)
