-- SPDX-License-Identifier: MIT
local rw = require "ropewalk"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local testing = require "ropewalk.testing"

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

  it("takes a callable alone for add_callbacks, on either side", function()
    local callable = setmetatable({}, { __call = function(_, value) return { value } end })
    local d = Deferred()
    d:add_callbacks(callable)
    d:callback(5)
    assert.same({ 5 }, select(2, d:peek()))
    d = Deferred()
    d:add_callbacks(nil, callable)
    d:errback "x"
    assert.equal("x", select(2, d:peek())[1].message)
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

  it("may be interrupted in a callback that computes, while others run", function()
    local d, ticks, seen = Deferred(), 0, {}
    local timer = rw.LoopingCall(function() ticks = ticks + 1 end)
    timer:start(0.001)
    for _ = 1, 10 do
      d:add_callback(function()
        local till = os.clock() + 0.03
        repeat until os.clock() > till
      end)
    end
    d:add_callback(add(seen, "end"))
    d:callback()
    timer:stop()
    assert.same({ "end" }, seen)
    assert.is_true(ticks >= 1) -- os.clock() runs faster when other threads compute
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
