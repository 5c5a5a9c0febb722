-- SPDX-License-Identifier: MIT
-- Ropewalk inside other programs: the example hosts of apps/embed, run as they
-- are and under valgrind.
local e2e = require "spec.support.e2e"

local APP <const> = [[
assert(name == nil, "another instance's globals")
name = rw.config.name or "app"
local site = web.Site()
site:get("/", function() return name .. "\n" end)
site:get("/ticks", function() return rw.host.ticks() .. "\n" end)
site:get("/wait", function() rw.sleep(60):await() end)
function rw.exports.greet(who)
  rw.sleep(0.02):await()
  return "hello " .. who .. " from " .. name
end
function rw.exports.visit(who) return rw.host.visit(who) end
function rw.exports.wrong() return rw.host.visit(1) end
function rw.exports.nothing() return rw.host.nothing() end
function rw.exports.a_table() return {} end
function rw.exports.wait() rw.sleep(60):await() end
function rw.exports.spin() while true do end end
function rw.exports.limit(n)
  if tonumber(n) then rw.limits.script_budget = tonumber(n) end
  return rw.limits.script_budget
end
function rw.exports.thread()
  return rw.defer_to_thread(function() print "from a thread" return rw.thread.inside() end):await()
end
return rw.server("tcp:127.0.0.1:0", site)]]

-- A host as a child: says lines to it, waits for lines of it.
local HOST <const> = [[
import re, subprocess, threading, urllib.request
VALGRIND = ["valgrind", "-q", "--leak-check=full", "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite,indirect", "--error-exitcode=9"]
class Host:
    def __init__(self, *words, check=False):
        self.text, self.seen = "", 0
        self.child = subprocess.Popen((VALGRIND if check else []) + list(words),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
    def read(self):
        for line in self.child.stdout: self.text += line
    def say(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
    def expect(self, pattern, again=False):
        end = time.time() + 60
        while time.time() < end:
            m = re.compile(pattern).search(self.text, 0 if again else self.seen)
            if m:
                if not again: self.seen = m.end()
                return m
            time.sleep(0.02)
        raise AssertionError("no %r in:\n%s" % (pattern, self.text))
    def ask(self, line, pattern):
        self.say(line)
        return self.expect(pattern)
    def get(self, port, path="/"):
        return urllib.request.urlopen("http://127.0.0.1:%s%s" % (port, path), timeout=60).read()
    def end(self):
        if self.child.stdin: self.child.stdin.close()
        status = self.child.wait(60)
        self.reader.join(10)
        if status: raise AssertionError("status %d\n%s" % (status, self.text))
]]

describe("A host", function()
  local dir

  setup(function()
    local output, status = e2e.shell "make -s embed"
    assert(status == 0, output)
    dir = e2e.directory()
    for _, name in ipairs { "a", "b" } do
      e2e.write(dir .. "/" .. name .. ".lua", e2e.script((APP:gsub('"app"', '"' .. name .. '"'))))
    end
    e2e.write(dir .. "/broken.lua", "error 'broken'")
  end)
  teardown(e2e.finish)

  -- Runs Python with `start(program, scripts…)` at hand.
  local function talk(check, code)
    return e2e.python(HOST .. ([[
def start(program, *scripts):
    return Host("build/embed/" + program, *["%s/%%s.lua" %% s for s in scripts], check=%s)
def port_of(host, number=None):
    at = r"\[%%d\] \S+ info  " %% number if number else ""
    return host.expect(at + r"listening endpoint=tcp:127.0.0.1:(\d+)", again=True).group(1)
]]):format(dir, check and "True" or "False") .. code:gsub("\n      ", "\n"):gsub("^      ", ""))
  end

  for _, check in ipairs { false, true } do
    describe(check and "under valgrind" or "with its own poll loop", function()
      it("calls scripts and is called by them", function()
        talk(check, [[
      host = start("plain", "a")
      port_of(host)
      host.ask("call 1 greet you", r"\[1\] status 0: hello you from a")
      host.ask("call 1 visit x", r"status 0: 1\n")
      host.ask("call 1 visit x", r"status 0: 2\n")
      host.ask("call 1 wrong", r"status -20006: .*rw.host.visit: a name is expected")
      host.ask("call 1 nothing", r"status -20006: .*the host has no function 'nothing'")
      host.ask("call 1 a_table", r"status -20006: the result is a table")
      host.ask("call 1 unknown", r"status -20010: the script exports no function 'unknown'")
      host.ask("call 1 thread", r"status 0: true")
      host.say("script 1 require 'ropewalk'.exports.greet = function() return 'new' end return {}")
      host.expect("reloaded generation=2")
      host.ask("call 1 greet you", r"status 0: new")
      host.say("script 1 syntax?")
      host.expect("reload failed.*input.lua", again=True)
      host.ask("call 1 greet you", r"status 0: new")
      host.expect("from a thread", again=True)
      host.end()
      ]])
      end)

      it("has instances that do not see each other", function()
        talk(check, [[
      host = start("plain", "a", "b", "broken")
      one, two = port_of(host, 1), port_of(host, 2)
      host.expect(r"\[3\] stopped with -20006", again=True)
      expect((host.get(one), host.get(two)), (b"a\n", b"b\n"))
      host.ask("call 1 limit 100", r"\[1\] status 0: 100")
      host.ask("call 2 limit -", r"\[2\] status 0: 1000")
      host.say("call 1 spin")
      host.ask("call 2 greet me", r"\[2\] status 0: hello me from b")
      host.expect(r"\[1\] status -20007: the script used up its time", again=True)
      host.expect(r"\[1\] .*script error[^[]*100 ms of processor time", again=True)
      host.ask("reload 2", r"\[2\] .*reloaded generation=2")
      expect(host.get(one), b"a\n")
      host.ask("call 1 limit -", r"\[1\] status 0: 100")
      host.ask("stop 1", r"\[1\] stopped with 0")
      expect(host.get(two), b"b\n")
      host.ask("call 2 visit x", r"\[2\] status 0: 1\n")
      host.end()
      ]])
      end)

      it("frees an instance in any state; pending calls are told", function()
        talk(check, [[
      host = start("plain", "a", "b", "broken")
      host.say("free 3")            # while it loads, or later
      waiting = [socket.create_connection(("127.0.0.1", int(port_of(host, i)))) for i in (1, 2)]
      for c in waiting: c.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
      host.say("call 1 wait")
      time.sleep(0.3)
      host.ask("free 1", r"\[1\] status -\d+: .*ancel")
      host.say("call 2 wait")
      host.say("stop 2")
      time.sleep(0.2)
      host.say("free 2")            # while it stops
      host.end()
      ]])
      end)

      it("can be a GLib main loop, whose own timers go on", function()
        if e2e.shell("test -x build/embed/glib && echo yes") ~= "yes\n" then
          pending "no GLib"
        end
        talk(check, [[
      host = start("glib", "a")
      port = port_of(host)
      before = int(host.get(port, "/ticks"))
      time.sleep(0.5)
      after = int(host.get(port, "/ticks"))
      expect(after - before >= 10, True, "GLib's timer")
      for i in range(50): expect(host.get(port), b"a\n")
      used = lambda: sum(map(int, open("/proc/%d/stat" % host.child.pid).read().rsplit(")")[1].split()[11:13]))
      before = used()
      time.sleep(1)
      expect(used() - before < 30, True, "it does not spin")
      host.child.terminate()
      host.end()
      ]])
      end)
    end)
  end
end)
