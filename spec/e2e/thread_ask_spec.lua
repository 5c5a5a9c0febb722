-- SPDX-License-Identifier: MIT
-- Functions that a thread has the loop run.
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local e2e = require "spec.support.e2e"

local function failure_of(d)
  local ok, failure = pcall(d.await, d)
  assert.is_false(ok)
  return failure
end

describe("rw.blocking_call_from_thread", function()
  it("has the loop run a function, and waits for its result", function()
    rw.thread.expose("where", function(n) return { inside = rw.thread.inside(), n = n + 1 } end)
    local result = rw.defer_to_thread(function()
      local answer = rw.blocking_call_from_thread("where", 41)
      return { rw.thread.inside(), answer.inside, answer.n }
    end):await()
    assert.same({ true, false, 42 }, result)
  end)

  it("finds the functions of modules in the loop's state", function()
    local first = rw.generation
    assert.equal(first, rw.defer_to_thread(function()
      return rw.blocking_call_from_thread(rw.await, rw.generation)
    end):await())
    local seconds = rw.defer_to_thread(function()
      return rw.blocking_call_from_thread(rw.sleep, 0.01) == nil
    end):await()
    assert.is_true(seconds)
  end)

  it("waits for Deferreds of the function", function()
    rw.thread.expose("later", function(value) return rw.sleep(0.02, value) end)
    rw.thread.expose("awaits", function(value)
      rw.sleep(0.01):await()
      return value
    end)
    assert.same({ "a", "b" }, rw.defer_to_thread(function()
      return { rw.blocking_call_from_thread("later", "a"), rw.blocking_call_from_thread("awaits", "b") }
    end):await())
  end)

  it("copies a function that is of no module, with its upvalues", function()
    local n = 5
    assert.equal(50, rw.defer_to_thread(function()
      return rw.blocking_call_from_thread(function(m) return n * m end, 10)
    end):await())
  end)

  it("raises the failure in the thread", function()
    rw.thread.expose("fails", function() error(rw.Failure.new("no_such_row", "there is none")) end)
    local code = rw.defer_to_thread(function()
      local ok, failure = pcall(rw.blocking_call_from_thread, "fails")
      return { ok, failure.code, failure.message }
    end):await()
    assert.same({ false, "no_such_row", "there is none" }, code)
    local failure = failure_of(rw.defer_to_thread(function() rw.blocking_call_from_thread "fails" end))
    assert.equal("no_such_row", failure.code)
    failure = failure_of(rw.defer_to_thread(function() rw.blocking_call_from_thread "unknown" end))
    assert.truthy(failure.message:find("there is no function 'unknown'", 1, true))
  end)

  it("has the traceback of the loop's side", function()
    rw.thread.expose("breaks", function() error "broken here" end)
    local failure = failure_of(rw.defer_to_thread(function() rw.blocking_call_from_thread "breaks" end))
    assert.truthy(failure.message:find("thread_ask_spec.lua:%d+: broken here"), failure.message)
    assert.truthy(failure.traceback:find("ropewalk.threadcall", 1, true), failure.traceback)
  end)

  it("names the place where something that cannot go was given", function()
    local failure = failure_of(rw.defer_to_thread(function()
      rw.blocking_call_from_thread("any", coroutine.create(print))
    end))
    assert.truthy(failure.message:find("thread_ask_spec.lua:%d+: a call from a thread", 1), failure.message)
    failure = failure_of(rw.defer_to_thread(function() rw.blocking_call_from_thread(5) end))
    assert.truthy(failure.message:find("thread_ask_spec.lua:%d+: ", 1), failure.message)
  end)

  it("refuses what cannot go, either way", function()
    rw.thread.expose("userdata", function() return io.tmpfile() end)
    local failure = failure_of(rw.defer_to_thread(function() rw.blocking_call_from_thread "userdata" end))
    assert.truthy(failure.message:find("the result for a thread", 1, true), failure.message)
    failure = failure_of(rw.defer_to_thread(function()
      rw.blocking_call_from_thread("userdata", coroutine.create(print))
    end))
    assert.truthy(failure.message:find("is a coroutine", 1, true), failure.message)
  end)

  it("ends with the call when that is cancelled", function()
    local pool = rw.ThreadPool { max = 1 }
    local late, asked = rw.Deferred(), rw.Deferred()
    rw.thread.expose("hang", function()
      asked:callback()
      return late
    end)
    local d = pool:defer(function()
      while true do pcall(rw.blocking_call_from_thread, "hang") end
    end)
    asked:await()
    d:cancel()
    assert.equal("cancelled", failure_of(d).code)
    assert.equal(4, pool:defer(function() return 4 end):add_timeout(10):await())
    late:callback()
    pool:stop()
  end)

  it("does not hold up a pool that is stopped", function()
    local pool = rw.ThreadPool { max = 4 }
    local late, count, all = rw.Deferred(), 0, rw.Deferred()
    rw.thread.expose("hang", function()
      count = count + 1
      if count == 4 then all:callback() end
      return late
    end)
    local list = {}
    for i = 1, 4 do
      list[i] = pool:defer(function() return rw.blocking_call_from_thread "hang" end)
      list[i]:add_errback(function(failure) return failure.code end)
    end
    all:await()
    pool:stop()
    assert.same({ "cancelled", "cancelled", "cancelled", "cancelled" }, rw.gather(list):await())
    late:callback()
    rw.sleep(0.05):await()
  end)

  it("is for threads only", function()
    local ok, why = pcall(rw.blocking_call_from_thread, print)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("for functions that run in a thread", 1, true))
  end)
