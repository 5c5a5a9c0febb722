-- SPDX-License-Identifier: MIT
local rw = require "ropewalk"
local child = require "spec.support.child"

local function failure_of(d)
  local ok, failure = pcall(d.await, d)
  assert.is_false(ok)
  return failure
end

describe("a command", function()
  local balanced
  before_each(function() balanced = child.balance() end)
  after_each(function() balanced() end)

  it("gives its output and how it ended", function()
    local result = rw.run_process("sh", { "-c", "cat; echo wrong >&2; exit 3" },
      { input = "in" }):await()
    assert.same({ "in", "wrong\n", 3 }, { result.stdout, result.stderr, result.status })
    result = rw.run_process("sh", { "-c", "kill -9 $$" }):await()
    assert.same({ "KILL" }, { result.signal, result.status })
  end)

  it("gets much input, and may ignore it", function()
    local input = ("0123456789abcdef"):rep(200000)
    local result = rw.run_process("cat", {}, { input = input }):await()
    assert.is_true(result.stdout == input)
    assert.equal(0, rw.run_process("true", {}, { input = input }):await().status)
    assert.equal("0", rw.run_process("head", { "-c", "1" }, { input = input }):await().stdout)
  end)

  it("has no input when none is given", function()
    assert.equal("", rw.run_process("cat"):await().stdout)
  end)

  it("fails when it cannot be started", function()
    local failure = failure_of(rw.run_process "/no/such/program")
    assert.equal("ENOENT", failure.code)
    assert.has_error(function() rw.run_process("ls", {}, { pty = true }) end)
    assert.has_error(function() rw.run_process("ls", {}, { timeout = "1" }) end)
  end)

  it("is not started with a bound that is none", function()
    local mark = os.tmpname()
    os.remove(mark)
    for _, options in ipairs { { timeout = -1 }, { timeout = 0 / 0 }, { timeout = math.huge },
      { max_output = -1 }, { max_output = 0 / 0 } } do
      assert.error_matches(function() rw.run_process("touch", { mark }, options) end,
        "bad argument #3 to 'run_process'")
    end
    rw.sleep(0.05):await()
    assert.is_nil((io.open(mark)))
  end)

  it("can be made to fail unless its status is 0", function()
    local failure = failure_of(rw.run_process("sh", { "-c", "echo why >&2; exit 2" }, { check = true }))
    assert.same({ "process_terminated", 2, "why\n" },
      { failure.code, failure.status, failure.stderr })
    assert.equal(0, rw.run_process("true", {}, { check = true }):await().status)
  end)

  it("that takes too long is ended with its descendants", function()
    local began = rw.reactor:seconds()
    local failure = failure_of(rw.run_process("sh", { "-c", "sleep 30 & echo $!; wait" },
      { timeout = 0.2 }))
    assert.equal("timeout", failure.code)
    assert.is_true(rw.reactor:seconds() - began < 2)
    child.eventually(function() return not child.alive(failure.stdout:match "%d+") end)
  end)

  it("that ignores SIGTERM is killed", function()
    local failure = failure_of(rw.run_process("sh",
      { "-c", "trap '' TERM; while :; do sleep 0.02; done" },
      { timeout = 0.1, limits = { process_grace = 200 } }))
    assert.same({ "timeout", "KILL" }, { failure.code, failure.signal })
  end)

  it("that writes too much is ended", function()
    local failure = failure_of(rw.run_process("yes", {}, { max_output = 100000 }))
    assert.equal("limit", failure.code)
    assert.is_true(#failure.stdout <= 100000)
  end)

  it("that is cancelled is ended", function()
    local d = rw.run_process("sleep", { "30" })
    assert.equal(1, #child.children())
    d:cancel()
    assert.equal("cancelled", failure_of(d).code)
    child.eventually(function() return #child.children() == 0 end)
    d = rw.run_process("sleep", { "30" }):add_timeout(0.1)
    assert.equal("timeout", failure_of(d).code)
  end)

  it("gives only its output, or only its status", function()
    assert.equal("out\n", rw.get_process_output("sh", { "-c", "echo out; exit 1" }):await())
    local script <const> = { "-c", "echo out; sleep 0.05; echo err >&2" }
    local failure = failure_of(rw.get_process_output("sh", script))
    assert.equal("err\n", failure.stderr)
    assert.equal("out\nerr\n", rw.get_process_output("sh", script, nil, true):await())
    assert.equal(7, rw.get_process_value("sh", { "-c", "exit 7" }):await())
    assert.equal("process_terminated",
      failure_of(rw.get_process_value("sh", { "-c", "kill -15 $$" })).code)
  end)
end)
