-- SPDX-License-Identifier: MIT
require "spec.support.core"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"

describe("a Failure", function()
  it("wraps an error message", function()
    local _, err = pcall(error, "boom", 0)
    local f = Failure(err)
    assert.equal("boom", f.message)
    assert.equal("error", f.code)
    assert.equal("boom", tostring(f))
  end)

  it("wraps a table with code and message, any object, and nil", function()
    local f = Failure { code = "busy", message = "later", op = "get" }
    assert.equal("busy", f.code)
    assert.equal("get: later", tostring(f))
    local object = Object()
    assert.equal(object, Failure(object).value)
    assert.equal("error", Failure(nil).code)
    assert.equal("42", Failure(42).message)
  end)

  it("stays itself when it is wrapped again", function()
    local f = Failure "x"
    assert.equal(f, Failure(f))
  end)

  it("keeps the traceback of the place that raised", function()
    local function deep() error "here" end
    local _, f = xpcall(function() deep() end, Failure.caught)
    assert.truthy(f.traceback:find("in upvalue 'deep'", 1, true)
      or f.traceback:find("deep", 1, true))
    assert.truthy(f:location():find "failure_spec.lua:%d+")
  end)

  it("names each function on the way, and where calls were tail calls", function()
    local object = {}
    function object:deep() error "here" end
    local function tail() return object:deep() end
    local function outer()
      tail()
      return 1
    end
    local _, f = xpcall(outer, Failure.caught)
    local here = debug.getinfo(1, "S").short_src
    local line = debug.getinfo(outer, "S").linedefined
    local lines = {}
    for text in f.traceback:gmatch "[^\n]+" do lines[#lines + 1] = text end
    assert.equal("stack traceback:", lines[1])
    assert.equal("\t[C]: in global 'error'", lines[2])
    assert.equal(("\t%s:%d: in function <%s:%d>"):format(here, line - 2, here, line - 2), lines[3])
    assert.equal("\t(...tail calls...)", lines[4])
    assert.equal(("\t%s:%d: in function <%s:%d>"):format(here, line + 1, here, line), lines[5])
    assert.equal("\t[C]: in global 'xpcall'", lines[6])
  end)

  it("keeps the innermost 24 frames of a coroutine, and adds those that wait for it", function()
    local function deep(n)
      if n == 0 then error "here" end
      deep(n - 1)
      return n
    end
    local _, f = xpcall(deep, Failure.caught, 100)
    local waits = coroutine.create(function()
      coroutine.yield()
      return 1
    end)
    coroutine.resume(waits)
    f:add_frames("awaited by", waits)
    local _, count = f.traceback:gsub("in upvalue 'deep'", "")
    assert.equal(22, count) -- the first is the handler's, the second that of error
    assert.truthy(f.traceback:find "'deep'\nawaited by\n\t%[C%]: in function 'coroutine.yield'\n\t"
      or f.traceback:find "'deep'\nawaited by\n\t%[C%]: in [^\n]-'yield'\n\t", f.traceback)
    f:add_frames("and by", coroutine.create(function() end))
    assert.truthy(f.traceback:find "\nand by\n?")
  end)

  it("is checked and trapped by code, name or class of the value", function()
    local Oops = Object:extend "Oops"
    local f = Failure(Oops())
    assert.equal(Oops, f:check("x", Oops))
    assert.equal("timeout", Failure.new("timeout"):trap("lost", "timeout"))
    local ok, err = pcall(function() f:trap "other" end)
    assert.is_false(ok)
    assert.equal(f, err)
    assert.is_nil(f:check "other")
    assert.is_false(f:is(nil))
  end)

  it("describes itself with its causes", function()
    local f = Failure.new("lost", "gone", "connect")
    f.cause = Failure "reset"
    assert.truthy(f:describe():find("connect: gone [lost]", 1, true))
    assert.truthy(f:describe():find("caused by: reset", 1, true))
  end)

  describe("of a closed connection", function()
    it("is done, lost or aborted", function()
      local done = Failure.from_close(0, "RW_EOF", "end of stream")
      assert.is_true(done:is "done" and done.clean)
      done = Failure.from_close(-20001, "RW_EOF", "end of stream")
      assert.is_true(done:is "done" and done:is "eof" and done.clean)
      local aborted = Failure.from_close(-20009, "RW_EABORTED", "aborted by this side")
      assert.is_true(aborted:is "aborted")
      assert.is_false(aborted.clean)
      local lost = Failure.from_close(-104, "ECONNRESET", "connection reset by peer")
      assert.is_true(lost:is "lost" and lost:is "ECONNRESET")
      local limit = Failure.from_close(-20002, "RW_ELIMIT", "a limit was exceeded")
      assert.is_true(limit:is "lost" and limit:is "limit")
    end)
  end)
end)
