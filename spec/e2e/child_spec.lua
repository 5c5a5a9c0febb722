-- SPDX-License-Identifier: MIT
-- Child processes: real programs, in every mood. What is open and running is
-- counted before and after each of them.
local rw = require "ropewalk"
local child = require "spec.support.child"
local e2e = require "spec.support.e2e"

local function output(executable, args, options)
  local job = child.start(executable, args, options)
  job:wait "ended"
  return job.text[1], job
end

local function refused(...)
  local process, failure = rw.spawn_process(child.Recorder(), ...)
  assert.is_nil(process)
  return failure
end

describe("a child process", function()
  local balanced
  before_each(function() balanced = child.balance() end)
  after_each(function()
    balanced()
    e2e.finish()
  end)

  describe("gets", function()
    it("its arguments as they are", function()
      local args = { "-c", [[printf '<%s>' "$0" "$@"]], "$(id)", "a b", "", "*", "'\"\\", 7 }
      assert.equal([[<$(id)><a b><><*><'"\><7>]], (output("sh", args)))
    end)

    it("its name, or another one", function()
      assert.equal("sh\n", (output("/bin/sh", { [0] = "sh", "-c", "echo $0" })))
      assert.equal("-other\n", (output("/bin/sh", { [0] = "-other", "-c", "echo $0" })))
    end)

    it("our environment with changes, or one of its own", function()
      local script <const> = { "-c", 'echo "$HOME" "$A" "${PATH:+path}"' }
      assert.equal(os.getenv "HOME" .. " 1 path\n", (output("sh", script, { env = { A = 1 } })))
      assert.equal("  path\n", (output("sh", script, { env = { HOME = false } })))
      assert.equal("A=1\n", (output("env", {}, { env = { A = 1 }, clear_env = true })))
    end)

    it("its directory", function()
      assert.equal("/usr\n", (output("pwd", {}, { cwd = "/usr" })))
    end)

    it("a process group of its own, unless it shall not", function()
      local script <const> = "read -r _ _ _ _ group _ </proc/self/stat; echo $$ $group"
      local pid, group = output("sh", { "-c", script }):match "(%d+) (%d+)"
      assert.equal(pid, group)
      pid, group = output("sh", { "-c", script }, { new_group = false }):match "(%d+) (%d+)"
      assert.are_not.equal(pid, group)
    end)

    it("no signal blocked or ignored", function()
      local status = output("cat", { "/proc/self/status" })
      assert.equal("0000000000000000", status:match "SigBlk:%s*(%x+)")
      assert.equal("0000000000000000", status:match "SigIgn:%s*(%x+)")
    end)

    it("no descriptor of ours", function()
      local held = io.open "/dev/null" -- one that somebody did not mark, if it was not for us
      local names = output("ls", { "/proc/self/fd" })
      held:close()
      assert.equal("0\n1\n2\n3\n", names) -- 3 is what ls reads
    end)

    it("/dev/null where nothing else is said", function()
      local names = output("ls", { "-l", "/proc/self/fd" }, { child_fds = { [1] = "r" } })
      assert.truthy(names:find("0 -> /dev/null", 1, true))
      assert.truthy(names:find("2 -> /dev/null", 1, true))
    end)

    it("pipes that it can open again", function()
      local _, job = output("sh", { "-c", "echo again >/dev/stderr; cat </dev/stdin" },
        { child_fds = { [0] = "null", [1] = "r", [2] = "r" } })
      assert.equal("again\n", job.text[2])
    end)

    it("the user, group and groups that it shall have, and no others", function()
      if e2e.shell "id -u" ~= "0\n" then return pending "only root can" end
      local ids = { uid = 1, gid = 2 }
      assert.equal("uid=1 gid=2 groups=2\n", (output("sh", { "-c",
        "echo uid=$(id -u) gid=$(id -g) groups=$(id -G)" }, ids)))
      ids.groups = { 3, 5 }
      assert.equal("2 3 5\n", (output("id", { "-G" }, ids)))
      assert.equal("EACCES", refused("/bin/ls", {}, { uid = 1, gid = 1, cwd = "/root" }).code)
      local process = child.start("sh", { "-c", "exit 5" }, ids)
      assert.equal(5, process:wait("ended").status)
    end)
  end)

  describe("cannot be started:", function()
    it("there is no such program", function()
      local failure = refused "/no/such/program"
      assert.same({ "ENOENT", "cannot execute /no/such/program: no such file or directory" },
        { failure.code, failure.message })
      assert.equal("ENOENT", refused("no-such-program").code)
    end)

    it("it may not be executed, or cannot", function()
      assert.equal("EACCES", refused("/etc/passwd").code)
      assert.equal("EACCES", refused("/tmp").code)
      local dir = e2e.directory()
      e2e.write(dir .. "/noise", "not a program")
      e2e.shell("chmod +x " .. dir .. "/noise")
      assert.equal("ENOEXEC", refused(dir .. "/noise").code)
    end)

    it("the directory is not there", function()
      local failure = refused("ls", {}, { cwd = "/no/such" })
      assert.equal("cannot enter the directory /no/such: no such file or directory",
        failure.message)
    end)

    it("a descriptor that it shall have is not open", function()
      assert.equal("EBADF", refused("ls", {}, { child_fds = { [3] = 3999 } }).code)
    end)

    it("there are too many", function()
      local before = rw.limits.max_processes
      rw.limits.max_processes = 1
      local job = child.start "cat"
      local failure = refused "cat"
      rw.limits.max_processes = before
      assert.same({ "limit", "cannot start a process: there are too many (limit max_processes)" },
        { failure.code, failure.message })
      job.process:close_stdin()
      job:wait "ended"
    end)

    it("it was asked for in a wrong way", function()
      local protocol = child.Recorder()
      local function wrong(text, ...)
        local ok, message = pcall(rw.spawn_process, ...)
        assert.is_false(ok)
        message = tostring(message)
        assert.truthy(message:find(text, 1, true), message)
      end
      wrong("must be a ProcessProtocol", {}, "ls")
      wrong("the program must be a string", protocol)
      wrong("argument 1 must be a string", protocol, "ls", { {} })
      wrong("there is no option stdin", protocol, "ls", {}, { stdin = 1 })
      wrong("who changes the user names the group", protocol, "ls", {}, { uid = 1 })
      wrong('means that we read it; use "w"', protocol, "ls", {}, { child_fds = { [0] = "r" } })
      wrong("0, 1 and 2 are the terminal", protocol, "ls", {},
        { pty = true, child_fds = { [1] = "r" } })
    end)
  end)

  describe("has descriptors", function()
    it("of all kinds", function()
      local file = os.tmpname()
      local fd <const> = 9
      -- our own copy of an open file, by number
      local held = assert(io.open(file, "w"))
      local number = e2e.shell(("ls -l /proc/$PPID/fd | grep %s"):format(file)):match "(%d+) %->"
      local job = child.shell([[
        cat <&3 >&4; read line <&5; echo "<$line>" >&5; echo kept >&9; exec 5>&-; cat]],
        { child_fds = { [0] = "w", [1] = "r", [3] = "w", [4] = "r", [5] = "rw",
          [fd] = tonumber(number) } })
      job.process:write_to_child(3, "three")
      job.process:close_child_fd(3)
      job:expect("three", 4)
      job.process:write_to_child(5, "five\n")
      job:expect("<five>\n", 5)
      job.process:write "zero"
      job.process:close_stdin()
      assert.is_true(job:wait("ended").clean)
      assert.equal("zero", job.text[1])
      held:close()
      assert.equal("kept\n", e2e.read(file))
      os.remove(file)
    end)

    it("with high numbers, that cross ours", function()
      local job = child.shell("echo a >&7; echo b >&8; ls /proc/self/fd",
        { child_fds = { [1] = "r", [7] = "r", [8] = "r" } })
      job:wait "ended"
      assert.same({ "a\n", "b\n", "0\n1\n2\n3\n7\n8\n" }, { job.text[7], job.text[8], job.text[1] })
      local names = output("ls", { "/proc/self/fd" }, { child_fds = { [1] = "r", [255] = "null" } })
      assert.equal("0\n1\n2\n255\n3\n", names)
    end)

    it("that are connections: a protocol of one's own, its engine and producers", function()
      local Lines = rw.LineProtocol:extend "Lines"
      function Lines:connection_made() self.lines = {} end
      function Lines:line_received(line) self.lines[#self.lines + 1] = line end
      local lines = Lines()
      local job = child.start("cat", {}, { protocols = { [1] = lines } })
      local left = 3
      local producer = {
        resume_producing = function()
          if left == 0 then
            job.process:unregister_producer()
            return job.process:close_stdin()
          end
          job.process:write("line " .. left .. "\n")
          left = left - 1
        end,
        stop_producing = function() end,
      }
      job.process:register_producer(producer, false)
      job:wait "ended"
      assert.same({ "line 3", "line 2", "line 1" }, lines.lines)
    end)
  end)

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
      job.process:write "trap 'echo changed' WINCH; echo set\n"
      job:expect "> set\r\n"
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
