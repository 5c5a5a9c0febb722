-- SPDX-License-Identifier: MIT
-- A reload that must not happen: the running code never notices.
local e2e = require "spec.support.e2e"

local GOOD <const> = [[
local site = web.Site()
site:get("/", function() return "good " .. rw.generation .. "\n" end)
return rw.server("tcp:127.0.0.1:0", site)]]

describe("A reload of a broken script", function()
  local child, answers
  after_each(e2e.finish)

  -- Each text is refused for the reasons given, while requests go on.
  local function refused(text, options, ...)
    child = e2e.start(GOOD, options)
    child:edit(text)
    answers = e2e.talk(child, [[
      c, slowest = Client(), 0
      expect(c.ask().body, b"good 1\n")
      done, statuses = [], []
      def ask():
          while not done:
              began = time.time()
              statuses.append((c.ask().body, round(time.time() - began, 3)))
              time.sleep(0.005)
      t = threading.Thread(target=ask)
      t.start()
      verdict = reload()
      done.append(True)
      t.join()
      expect(verdict, False)
      expect({body for body, _ in statuses}, {b"good 1\n"})
      expect(Client().ask().body, b"good 1\n")
      print(max(spent for _, spent in statuses))
    ]])
    local log = child:log()
    for _, reason in ipairs { ... } do
      assert.truthy(log:find(reason, 1, true), reason .. " is not in\n" .. log)
    end
    -- and the next good one goes through
    assert.is_true(child:reload(GOOD:gsub("good ", "better ")))
    assert.truthy(child:get("/").body:find "^better %d\n$")
    return log
  end

  it("with a syntax error says file and line", function()
    refused("local x = 1\nlocal function (", {}, "/app.lua:2: <name> expected")
  end)

  it("with a run-time error says file, line and the stack", function()
    refused("local function dig()\n  local t = nil\n  return t.x\nend\nlocal y = dig()\nreturn y", {},
      "/app.lua:3: attempt to index a nil value (local 't')", "stack traceback:",
      "/app.lua:5: in main chunk")
  end)

  it("with an error in a module says file and line of the module", function()
    refused("require 'part'", { files = { ["part.lua"] = "\nerror 'in the part'" } },
      "/part.lua:2: in the part")
  end)

  it("which loops for ever is stopped, and delays nobody", function()
    local log = refused("local x = 1\nwhile true do end", { args = { "--limit", "load_timeout=600" } },
      "load_timeout", "/app.lua:2: in main chunk")
    assert.truthy(log:find "reload failed")
    assert.is_true(tonumber(answers) < (e2e.sanitized and 0.9 or 0.3), answers)
  end)

  it("which loops behind pcall is stopped", function()
    refused("while true do pcall(function() while true do end end) end",
      { args = { "--limit", "load_timeout=600" } }, "load_timeout")
  end)

  it("which eats memory is stopped", function()
    refused("\nlocal t = {}\nfor i = 1, math.huge do t[i] = ('x'):rep(100000) .. i end",
      { args = { "--limit", "script_memory=30000000" } }, "script_memory", "not enough memory")
  end)

  it("which waits for ever is given up", function()
    refused("rw.Deferred():await()", { args = { "--limit", "load_timeout=500" } },
      "limit load_timeout")
  end)

  it("which returns nonsense says what is expected", function()
    refused("return 42", {}, "/app.lua returned a number; a script returns a service")
    e2e.finish()
    refused("local x = 1", {}, "/app.lua returned nothing (is there a `return` at its end?)")
    e2e.finish()
    refused("return web.Site()", {}, "put it into rw.server(endpoint, …)")
    e2e.finish()
    refused("return { rw.server('tcp:127.0.0.1:0', web.Site()), false }", {}, "item 2 of the list")
  end)

  it("whose endpoint cannot be bound says which, and why", function()
    local taken = e2e.start(GOOD)
    refused(([[
return { rw.server("tcp:127.0.0.1:0", web.Site()), rw.server("tcp:127.0.0.1:%d", web.Site()) }]])
      :format(taken.port), {}, "cannot listen on tcp:127.0.0.1:" .. taken.port,
      "Address already in use", "/app.lua")
  end)

  it("whose endpoint is no endpoint says so", function()
    refused("local site = web.Site()\nlocal server = rw.server('tcp:99999', site)\nreturn server", {},
      "the port must be a number from 0 to 65535", "/app.lua:2")
  end)

  it("whose self-test fails is refused", function()
    refused([[
rw.on_check(function() rw.sleep(0.05):await() error "the database is away" end)
return rw.server("tcp:127.0.0.1:0", web.Site())]], {}, "self-test failed", "the database is away",
      "/app.lua:1")
  end)

  it("that is gone says so", function()
    child = e2e.start(GOOD)
    os.rename(child.app, child.app .. ".away")
    local good, log = child:reload()
    assert.is_false(good)
    assert.truthy(log:find("app.lua: No such file or directory", 1, true), log)
    assert.equal("good 1\n", child:get("/").body)
  end)

  it("binds nothing and leaves nothing: no port, no timer, no memory", function()
    child = e2e.start(GOOD, { args = { "--log-level", "debug" } })
    local port = e2e.free_port()
    local bad = ([[
rw.call_later(0.05, function() rw.log.info "a timer of the bad" end)
local server = rw.server("tcp:127.0.0.1:%d", web.Site())
server:privileged_start_service()
rw.sleep(0.2):await()
error "bad at last"]]):format(port)
    assert.is_false((child:reload(bad)))
    child:await_log "generation freed generation=2"
    child:mark()
    e2e.shell "sleep 0.2"
    assert.falsy(child:since():find "a timer of the bad")
    e2e.python(([[
      try:
          Client(%d)
          raise AssertionError("somebody listens")
      except ConnectionRefusedError:
          pass
    ]]):format(port))
    local before = child:descriptors()
    for _ = 1, 5 do assert.is_false((child:reload(bad))) end
    assert.equal(before, child:descriptors())
  end)
end)
