-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"
local testing = require "ropewalk.testing"
local task = support.task

local function add(list, value)
  return function(result)
    list[#list + 1] = value or result
    return result
  end
end

describe("a Deferred", function()
  it("runs callbacks when it fires, each with the result of the one before", function()
    local d, seen = Deferred(), {}
    d:add_callback(function(x) return x + 1 end):add_callback(add(seen))
    assert.same({}, seen)
    d:callback(1)
    assert.same({ 2 }, seen)
  end)

  it("runs what is added to a fired one at once", function()
    local seen = {}
    Deferred.succeed(7):add_callback(add(seen))
    assert.same({ 7 }, seen)
  end)

  it("queues what a callback adds to its own Deferred, it does not nest", function()
    local d, seen = Deferred(), {}
    d:add_callback(function()
      d:add_callback(function() seen[#seen + 1] = "added" end)
      seen[#seen + 1] = "first"
    end)
    d:add_callback(function() seen[#seen + 1] = "second" end)
    d:callback()
    assert.same({ "first", "second", "added" }, seen)
  end)

  it("passes extra arguments, nil among them", function()
    local got
    Deferred.succeed(1):add_callback(function(...) got = table.pack(...) end, "a", nil, "c")
    assert.equal(1, got[1])
    assert.equal("a", got[2])
    assert.is_nil(got[3])
    assert.equal("c", got[4])
  end)

  it("passes as many arguments as there are, to callables, too", function()
    local many, got = {}, nil
    for i = 1, 200 do many[i] = i end
    local d = rw.Deferred()
    d:add_callback(function(...) got = select("#", ...) end, table.unpack(many))
    d:add_both(setmetatable({}, { __call = function(_, _, last) got = got .. last end }), "!")
    d:callback()
    assert.equal("201!", got)
    assert.has_error(function() d:add_callback(5) end)
    assert.has_error(function() d:add_callback(print, table.unpack(many, 1, 300)) end, nil)
  end)

  it("runs as many callbacks as were added, in order, of each kind", function()
    for n = 1, 40 do
      local d, seen = Deferred(), {}
      for i = 1, n do
        local function note() seen[#seen + 1] = i end
        if i % 4 == 0 then d:add_errback(note)
        elseif i % 4 == 1 then d:add_callback(note)
        elseif i % 4 == 2 then d:add_callbacks(note, error)
        else d:add_both(note) end
      end
      d:callback()
      local expected = {}
      for i = 1, n do if i % 4 ~= 0 then expected[#expected + 1] = i end end
      assert.same(expected, seen)
    end
  end)

  it("may add to itself for ever without growing", function()
    local d, count = Deferred(), 0
    local function again()
      count = count + 1
      if count == 200000 then return end
      d:add_callback(again)
    end
    d:add_callback(again)
    collectgarbage()
    local before = collectgarbage "count"
    d:callback()
    collectgarbage()
    assert.equal(200000, count)
    assert.is_true(collectgarbage "count" - before < 100)
  end)

  it("may wait in a callback, and goes on where it was", function()
    local d, seen = Deferred(), {}
    d:add_callback(function(x) return x + rw.sleep(0.01, 1):await() end)
    d:add_callback(function() error "after a wait" end)
    d:add_errback(function(failure)
      rw.sleep(0.01):await()
      seen[1] = failure.message:match "after a wait"
      return Deferred.succeed "end"
    end)
    d:callback(1)
    assert.equal("end", testing.success_result_of(d))
    assert.equal("after a wait", seen[1])
  end)

  it("forgets what has run", function()
    local d, weak = Deferred(), setmetatable({}, { __mode = "v" })
    do
      local held = {}
      weak[1] = held
      for _ = 1, 20 do d:add_callback(function() return held and 1 end) end
    end
    d:callback()
    collectgarbage()
    assert.is_nil(weak[1])
    assert.equal(1, testing.success_result_of(d))
  end)

  it("stands still while it is paused", function()
    local d, seen = Deferred(), {}
    d:add_callback(function()
      d:pause()
      return "one"
    end):add_callback(add(seen))
    d:pause()
    d:pause()
    d:callback()
    d:unpause()
    assert.same({}, seen)
    d:unpause()
    assert.same({}, seen) -- the callback has paused it again
    d:add_callback(add(seen, "two"))
    d:unpause()
    assert.same({ "one", "two" }, seen)
    assert.has_error(function() d:unpause() end)
  end)

  it("switches to errbacks at an error and back at a return", function()
    local seen = {}
    Deferred.succeed(1)
      :add_callback(function() error "boom" end)
      :add_callback(add(seen, "skipped"))
      :add_errback(function(failure)
        seen[#seen + 1] = failure.message:match "boom"
        return "fine"
      end)
      :add_errback(add(seen, "skipped too"))
      :add_callback(add(seen))
    assert.same({ "boom", "fine" }, seen)
  end)

  it("takes a returned Failure as a failure", function()
    local d = Deferred.succeed(1):add_callback(function() return Failure.new "no" end)
    assert.equal("no", testing.failure_result_of(d).code)
  end)

  it("does not give an error of a callback to the errback beside it", function()
    local seen = {}
    local d = Deferred()
    d:add_callbacks(function() error "boom" end, add(seen, "beside"))
    d:add_errback(function() seen[#seen + 1] = "after" end)
    d:callback()
    assert.same({ "after" }, seen)
  end)

  it("calls add_both in either case", function()
    local seen = {}
    Deferred.succeed(1):add_both(add(seen, "ok"))
    Deferred.fail "x":add_both(function() seen[#seen + 1] = "failed" end)
    assert.same({ "ok", "failed" }, seen)
  end)

  it("refuses to fire twice", function()
    local d = Deferred()
    d:callback(1)
    local ok, err = pcall(d.callback, d, 2)
    assert.is_false(ok)
    assert.equal("already_called", err.code)
    assert.is_false(pcall(d.errback, d, "x"))
  end)

  it("refuses a Deferred as result of callback", function()
    assert.has_error(function() Deferred():callback(Deferred()) end)
  end)

  it("refuses to be added nothing", function()
    for _, method in ipairs { "add_callback", "add_errback", "add_both" } do
      assert.has_error(function() local d = Deferred() d[method](d) end)
    end
  end)

  it("keeps a false result", function()
    assert.equal(false, testing.success_result_of(Deferred.succeed(false)))
  end)

  it("follows the identity of results, not what __eq says", function()
    local same = { __eq = function() return true end }
    local a, b = setmetatable({}, same), setmetatable({}, same)
    local d = Deferred.succeed(a):add_callback(function() return b end)
    assert.is_true(rawequal(b, testing.success_result_of(d)))
  end)
end)

describe("a chain of Deferreds", function()
  it("pauses while a returned one is pending", function()
    local inner, outer, seen = Deferred(), Deferred(), {}
    outer:add_callback(function() return inner end):add_callback(add(seen))
    outer:callback(1)
    assert.same({}, seen)
    outer:add_callback(add(seen, "late"))
    assert.same({}, seen)
    inner:callback "inner"
    assert.same({ "inner", "late" }, seen)
  end)

  it("takes the result of a returned one that has fired", function()
    local inner = Deferred.succeed(5)
    local outer = Deferred.succeed():add_callback(function() return inner end)
    assert.equal(5, testing.success_result_of(outer))
    assert.is_nil(testing.success_result_of(inner))
  end)

  it("gets the failure of the inner one, which counts as handled there", task(function()
    local logged <close> = log.capture()
    local inner = Deferred()
    local outer = Deferred.succeed():add_callback(function() return inner end)
    inner:errback "boom"
    assert.equal("boom", testing.failure_result_of(outer).message)
    support.turn()
    assert.equal(0, #logged)
  end))

  it("runs the callbacks of the outer one before the rest of the inner one", function()
    local inner, seen = Deferred(), {}
    Deferred.succeed():add_callback(function() return inner end):add_callback(add(seen, "outer"))
    inner:add_callback(function(result) seen[#seen + 1] = tostring(result) end)
    inner:callback "x"
    assert.same({ "outer", "nil" }, seen)
  end)

  it("fails when a callback returns the Deferred it runs for", function()
    local d = Deferred()
    d:add_callback(function() return d end)
    d:callback()
    assert.truthy(testing.failure_result_of(d).message:find "returned the Deferred")
  end)

  it("of 100,000 is flat: it needs no stack", function()
    local first = Deferred()
    local last = first
    for _ = 1, 100000 do
      local inner = last
      last = Deferred.succeed():add_callback(function() return inner end)
    end
    local got
    last:add_callback(function(x) got = x end)
    first:callback "through"
    assert.equal("through", got)
  end)

  it("of 100,000 callbacks which return fired Deferreds is flat", function()
    local d = Deferred()
    for _ = 1, 100000 do d:add_callback(function(n) return Deferred.succeed(n + 1) end) end
    d:callback(0)
    assert.equal(100000, testing.success_result_of(d))
  end)

  it("of 100,000 fails as well as it succeeds", function()
    local first = Deferred()
    local last = first
    for _ = 1, 100000 do
      local inner = last
      last = Deferred.succeed():add_callback(function() return inner end)
    end
    first:errback "bottom"
    assert.equal("bottom", testing.failure_result_of(last).message)
  end)

  it("chains one Deferred to another with chain_deferred", function()
    local a, b = Deferred(), Deferred()
    a:chain_deferred(b)
    a:callback(3)
    assert.equal(3, testing.success_result_of(b))
  end)

  it("of 100,000 by chain_deferred is flat, too", function()
    local first = Deferred()
    local last = first
    for _ = 1, 100000 do
      local d = Deferred()
      last:chain_deferred(d)
      last = d
    end
    first:callback "through"
    assert.equal("through", testing.success_result_of(last))
  end)

  it("fails when the one that it is chained to has fired already", function()
    local a, b = Deferred(), Deferred.succeed(1)
    a:chain_deferred(b)
    a:callback(2)
    testing.failure_result_of(a, "already_called")
    assert.equal(1, testing.success_result_of(b))
  end)

  it("comes back to the rest of each Deferred, the outer ones first", function()
    local seen, inner = {}, Deferred()
    local middle = Deferred.succeed():add_callback(function() return inner end)
    local outer = Deferred.succeed():add_callback(function() return middle end)
    outer:add_callback(add(seen, "outer"))
    middle:add_callback(add(seen, "middle"))
    inner:add_callback(add(seen, "inner"))
    inner:callback()
    assert.same({ "outer", "middle", "inner" }, seen)
  end)

  it("fires others from its callbacks, 60 deep", function()
    local deepest
    local function fire(depth)
      local d = Deferred()
      d:add_callback(function()
        if depth == 60 then deepest = depth else fire(depth + 1) end
      end)
      d:callback()
      return d
    end
    testing.success_result_of(fire(1))
    assert.equal(60, deepest)
  end)

  it("resolves with a value, a Failure or a Deferred", function()
    local a, b, c, inner = Deferred(), Deferred(), Deferred(), Deferred()
    a:resolve(1)
    b:resolve(Failure.new "no")
    c:resolve(inner)
    testing.assert_no_result(c)
    inner:callback(2)
    assert.equal(1, testing.success_result_of(a))
    assert.equal("no", testing.failure_result_of(b).code)
    assert.equal(2, testing.success_result_of(c))
  end)
end)

describe("a failure that nobody handles", function()
  it("is logged at the end of the turn, with where it began and where it failed",
    task(function()
      local logged <close> = log.capture()
      local d = Deferred()
      d:add_callback(function() error "boom" end)
      d:callback()
      assert.equal(0, #logged)
      support.turn()
      assert.equal(1, #logged)
      assert.truthy(logged[1].message:find "unhandled failure: .*boom")
      assert.truthy(logged[1].fields.began:find "deferred_spec.lua:%d+")
      assert.truthy(logged[1].fields.failed:find "deferred_spec.lua:%d+")
      assert.truthy(logged[1].fields.traceback:find "boom" or logged[1].fields.traceback)
    end))

  it("is not logged when it is handled within the turn", task(function()
    local logged <close> = log.capture()
    local d = Deferred.fail "x"
    d:add_errback(function() end)
    support.turn()
    assert.equal(0, #logged)
  end))

  it("is logged once", task(function()
    local logged <close> = log.capture()
    local d = Deferred.fail "x"
    support.turn()
    d:add_callback(function() end)
    support.turn()
    assert.equal(1, #logged)
  end))

  it("is logged in the order of failing", task(function()
    local logged <close> = log.capture()
    for i = 1, 20 do Deferred.fail("number " .. i) end
    support.turn()
    assert.equal(20, #logged)
    for i = 1, 20 do assert.truthy(logged[i].message:find("number " .. i .. "$")) end
  end))
end)

describe("making Deferreds", function()
  it("maybe: from whatever a function does", function()
    assert.equal(1, testing.success_result_of(Deferred.maybe(function() return 1 end)))
    local d = Deferred()
    assert.equal(d, Deferred.maybe(function() return d end))
    assert.equal("no", testing.failure_result_of(
      Deferred.maybe(function() return Failure.new "no" end)).code)
    assert.truthy(testing.failure_result_of(
      Deferred.maybe(function() error "boom" end)).message:find "boom")
    assert.equal(3, testing.success_result_of(Deferred.maybe(function(a, b) return a + b end, 1, 2)))
  end)

  it("shows its state", function()
    local d = Deferred()
    assert.equal("Deferred (pending)", tostring(d))
    d:callback()
    assert.equal("Deferred (fired)", tostring(d))
  end)

  it("records where it was made, in debug mode", task(function()
    local logged <close> = log.capture()
    Deferred.set_debugging(true)
    Deferred.fail "x"
    Deferred.set_debugging(false)
    support.turn()
    assert.truthy(logged[1].fields.created:find "deferred_spec")
  end))
end)
