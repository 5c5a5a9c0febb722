-- SPDX-License-Identifier: MIT
-- The process: how it starts, stops and what it says.
local e2e = require "spec.support.e2e"

local SITE <const> = [[
local site = web.Site()
site:get("/", function() return "ok\n" end)
site:get("/wait/:s", function(request)
  rw.sleep(tonumber(request.params.s)):await()
  return "waited\n"
end)
local server = rw.server(rw.config.listen, site)
return server]]

describe("A stop", function()
  local child
  after_each(e2e.finish)

  local function start(...) child = e2e.start(SITE, { args = { ... } }) end

  -- Waits for the end: exit status, seconds it took.
  local function ended()
    local took = tonumber((e2e.talk(child, [[
      began = time.time()
      wait(lambda: not os.path.exists("/proc/%d" % PID))
      print(time.time() - began)
    ]])))
    return child:stop(), took
  end

  for _, name in ipairs { "TERM", "INT" } do
    it("by SIG" .. name .. " accepts no more, finishes what is under way, and exits 0", function()
      start()
      e2e.talk(child, ([[
        busy, idle = Client().get("/wait/0.4").get("/"), Client()
        expect(idle.ask().body, b"ok\n")
        time.sleep(0.1)
        os.kill(PID, signal.SIG%s)
        expect(idle.ended(), "closed", "an idle connection is")
        try:
            Client()
            raise AssertionError("somebody still listens")
        except ConnectionRefusedError:
            pass
        r = busy.response()
        expect((r.body, r.get("Connection")), (b"waited\n", "close"))
        busy.ended()
      ]]):format(name))
      local status, took = ended()
      assert.equal(0, status)
      assert.is_true(took < 1, took)
      assert.truthy(child:log():find("stopping by=SIG" .. name, 1, true))
    end)
  end

  it("that is asked for twice does not wait", function()
    start()
    e2e.talk(child, [[
      c = Client().get("/wait/60")
      time.sleep(0.1)
      os.kill(PID, signal.SIGTERM)
      time.sleep(0.2)
      expect(select.select([c.socket], [], [], 0)[0], [])
      os.kill(PID, signal.SIGTERM)
      c.ended()
    ]])
    local status, took = ended()
    assert.equal(0, status)
    assert.is_true(took < 1, took)
  end)

  it("waits for drain_timeout at most, and names the limit", function()
    start("--limit", "drain_timeout=500")
    e2e.talk(child, [[
      c = Client().get("/wait/60")
      time.sleep(0.1)
      began = time.time()
      os.kill(PID, signal.SIGTERM)
      c.ended()
      expect_end(time.time() - began, 0.5)
    ]])
    assert.equal(0, (ended()))
    assert.truthy(child:log():find("limit=drain_timeout", 1, true))
  end)

  it("in the middle of a reload ends both", function()
    start()
    child:edit("rw.sleep(30):await() " .. SITE)
    child:signal "HUP"
    e2e.shell "sleep 0.2"
    child:signal "TERM"
    local status, took = ended()
    assert.equal(0, status)
    assert.is_true(took < 2, took)
  end)

  it("stops the services, the last first, and waits for them", function()
    child = e2e.start([[
local function told(name)
  local Told = rw.Service:extend(name)
  function Told:stop_service()
    rw.sleep(0.1):await()
    rw.log.info("stopped " .. name)
  end
  return Told()
end
return { rw.server("tcp:127.0.0.1:0", web.Site()), told "first", told "second" }]])
    child:stop()
    assert.truthy(child:log():find("stopped second.*stopped first"), child:log())
  end)
end)

