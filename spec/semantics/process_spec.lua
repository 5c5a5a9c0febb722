-- SPDX-License-Identifier: MIT
-- How child processes end, as Twisted has it.
local rw = require "ropewalk"
local child = require "spec.support.child"

describe("a child process", function()
  local balanced
  before_each(function() balanced = child.balance() end)
  after_each(function() balanced() end)

  it("process_exited fires at reap, process_ended only after every pipe is closed; "
    .. "a grandchild holding stdout delays the latter", function()
    -- the grandchild waits for a line on descriptor 3, which the child does not keep
    local job = child.shell("(read line <&3; echo late) 2>/dev/null & exit 7",
      { child_fds = { [0] = "null", [1] = "r", [2] = "null", [3] = "w" } })
    local reason = job:wait "exited"
    assert.same({ "process_terminated", 7 }, { reason.code, reason.status })
    assert.same({}, child.children()) -- reaped, no zombie
    rw.sleep(0.1):await()
    assert.falsy(job.ended)
    assert.same({ "exited" }, job.events)

    job.process:write_to_child(3, "go\n")
    assert.equal(reason, job:wait "ended")
    assert.equal("late\n", job.text[1])
    assert.equal("ended", job.events[#job.events])
    assert.truthy(job.lost_1)
    assert.truthy(job.lost_3)
  end)

  it("that closes its pipes and goes on ends with its exit", function()
    local job = child.shell("exec <&- >&- 2>&-; sleep 0.2; exit 0")
    job:wait "lost_1"
    job:wait "lost_2"
    job:wait "lost_0"
    assert.falsy(job.exited)
    assert.is_true(job:wait("ended").clean)
    assert.same({ "exited", "ended" }, { table.unpack(job.events, 4) })
  end)

  it("gives all its output before child_connection_lost, and that before process_ended", function()
    local order = {}
    local Slow = child.Recorder:extend "Slow"
    function Slow:out_received(bytes)
      rw.sleep(0.05):await() -- a hook may wait
      order[#order + 1] = bytes
    end
    function Slow:out_connection_lost() order[#order + 1] = "lost" end
    local job = child.shell("echo one; sleep 0.02; echo two", nil, Slow())
    job:wait "ended"
    assert.same({ "one\ntwo\nlost" }, { (table.concat(order)) })
  end)

  it("delivers nothing before connection_made is over", function()
    local Slow = child.Recorder:extend "Slow"
    function Slow:connection_made()
      rw.sleep(0.1):await()
      assert.same({}, self.events)
      assert.equal("", self.text[1])
      self.made = true
    end
    local job = child.shell("echo x", nil, Slow())
    assert.is_true(job.made)
    job:wait "ended"
    assert.equal("x\n", job.text[1])
  end)

  it("tells process_ended after a process_exited that waits, or fails", function()
    local logged <close> = rw.log.capture()
    local Slow = child.Recorder:extend "Slow"
    function Slow:process_exited(reason)
      rw.sleep(0.05):await()
      self:note("exited", reason)
      error "oops"
    end
    local job = child.shell("exit 0", nil, Slow())
    job:wait "ended"
    assert.same({ "exited", "ended" }, { table.unpack(job.events, 4) })
    assert.truthy(logged:find "process_exited: .*oops")
  end)

  it("knows its exit status, or the signal", function()
    local reason = child.shell("exit 0"):wait "ended"
    assert.same({ "process_done", 0, true }, { reason.code, reason.status, reason.clean })
    reason = child.shell("exit 255"):wait "ended"
    assert.same({ "process_terminated", 255, false }, { reason.code, reason.status, reason.clean })
    reason = child.shell("kill -KILL $$"):wait "ended"
    assert.same({ "process_terminated", "KILL" }, { reason.code, reason.signal })
    assert.is_nil(reason.status)
    assert.equal("the process was ended by signal KILL", reason.message)
  end)

  it("may be silent for as long as it likes, also in mid-line", function()
    local lines, Lines = {}, rw.LineProtocol:extend "Lines"
    function Lines:line_received(line) lines[#lines + 1] = line end -- luacheck: ignore 212
    local job = child.shell("printf 'one\\ntw'; sleep 0.3; printf 'o\\n'", {
      protocols = { [1] = Lines() }, limits = { idle_timeout = 50, head_timeout = 50, session_timeout = 50 } })
    job:wait "ended"
    assert.same({ "one", "two" }, lines)
  end)
end)
