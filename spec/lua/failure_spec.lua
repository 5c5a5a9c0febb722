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
