-- SPDX-License-Identifier: MIT
local rw = require "ropewalk"

describe("a script's own coroutine", function()
  it("may wait; who resumed it sees only its own yields", function()
    local co = coroutine.wrap(function(a)
      rw.sleep(0.01):await()
      local b = coroutine.yield(a + 1)
      rw.sleep(0.01):await()
      return b * 2
    end)
    assert.equal(2, co(1))
    assert.equal(10, co(5))
  end)

  it("may wait two levels deep", function()
    local outer = coroutine.wrap(function()
      local inner = coroutine.wrap(function()
        rw.sleep(0.01):await()
        coroutine.yield(1)
        rw.sleep(0.01):await()
        return 2
      end)
      coroutine.yield(inner())
      coroutine.yield(inner())
    end)
    assert.equal(1, outer())
    assert.equal(2, outer())
  end)

  it("gives its errors to who resumed it", function()
    local co = coroutine.create(function() error "x" end)
    local ok, err = coroutine.resume(co)
    assert.is_false(ok)
    assert.truthy(err:find "x")
    assert.equal("dead", coroutine.status(co))
    assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
    assert.has_error(function() coroutine.wrap(function() error "y" end)() end)
  end)

  it("passes all values both ways", function()
    local co = coroutine.create(function(...) return select("#", ...), coroutine.yield(...) end)
    assert.same({ true, 1, nil, 3 }, { coroutine.resume(co, 1, nil, 3) })
    assert.same({ true, 3, "a", "b" }, { coroutine.resume(co, "a", "b") })
  end)

  it("says that it cannot wait inside a callback of a C function", function()
    local function wait() rw.sleep(0.01):await() end
    local ok, err = pcall(function() return (("x"):gsub("x", wait)) end)
    assert.is_false(ok)
    assert.truthy(tostring(err):find "cannot wait here")
    ok, err = pcall(function() return (("x"):gsub("x", coroutine.wrap(wait))) end)
    assert.is_false(ok)
    assert.truthy(tostring(err):find "cannot wait here")
  end)

  it("computes for longer than a slice anywhere, unseen", function()
    local function work()
      local start = os.clock()
      while os.clock() - start < 0.03 do end -- luacheck: ignore 542
      return "y"
    end
    local result = ("xxx"):gsub("x", function()
      return coroutine.wrap(function() coroutine.yield(work()) end)()
    end)
    assert.equal("yyy", result)
    assert.equal("y", coroutine.wrap(work)())
  end)

  it("is needed for coroutine.yield, which says so", function()
    local ok, err = pcall(coroutine.yield)
    assert.is_false(ok)
    assert.truthy(err:find "await")
  end)

  it("handles the overflow of a deep stack in bounds, whatever the handler is", function()
    local function deep() return 1 + deep() end
    for _, handler in ipairs { debug.traceback, rw.Failure.caught } do
      local began = os.clock()
      local ok, value = xpcall(deep, handler)
      assert.is_false(ok)
      assert.matches("stack overflow", tostring(value))
      assert.is_true(os.clock() - began < 40)
    end
  end)

  it("belongs to who has resumed it while it waits", function()
    local gate, co = rw.Deferred(), nil
    local first = rw.spawn(function()
      co = coroutine.create(function() coroutine.yield(gate:await()) end)
      return select(2, coroutine.resume(co))
    end)
    local wrapped = coroutine.wrap(function() return gate:await() end)
    local second = rw.spawn(wrapped)
    assert.equal("normal", coroutine.status(co))
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
    assert.has_error(function() coroutine.close(co) end, "cannot close a normal coroutine")
    assert.matches("cannot resume non%-suspended coroutine", select(2, pcall(wrapped)))
    gate:callback "open"
    assert.equal("open", first:await())
    assert.equal("open", second:await())
    assert.equal("suspended", coroutine.status(co))
    assert.same({ true }, { coroutine.resume(co) })
  end)

  it("of a task that waits is nobody's to resume or to close", function()
    local gate, co = rw.Deferred(), nil
    local task = rw.spawn(function()
      co = coroutine.running()
      return gate:await()
    end)
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
    assert.has_error(function() coroutine.close(co) end, "cannot close a normal coroutine")
    gate:callback "open"
    assert.equal("open", task:await())
  end)

  it("gives the handler of xpcall the errors of what it closes, too", function()
    local ok, value = xpcall(function()
      local _ <close> = setmetatable({}, { __close = function() error("second", 0) end })
      error("first", 0)
    end, function(message) return "handled: " .. message end)
    assert.same({ false, "handled: second" }, { ok, value })
  end)
end)
