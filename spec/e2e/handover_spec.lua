-- SPDX-License-Identifier: MIT
-- The state of services over real reloads: save() and restore(data).
local e2e = require "spec.support.e2e"

-- A site that counts, in a service; `more` is put before the return, `extra`
-- into the list.
local function counter(more, extra)
  return ([[
local Counter = rw.Service:extend "Counter"
Counter.count, Counter.log = 0, ""
function Counter:save() return { count = self.count, log = self.log .. "s" } end
function Counter:restore(data) self.count, self.log = data.count, data.log .. "r" end
function Counter:start_service() self.log = self.log .. "!" end
local counter = Counter():set_name "counter"
local site = web.Site()
site:get("/", function()
  counter.count = counter.count + 1
  return counter.count .. " " .. counter.log .. "\n"
end)
%s
return { rw.MultiService({ counter }):set_name "state", rw.server("tcp:127.0.0.1:0", site) %s }]])
    :format(more or "", extra or "")
end

describe("State of services", function()
  after_each(e2e.finish)

  local function ask(child) return (e2e.curl("http://127.0.0.1:" .. child.port .. "/")) end

  it("goes over a reload, saved by the old code and restored before the new one starts", function()
    local child = e2e.start(counter())
    assert.equal("1 !\n", ask(child))
    assert.equal("2 !\n", ask(child))
    assert.is_true((child:reload()))
    assert.equal("3 !sr!\n", ask(child))
    assert.is_true((child:reload()))
    assert.equal("4 !sr!sr!\n", ask(child))
  end)

  it("is found by the names around it, and only there", function()
    local child = e2e.start(counter())
    ask(child)
    local ok, since = child:reload((counter():gsub('set_name "state"', 'set_name "other"')))
    assert.is_true(ok)
    assert.equal("1 !\n", ask(child))
    assert.truthy(since:find "nobody to take it over.*state/counter", since)
  end)

  it("that cannot be restored refuses the reload: the old code goes on with it", function()
    local child = e2e.start(counter())
    ask(child)
    local ok, since = child:reload(counter [[function Counter:restore() error "from an older version" end]])
    assert.is_false(ok)
    assert.truthy(since:find("from an older version", 1, true), since)
    assert.truthy(since:find("counter", 1, true), since)
    assert.equal("2 !\n", ask(child))
    ok, since = child:reload(counter [[function Counter:restore() rw.sleep(0.01):await() end]])
    assert.is_false(ok)
    assert.truthy(since:find("cannot wait", 1, true) or since:find("yield", 1, true), since)
    assert.equal("3 !\n", ask(child))
    assert.is_true((child:reload(counter())))
    assert.equal("4 !sr!\n", ask(child))
  end)

  it("that fails to be saved is lost and logged; the reload goes on", function()
    for what, word in pairs {
      ['error "no"'] = "did not save its state",
      ["return { f = print }"] = "a function in f",
      ["return coroutine.create(print)"] = "a thread",
      ['rw.sleep(0.01):await() return {}'] = "did not save its state",
      ['local t = {} t.t = t return t'] = "nested more than 64",
      ['local s = ("x"):rep(1000000) local t = {} for i = 1, 17 do t[i] = s end return t'] = "max_saved",
    } do
      local child = e2e.start(counter(("function Counter:save() %s end"):format(what), [[,
        (function()
          local Other = rw.Service:extend "Other"
          function Other:save() return "mine" end
          return Other():set_name "other"
        end)() ]]))
      ask(child)
      local ok, since = child:reload(counter("", [[, (function()
          local Other = rw.Service:extend "Other"
          function Other:restore(data) rw.log.info("got " .. data) end
          return Other():set_name "other"
        end)() ]]))
      assert.is_true(ok, since)
      assert.truthy(since:find(word, 1, true), what .. ":\n" .. since)
      assert.truthy(since:find("got mine", 1, true), "the others' state goes over:\n" .. since)
      assert.equal("1 !\n", ask(child))
      e2e.finish()
    end
  end)

  it("needs a name of its own: else the script is refused", function()
    local child = e2e.start(counter())
    local ok, since = child:reload((counter():gsub(':set_name "counter"', "")))
    assert.is_false(ok)
    assert.truthy(since:find("no name", 1, true), since)
    ok, since = child:reload(counter("", ', rw.MultiService({ Counter():set_name "counter" }):set_name "state"'))
    assert.is_false(ok)
    assert.truthy(since:find("state", 1, true), since)
    assert.equal("1 !\n", ask(child))
  end)

  it("survives a hundred reloads without growing", function()
    local child = e2e.start(counter())
    e2e.talk(child, [[
      for i in range(20): expect(reload(), True)
      before = resident()
      for i in range(100): expect(reload(), True)
      with Client() as c: expect_in(c.ask().body, b"1 !")
      if SLOW == 1: expect_below(resident() - before, 3e6, "growth")
    ]])
  end)
end)