end)

describe("rw.call_from_thread", function()
  it("has the loop run functions in their order, and does not wait", function()
    local got, done = {}, rw.Deferred()
    rw.thread.expose("note", function(n)
      got[#got + 1] = n
      if n == 10 then done:callback() end
    end)
    local went = rw.defer_to_thread(function()
      local all = true
      for i = 1, 10 do all = rw.call_from_thread("note", i) and all end
      return all
    end):await()
    assert.is_true(went)
    done:await()
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }, got)
  end)

  it("logs a failure", function()
    rw.thread.expose("fails", function() error "broken" end)
    rw.defer_to_thread(function() rw.call_from_thread "fails" end):await()
    rw.sleep(0.01):await()
    local logged = testing.flush_logged_errors()
    assert.equal(1, #logged)
  end)
end)

describe("rw.call_multiple_in_thread", function()
  it("runs functions in one thread, one after the other", function()
    local got, done = {}, rw.Deferred()
    rw.thread.expose("note", function(...)
      got[#got + 1] = { ... }
      if #got == 2 then done:callback() end
    end)
    local function note(...) rw.call_from_thread("note", ...) end
    rw.call_multiple_in_thread { { note, 1, "a" }, { note, 2, "b" } }
    done:await()
    assert.same({ { 1, "a" }, { 2, "b" } }, got)
  end)

  it("ends at the first that fails, which is logged", function()
    local called = false
    rw.thread.expose("note", function() called = true end)
    rw.call_multiple_in_thread { { error, "broken" }, { function() rw.call_from_thread "note" end } }
    rw.defer_to_thread(function() end):await()
    rw.sleep(0.1):await()
    assert.is_false(called)
    assert.equal(1, #testing.flush_logged_errors())
  end)

  it("refuses what is no list of calls", function()
    local ok, why = pcall(rw.call_multiple_in_thread, { { "print" } })
    assert.is_false(ok)
    assert.truthy(tostring(why):find("item 1", 1, true))
  end)
end)

describe("A server whose threads ask", function()
  after_each(e2e.finish)

  local APP <const> = [[
local never = rw.Deferred()
rw.thread.expose("version", function() return "VERSION" end)
rw.thread.expose("never", function() rw.log.info "asked" return never end)
local site = web.Site()
site:get("/old", function()
  return rw.defer_to_thread(function()
    os.execute "sleep 0.8"
    return rw.blocking_call_from_thread "version"
  end):await()
end)
site:get("/version", function()
  return rw.defer_to_thread(function() return rw.blocking_call_from_thread "version" end):await()
end)
site:get("/never", function()
  rw.defer_to_thread(function() rw.blocking_call_from_thread "never" end):await()
end)
rw.thread.expose("endless", function() while true do string.rep("x", 10) end end)
local small = rw.ThreadPool { max = 1 }
rw.thread.expose("same_pool", function() return small:defer(function() return 1 end) end)
site:get("/outcome/:name", function(request)
  local ok, failure = pcall(rw.await, small:defer(function(name)
    return rw.blocking_call_from_thread(name)
  end, request.params.name))
  return (ok and "ok" or failure.code .. ": " .. failure.message) .. " " .. small:defer(function() return 2 end):await()
end)
return rw.server(rw.config.listen, site)]]

  local function app(version) return (APP:gsub("VERSION", version)) end

  it("has its own generation answer, before and after a reload", function()
    local child = e2e.start(app "one")
    assert.equal("one", child:get("/version").body)
    assert.is_true((child:reload(app "two")))
    assert.equal("two", child:get("/version").body)
    assert.equal(0, child:stop())
  end)

  it("has the code that began a call answer it, also after a reload", function()
    local child = e2e.start(app "one")
    e2e.talk(child, [[
      c = Client().get("/old")
      time.sleep(0.2)
      os.kill(PID, signal.SIGHUP)
      time.sleep(0.2)
      expect(c.response().body, b"one")
    ]])
  end)

  it("goes on when the answer is late, and when all of a pool wait for it", function()
    local child = e2e.start(app "one", { args = { "--limit", "thread_answer=300" } })
    for _, name in ipairs { "never", "same_pool" } do
      assert.matches("^timeout: .* 2$", child:get("/outcome/" .. name).body)
      child:await_log "limit=thread_answer"
    end
  end)

  it("goes on when the function is ended by its budget", function()
    local child = e2e.start(app "one", { args = { "--limit", "script_budget=200" } })
    assert.matches("^error: .*limit script_budget.* 2$", child:get("/outcome/endless").body)
  end)

  it("stops at once when threads wait for an answer that never comes", function()
    local child = e2e.start(app "one", { args = { "--limit", "drain_timeout=200" } })
    e2e.talk(child, [[
      for i in range(3): Client().get("/never")
      time.sleep(0.5)
    ]])
    child:await_log "asked"
    local start = os.time()
    assert.equal(0, child:stop())
    assert.is_true(os.time() - start < 5)
  end)
end)
