-- SPDX-License-Identifier: MIT
-- Starting child processes: what they get, what they do not, and refusals. What
-- is open and running is counted before and after each.
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
      assert.equal("5\n", (output("/bin/sh", { [0] = 5, "-c", "echo $0" })))
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
      wrong("argument 2 is nil", protocol, "ls", { "-l", nil, "/" })
      wrong("argument 0 must be a string", protocol, "ls", { [0] = {} })
      for _, none in ipairs { 5, {} } do
        wrong("protocols[1] must be a protocol", protocol, "ls", {}, { protocols = { [1] = none } })
      end
      wrong("there is no option stdin", protocol, "ls", {}, { stdin = 1 })
      wrong("who changes the user names the group", protocol, "ls", {}, { uid = 1 })
      wrong('means that we read it; use "w"', protocol, "ls", {}, { child_fds = { [0] = "r" } })
      wrong("0, 1 and 2 are the terminal", protocol, "ls", {},
        { pty = true, child_fds = { [1] = "r" } })
    end)

    it("it was asked for in a wrong way, and says so at the line of the script, whoever was asked", function()
      for text, arguments in pairs {
        ["changes the user"] = { "ls", {}, { uid = 1 } },
        ["there is no signal"] = { "ls", {}, { parent_death_signal = "X" } },
        ["argument 1 must be"] = { "ls", { {} } }, ["files: a zero byte"] = { "l\0s" },
        ["env: a zero byte"] = { "ls", {}, { env = { A = "\0" } } },
      } do
        local ok, message = pcall(function() rw.run_process(table.unpack(arguments)) end)
        assert.is_false(ok)
        assert.matches("^[%w_/.]*child_spec%.lua:%d+: .*" .. text, message)
      end
      assert.equal("", rw.get_process_output("true", {}, { parent_death_signal = "SIGTERM" }):await())
    end)

    it("its pipe cannot have the protocol; then it is ended", function()
      local Odd = rw.Protocol:extend "Odd"
      Odd.engine = "nosuch"
      local protocol = child.Recorder()
      local ok, failure = pcall(rw.spawn_process, protocol, "cat", {}, { protocols = { [1] = Odd() } })
      assert.is_false(ok)
      assert.matches("unknown protocol engine 'nosuch'", tostring(failure))
      protocol:wait "ended"
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
end)
