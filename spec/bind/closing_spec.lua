-- SPDX-License-Identifier: MIT
-- The to-be-closed variables of a call that fails, wherever it fails, are closed.
local rw = require "ropewalk"
local core = require "ropewalk.core"
local support = require "spec.support.core"
local talking = require "spec.support.talk"
local expect_error = support.expect_error

local seen

local function note(name, also)
  return setmetatable({}, { __close = function(_, why)
    seen[#seen + 1] = name
    if also then also(why) end
  end })
end

local function spin() while true do end end

-- Runs it as C runs a hook: nothing catches its error.
local function as_hook(fn) return core.spawn(fn) end

local function limited(fn)
  return function()
    core.task():limit(0.05)
    return fn()
  end
end

describe("What is to be closed", function()
  before_each(function() seen = {} end)

  it("is, when an error ends a hook: innermost first, with the error", function()
    local why
    local task = as_hook(function()
      local _ <close> = note("outer", function(failure) why = failure end)
      local function inner()
        local _ <close> = note "inner"
        error("the first", 0)
      end
      inner()
    end)
    assert.same({ "inner", "outer" }, seen)
    assert.equal("the first", why)
    assert.is_true(task:done())
    expect_error "the first"
  end)

  it("is, after a hook has waited", function()
    as_hook(function()
      local _ <close> = note "closed"
      rw.sleep(0.001):await()
      error("too late", 0)
    end)
    assert.same({}, seen)
    rw.sleep(0.02):await()
    assert.same({ "closed" }, seen)
    expect_error "too late"
  end)

  it("is, when a connection goes away that a hook waits for", function()
    local P, closed = rw.Protocol:extend "P", rw.Deferred()
    function P:data_received()
      local _ <close> = note("hook", function() closed:callback() end)
      rw.Deferred():await()
    end
    local client, port = talking.talk(P, talking.recorder(rw.Protocol))
    client.transport:write "x"
    rw.sleep(0.01):await()
    client.transport:abort_connection()
    closed:add_timeout(5):await()
    assert.same({ "hook" }, seen)
    port:close():await()
  end)

  it("is, when the budget ends a hook; nothing that it was doing goes on", function()
    local went_on = false
    as_hook(limited(function()
      local _ <close> = note "outer"
      while true do
        pcall(function()
          local _ <close> = note("inner", function()
            for _ = 1, 1000 do pcall(tostring, 1) end -- it may do things
            seen[#seen + 1] = "inner to its end"
          end)
          spin()
        end)
        went_on = true
      end
    end))
    rw.sleep(0.5):await()
    assert.same({ "inner", "inner to its end", "outer" }, seen)
    assert.is_false(went_on)
    expect_error "script budget exceeded: 51 ms"
  end)

  it("is, when the budget ends a function of rw.spawn", function()
    local d = rw.spawn(limited(function()
      local _ <close> = note("closed", function()
        local function deeper(n) return n > 0 and 1 + deeper(n - 1) or 0 end
        seen[#seen + 1] = deeper(20)
      end)
      spin()
    end))
    assert.error_matches(function() d:await() end, "script budget exceeded")
    assert.same({ "closed", 20 }, seen)
  end)

  it("has an end, too", function()
    local began = os.clock()
    as_hook(limited(function()
      local _ <close> = note "outer"
      local _ <close> = note("loops", spin)
      local _ <close> = note "inner"
      spin()
    end))
    rw.sleep(1):await()
    assert.is_true(os.clock() - began < 1)
    assert.same({ "inner", "loops" }, seen) -- the time is over before "outer" begins
    expect_error "script budget exceeded"
    assert.equal(2, #rw.testing.flush_logged_errors "script error in __close.*limit script_close")
    seen = {}
    local d = rw.spawn(limited(function()
      local _ <close> = note("loops", function() while true do pcall(spin) end end)
      spin()
    end))
    assert.error_matches(function() d:await() end, "limit script_close")
    assert.same({ "loops" }, seen)
  end)

  it("may fail; that is logged, and the next one is closed", function()
    as_hook(function()
      local _ <close> = note "outer"
      local _ <close> = note("inner", function() error("the second", 0) end)
      error("the first", 0)
    end)
    assert.same({ "inner", "outer" }, seen)
    expect_error "the first"
    expect_error "script error in __close.*the second"
  end)

  it("may wait, but not in a call that has used up its budget", function()
    local function wait() rw.sleep(0.001):await() end
    as_hook(function()
      local _ <close> = note "outer"
      local _ <close> = note("inner", wait)
      error("the first", 0)
    end)
    assert.same({ "inner" }, seen)
    rw.sleep(0.02):await()
    assert.same({ "inner", "outer" }, seen)
    expect_error "the first"
    as_hook(limited(function()
      local _ <close> = note("killed", function()
        local ok, why = pcall(wait)
        seen[#seen + 1] = tostring(ok)
        assert.matches("cannot wait here", tostring(why))
      end)
      spin()
    end))
    rw.sleep(0.3):await()
    assert.same({ "inner", "outer", "killed", "false" }, seen)
    expect_error "script budget exceeded"
  end)

  it("is, when the error cannot be shown", function()
    local task = as_hook(limited(function()
      local _ <close> = note "closed"
      error(setmetatable({}, { __tostring = spin }))
    end))
    while not task:done() do rw.sleep(0.01):await() end
    assert.same({ "closed" }, seen)
    expect_error "cannot be shown"
  end)

  it("is, in tasks that start each other", function()
    local function start(n)
      local _ <close> = note(n)
      if n < 100 then core.spawn(start, n + 1) end
      error("of " .. n, 0)
    end
    local task = as_hook(function() start(1) end)
    while #seen < 100 do rw.sleep(0.01):await() end
    assert.is_true(task:done())
    assert.equal(100, #rw.testing.flush_logged_errors "of %d")
  end)

  it("may start what goes on", function()
    local went_on = rw.Deferred()
    as_hook(function()
      local _ <close> = note("closed", function()
        rw.spawn(function()
          rw.sleep(0.001):await()
          went_on:callback "yes"
        end)
      end)
      error("the first", 0)
    end)
    assert.equal("yes", went_on:await())
    expect_error "the first"
  end)

  it("may be a stack as deep as can be", function()
    local function deep() return 1 + deep() end
    local task = as_hook(function()
      local _ <close> = note "closed"
      deep()
    end)
    while not task:done() do rw.sleep(0.01):await() end -- it may have been interrupted
    assert.same({ "closed" }, seen)
    expect_error "stack overflow"
  end)
end)
