-- SPDX-License-Identifier: MIT
-- Child processes in every mood: slow, deaf, talkative, many. What is open and
-- running is counted before and after each.
local rw = require "ropewalk"
local child = require "spec.support.child"
local e2e = require "spec.support.e2e"

describe("a child process", function()
  local balanced
  before_each(function() balanced = child.balance() end)
  after_each(function() balanced() end)

  describe("that is slow, or in a hurry:", function()
    it("input that ends lets it finish", function()
      local job = child.start "sort"
      job.process:write { "b\n", "c\n", "a\n" }
      job.process:close_stdin()
      assert.is_true(job:wait("ended").clean)
      assert.equal("a\nb\nc\n", job.text[1])
    end)

    it("much goes through, in both directions, and memory does not grow", function()
      local Tap = child.Recorder:extend "Tap"
      Tap.drop = true
      local job = child.start("cat", {}, nil, Tap())
      local piece, before = ("x"):rep(65536), child.resident()
      for _ = 1, 1000 do
        job.process:write(piece)
        assert.is_true(job.process:drained())
      end
      job.process:close_stdin()
      job:wait "ended"
      assert.equal(65536000, job.size)
      if not e2e.sanitized then assert.is_true(child.resident() - before < 20000) end
    end)

    it("one that closes its input early is told as in_connection_lost", function()
      local job = child.shell "exec <&-; sleep 0.3; echo done"
      local reason = job:wait "lost_0"
      assert.same({ "lost", "EPIPE" }, { reason.code, reason.name })
      job.process:write "nobody reads this"
      job:wait "ended"
      assert.equal("done\n", job.text[1])
    end)

    it("one that ends in the midst of its input ends no worse", function()
      local job = child.shell "head -c 10 >/dev/null; exit 4"
      for _ = 1, 20 do
        job.process:write(("x"):rep(100000))
        rw.sleep(0.005):await()
      end
      assert.equal(4, job:wait("ended").status)
    end)

    it("one that floods while we pause waits; memory is flat", function()
      local Tap = child.Recorder:extend "Tap"
      Tap.drop = true
      local job = child.start("yes", {}, nil, Tap())
      child.eventually(function() return job.size > 100000 end)
      job.process:pause_producing()
      rw.sleep(0.05):await()
      local size, before = job.size, child.resident()
      rw.sleep(0.3):await()
      assert.equal(size, job.size)
      if not e2e.sanitized then assert.is_true(child.resident() - before < 2000) end
      job.process:resume_producing()
      child.eventually(function() return job.size > size + 1000000 end)
      job.process:signal_process "TERM"
      assert.equal("TERM", job:wait("ended").signal)
    end)

    it("a hook that waits makes it wait", function()
      local Slow = child.Recorder:extend "Slow"
      Slow.drop = true
      function Slow:child_data_received(fd, bytes)
        child.Recorder.child_data_received(self, fd, bytes)
        rw.sleep(0.02):await()
      end
      local job = child.start("yes", {}, nil, Slow())
      rw.sleep(0.4):await()
      assert.is_true(job.size <= 30 * 65536)
      job.process:lose_connection() -- yes gets SIGPIPE
      assert.equal("PIPE", job:wait("ended").signal)
    end)

    it("one that reads nothing: the writer is told, and stopped in the end", function()
      local job = child.start("sleep", { "30" }, { limits = { max_buffered = 300000 } })
      local told
      for _ = 1, 5 do told = job.process:write(("x"):rep(50000)) end
      assert.is_false(told)
      assert.falsy(job.lost_0)
      assert.is_true(job.process.pipes[0].buffered > 100000)
      for _ = 1, 10 do job.process:write(("x"):rep(50000)) end
      assert.equal("limit", job:wait("lost_0").name)
      job.process:terminate()
      assert.equal("TERM", job:wait("ended").signal)
    end)

    it("one that reads nothing for process_write_timeout loses its input", function()
      local job = child.start("sleep", { "30" }, { limits = { write_timeout = 200 } })
      job.process:write(("x"):rep(200000))
      assert.equal("ETIMEDOUT", job:wait("lost_0").name)
      job.process:kill_group()
      assert.equal("KILL", job:wait("ended").signal)
    end)
  end)

  describe("gets signals", function()
    it("by name and number, and none once it has ended", function()
      local job = child.shell "trap 'echo hup' HUP; trap 'exit 3' USR1; echo ready; while :; do sleep 0.02; done"
      job:expect "ready"
      assert.is_true(job.process:signal_process "HUP")
      job:expect "hup"
      assert.is_true(job.process:signal_process "sigusr1")
      assert.equal(3, job:wait("ended").status)
      local sent, failure = job.process:signal_process(15)
      assert.is_nil(sent)
      assert.equal("process_exited_already", failure.code)
      assert.has_error(function() job.process:signal_process "NONE" end)
    end)

    it("with all its descendants", function()
      local job = child.shell "sleep 30 & sleep 30 & echo $!; wait"
      job:expect "\n"
      local pid = job.text[1]:match "%d+"
      assert.is_true(child.alive(pid))
      job.process:kill_group "TERM"
      job:wait "ended"
      child.eventually(function() return not child.alive(pid) end)
    end)

    it("after it has ended, for those it left behind", function()
      local job = child.shell "sleep 30 & exit 0"
      job:wait "exited"
      assert.is_nil((job.process:signal_process "TERM"))
      assert.is_true(job.process:kill_group "TERM")
      job:wait "ended"
      assert.is_nil((job.process:kill_group "TERM"))
    end)

    it("that it ignores, and then SIGKILL", function()
      local job = child.start("sh", { "-c", "trap '' TERM; echo ready; while :; do sleep 0.05; done" },
        { limits = { process_grace = 300 } })
      job:expect "ready"
      job.process:terminate()
      rw.sleep(0.15):await()
      assert.falsy(job.exited)
      assert.equal("KILL", job:wait("ended").signal)
    end)

    it("though it is stopped", function()
      local job = child.start "cat"
      job.process:signal_process "STOP"
      job.process:terminate()
      assert.equal("TERM", job:wait("ended").signal)
    end)

    it("and loses its pipes when somebody of another group holds them", function()
      local job = child.shell("setsid sh -c 'echo ready; exec sleep 3' & exit 0",
        { limits = { process_grace = 100 } })
      job:expect "ready"
      job:wait "exited"
      job.process:terminate()
      assert.equal("aborted", job:wait("lost_1").code)
      job:wait "ended"
    end)
  end)

  describe("with a terminal", function()
    it("is interactive, and knows the terminal's size", function()
      local job = child.start("sh", { "-i" },
        { pty = { rows = 33, columns = 99 }, env = { PS1 = "prompt> ", ENV = false } })
      job:expect "prompt> "
      job.process:write "stty size; tty; ps -o tty= -p $$\n"
      job:expect "33 99\r\n"
      job:expect "/dev/pts/"
      job.process:write "trap 'echo changed' WINCH; echo s$((1))t\n"
      job:expect "s1t"
      assert.is_true(job.process:resize(50, 132))
      job.process:write "echo; stty size\n"
      job:expect "50 132\r\n"
      job:expect "changed\r\n"
      job.process:write "exit 6\n"
      assert.equal(6, job:wait("ended").status)
      assert.truthy(job.lost_1)
      assert.equal("ended", job.events[#job.events])
    end)

    it("gets Ctrl-C as a signal, close_stdin as Ctrl-D", function()
      local job = child.shell("trap 'echo int; exit 3' INT; echo ready; while :; do sleep 0.02; done",
        { pty = true })
      job:expect "ready"
      job.process:write "\3"
      assert.equal(3, job:wait("ended").status)
      job:expect "int\r\n"
      job = child.start("cat", {}, { pty = true })
      job.process:write "hello\n"
      job:expect "hello\r\nhello\r\n"
      job.process:close_stdin()
      assert.is_true(job:wait("ended").clean)
    end)

    it("is hung up when we let go", function()
      local job = child.start("sleep", { "30" }, { pty = true })
      job.process:lose_connection()
      assert.equal("HUP", job:wait("ended").signal)
    end)
  end)

  describe("one of a thousand", function()
    local COUNT <const> = 1000

    it("is reaped, with 50 at a time", function()
      local semaphore, done = rw.DeferredSemaphore(50), {}
      for i = 1, COUNT do
        done[i] = semaphore:run(function()
          return rw.get_process_output("echo", { i }):await()
        end)
      end
      local texts = rw.gather(done):await()
      for i = 1, COUNT do assert.equal(i .. "\n", texts[i]) end
    end)

    it("is reaped, all at once", function()
      local jobs = {}
      for i = 1, COUNT do
        jobs[i] = child.start("cat", {}, { child_fds = { [0] = "w", [1] = "r" } })
      end
      assert.equal(COUNT, #child.children())
      for _, job in ipairs(jobs) do
        job.process:write "x"
        job.process:close_stdin()
      end
      for _, job in ipairs(jobs) do assert.is_true(job:wait("ended").clean) end
      for _, job in ipairs(jobs) do assert.equal("x", job.text[1]) end
    end)
  end)
end)
