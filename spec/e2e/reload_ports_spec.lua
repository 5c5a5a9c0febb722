-- SPDX-License-Identifier: MIT
-- Endpoints that a reload adds, takes away or moves; files that change.
local e2e = require "spec.support.e2e"

local function servers(...)
  local list = {}
  for i, endpoint in ipairs { ... } do
    list[i] = ('rw.server("%s", site)'):format(endpoint)
  end
  return ([[
local site = web.Site()
site:get("/", function() return rw.generation .. "\n" end)
return { %s }]]):format(table.concat(list, ", "))
end

local function tcp(port) return "tcp:127.0.0.1:" .. port end

describe("A reload", function()
  after_each(e2e.finish)

  local function ask(port) return e2e.curl("http://127.0.0.1:" .. port .. "/") end

  it("adds an endpoint and takes it away again", function()
    local one, two = e2e.free_port(), e2e.free_port()
    local child = e2e.start(servers(tcp(one)))
    assert.is_true(child:reload(servers(tcp(one), tcp(two))))
    assert.same({ "2\n", "2\n" }, { (ask(one)), (ask(two)) })
    e2e.talk(child, ([[
      stays, goes = Client(%d), Client(%d)
      expect(stays.ask().status, 200)
      expect(goes.ask().status, 200)
      edit(open(APP).read().replace(', rw.server("tcp:127.0.0.1:%d", site)', ""))
      expect(reload(), True)
      expect(goes.ended(), "closed", "the idle connection of the removed endpoint is")
      expect(stays.ask().body, b"3\n")
      try:
          wait(lambda: Client(%d).close(), 0.1)
          raise AssertionError("somebody still listens")
      except ConnectionRefusedError:
          pass
    ]]):format(one, two, two, two))
    assert.equal("3\n", (ask(one)))
  end)

  it("moves from one endpoint to another", function()
    local one, two = e2e.free_port(), e2e.free_port()
    local child = e2e.start(servers(tcp(one)))
    assert.is_true(child:reload(servers(tcp(two))))
    assert.equal("2\n", (ask(two)))
    assert.equal(7, select(2, ask(one))) -- cannot connect
    assert.is_true(child:reload(servers(tcp(one))))
    assert.equal("3\n", (ask(one)))
  end)

  it("lets the request on a removed endpoint end", function()
    local one, two = e2e.free_port(), e2e.free_port()
    local text = servers(tcp(one), tcp(two)):gsub("return rw", "rw.sleep(0.4):await() return rw", 1)
    local child = e2e.start(text)
    e2e.talk(child, ([[
      c = Client(%d).get()
      time.sleep(0.1)
      edit(open(APP).read().replace(', rw.server("tcp:127.0.0.1:%d", site)', ""))
      expect(reload(), True)
      expect(c.response().body, b"1\n")
      expect(c.ended(), "closed")
    ]]):format(two, two))
  end)

  it("keeps the socket: who waits to be accepted loses nothing", function()
    local child = e2e.start(servers(tcp(e2e.free_port())))
    e2e.talk(child, [[
      def ask(_):
          for _ in range(60):
              with Client() as c:
                  expect(c.ask("/", "Connection: close").status, 200)
      def reloads(_):
          for _ in range(10):
              expect(reload(), True)
      parallel(5, lambda i: reloads(i) if i == 0 else ask(i))
    ]])
  end)

  it("takes new limits of an endpoint", function()
    local at = tcp(e2e.free_port())
    local child = e2e.start(servers(at))
    child:edit(servers(at .. ":idle_timeout=400"))
    e2e.talk(child, [[
      c = Client()
      expect(c.ask().status, 200)
      expect(reload(), True)
      began = time.time()
      expect(c.ended(), "closed")
      expect_end(time.time() - began, 0.4)
    ]])
  end)
end)

describe("run --watch", function()
  after_each(e2e.finish)
  local child

  local function site(word)
    return ([[
local site = web.Site()
site:get("/", function() return "%s\n" end)
return rw.server("tcp:127.0.0.1:0", site)]]):format(word)
  end

  local function start(text, files)
    child = e2e.start(text, { args = { "--watch" }, files = files })
    child:mark()
  end

  local function shows(word)
    child:await_log "reloaded generation="
    child:mark()
    assert.equal(word .. "\n", child:get("/").body)
  end

  it("sees a script that is replaced in one step, again and again", function()
    start(site "one")
    for _, word in ipairs { "two", "three", "four" } do
      e2e.replace(child.app, e2e.script(site(word)))
      shows(word)
    end
  end)

  it("sees a script that is written in place, in pieces", function()
    start(site "one")
    for _, word in ipairs { "two", "three" } do
      local text = e2e.script(site(word))
      e2e.talk(child, ([==[
        text = r'''%s'''
        with open(APP, "w", buffering=1) as f:
            for i in range(0, len(text), 40):
                f.write(text[i:i + 40])
                f.flush()
                time.sleep(0.005)
      ]==]):format(text))
      child:await_log "reloaded generation="
      e2e.wait(function() return child:get("/").body == word .. "\n" end, 3)
      shows(word)
    end
  end)

  it("sees a module that the script requires", function()
    start("return require 'part'", { ["part.lua"] = e2e.script(site "one") })
    e2e.replace(child.dir .. "/part.lua", e2e.script(site "two"))
    shows "two"
  end)

  it("does nothing for a touch, and for files that are not the script's", function()
    start(site "one")
    e2e.shell("touch " .. child.app)
    e2e.write(child.dir .. "/other.lua", "error 'not asked for'")
    e2e.write(child.app, e2e.script(site "one"))
    e2e.shell "sleep 0.5"
    assert.equal("", child:since())
  end)

  it("waits for the repair of a broken save", function()
    start(site "one")
    child:edit "return ("
    child:await_log "reload failed"
    assert.truthy(child:since():find("/app.lua:1:", 1, true))
    assert.equal("one\n", child:get("/").body)
    child:mark()
    child:edit(site "two")
    shows "two"
  end)

  it("sees the repair of a module which only the broken code requires", function()
    start(site "one", { ["part.lua"] = "return (" })
    child:edit("return require 'part'")
    child:await_log "reload failed"
    child:mark()
    e2e.replace(child.dir .. "/part.lua", e2e.script(site "two"))
    shows "two"
  end)

  it("sees a script that was away for a moment", function()
    start(site "one")
    os.remove(child.app)
    e2e.shell "sleep 0.3"
    assert.equal("one\n", child:get("/").body)
    child:edit(site "two")
    shows "two"
  end)
end)