describe("ropewalk run", function()
  after_each(e2e.finish)

  local function script(text)
    local path = e2e.directory() .. "/app.lua"
    e2e.write(path, e2e.script(text))
    return path
  end

  it("exits with 1 when the script fails, and says where", function()
    for text, reason in pairs {
      ["return ("] = "/app.lua:1: unexpected symbol",
      ["local t\nlocal x = t.y"] = "/app.lua:2: attempt to index a nil value",
      ["return 1"] = "/app.lua returned a number",
      ["\nwhile true do end"] = "load_timeout",
      ["rw.Deferred():await()"] = "load_timeout",
    } do
      local out, status = e2e.ropewalk("run", script(text), "--limit", "load_timeout=400")
      assert.same({ text, 1 }, { text, status })
      assert.truthy(out:find(reason, 1, true), out)
    end
    local out, status = e2e.ropewalk("run", "/nowhere/app.lua")
    assert.equal(1, status)
    assert.truthy(out:find("/nowhere/app.lua: No such file or directory", 1, true), out)
  end)

  it("exits with 1 when the port is taken, and says which", function()
    local child = e2e.start(SITE)
    local at = "tcp:127.0.0.1:" .. child.port
    local out, status = e2e.ropewalk("run", script(SITE), "--set", "listen=" .. at)
    assert.equal(1, status)
    assert.truthy(out:find("cannot listen on " .. at .. ": Address already in use", 1, true), out)
  end)

  it("exits with 2 when it is used wrongly", function()
    local app = script(SITE)
    for _, words in ipairs { { "run" }, { "run", app, "--nonsense" }, { "run", app, app },
      { "run", app, "--set", "x" }, { "run", app, "--limit", "x=1" }, { "nonsense" },
      { "run", app, "--limit", "head_timeout=soon" }, { "run", app, "--log-level", "loud" },
      { "run", app, "--log-format", "xml" }, { "check" }, { "version", "x" }, { "help", "x" } } do
      local out, status = e2e.ropewalk(table.unpack(words))
      assert.same({ words, 2 }, { words, status })
      assert.truthy(out:find "^u?s?a?g?e?:?%s?ropewalk", out)
    end
    assert.equal(2, select(2, e2e.ropewalk()))
  end)

  it("logs one JSON object a line if asked to", function()
    local child = e2e.start(SITE:gsub("return server", [[
site:get("/fail", function() error("quote \" and \1 and \u{20ac}\n") end)
rw.log.warn("from the script", { n = 1.5, t = { 1 }, message = "mine" })
return server]]), { args = { "--log-format", "json" }, wait = false })
    e2e.wait(function() return child:log():find '"listening"' end)
    child.port = child:log():match "tcp:127.0.0.1:(%d+)"
    e2e.talk(child, [[
      import json
      expect(Client().ask("/fail").status, 500)
      expect(reload(), True)
      os.kill(PID, signal.SIGTERM)
      time.sleep(0.1)
      lines = [json.loads(line) for line in log().splitlines()]
      for line in lines:
          expect({"time", "level", "message"} <= set(line), True, line)
      expect([l["n"] for l in lines if l["message"] == "from the script"][0], 1.5)
      expect_in([l["error"] for l in lines if "error" in l][0], 'quote " and \x01 and \u20ac\n')
    ]])
  end)

  it("logs at the level that is asked for", function()
    local child = e2e.start([[
for _, level in ipairs { "debug", "info", "warn", "error" } do rw.log[level]("at " .. level) end
return rw.server("tcp:127.0.0.1:0", web.Site())]], { wait = false, args = { "--log-level", "warn" } })
    child:await_log "at error"
    assert.falsy(child:log():find "at info" or child:log():find "at debug")
    assert.truthy(child:log():find "at warn")
  end)
end)

describe("ropewalk check", function()
  after_each(e2e.finish)

  it("runs the initialisers with nothing bound", function()
    local child = e2e.start(SITE)
    child:edit("rw.sleep(0.01):await() rw.log.info 'initialised' " .. SITE)
    local out, status = e2e.ropewalk("check", child.app, "--set",
      "listen=tcp:127.0.0.1:" .. child.port) -- it is taken
    assert.equal(0, status, out)
    assert.truthy(out:find("the script is good", 1, true) and out:find("initialised", 1, true), out)
    for text, reason in pairs {
      ["local x = 1\nreturn ("] = "/app.lua:2: unexpected symbol",
      ["\n\nerror 'in the initialiser'"] = "/app.lua:2: in the initialiser",
      ["rw.on_check(function() error 'not ready' end) " .. SITE] = "/app.lua:1: not ready",
      ["return rw.server('tcp:1:2:3', web.Site())"] = "too many words",
    } do
      child:edit(text)
      out, status = e2e.ropewalk("check", child.app, "--set", "listen=tcp:0")
      assert.equal(1, status, out)
      assert.truthy(out:find(reason, 1, true), out)
    end
  end)
end)

describe("ropewalk", function()
  it("tells its version, its commands and its limits", function()
    local out, status = e2e.ropewalk "version"
    assert.equal(0, status)
    assert.truthy(out:find "^ropewalk %d+%.%d+%.%d+\ntls accelerated: [%w -]+\n$", out)
    for _, list in ipairs { "0", "aes", "aes-gcmp256" } do
      assert.equal("tls accelerated: none\n",
        e2e.shell(("ROPEWALK_ACCEL=%s %s version"):format(list, e2e.quote(e2e.binary))):match "tls.*")
    end
    for _, command in ipairs { "run", "check", "test", "limits", "version", "help" } do
      out, status = e2e.ropewalk("help", command)
      assert.equal(0, status)
      assert.truthy(out:find("^usage: ropewalk " .. command), out)
    end
    out, status = e2e.ropewalk "limits"
    assert.equal(0, status)
    for line in out:gmatch "[^\n]+" do assert.truthy(line:find "^[%l_]+%s+%d+%s+%S+%s+%a", line) end
    assert.truthy(out:find "\nhead_timeout%s+20000 ms")
  end)
end)
