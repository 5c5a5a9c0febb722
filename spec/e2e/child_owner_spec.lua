-- SPDX-License-Identifier: MIT
-- Whose child it is: it ends with the connection or the generation that it
-- worked for, and nobody is left behind when the process stops.
local child = require "spec.support.child"
local e2e = require "spec.support.e2e"

-- An application that starts children and says their numbers in the log.
local APP <const> = [[
local Job = rw.ProcessProtocol:extend "Job"
function Job:out_received(bytes) rw.log.info("{name}: {text}", { name = self.name, text = bytes }) end
function Job:process_ended(reason)
  rw.log.info("{name} ended: {reason}", { name = self.name, reason = reason })
end
local function start(name, script, options)
  local job = Job()
  job.name = name
  local process = assert(rw.spawn_process(job, "sh", { "-c", script }, options))
  rw.log.info("{name} is pid <{pid}>", { name = name, pid = process.pid })
  return process
end
%s
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))]]

local ECHO <const> = [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write(bytes) end
]]

describe("a child process", function()
  after_each(e2e.finish)

  local function start(text, ...)
    return e2e.start(APP:format((text:gsub("%%", "%%%%"))), { args = { ... } })
  end

  local function pid_of(app, name)
    app:wait_log(name .. " is pid <")
    return app:log():match(name .. " is pid <(%d+)>")
  end

  local function gone(pid)
    assert.truthy(e2e.wait(function() return not child.alive(pid) end, 8), pid .. " is still there")
  end

  it("ends with its connection", function()
    local app = start [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received() start("job", "sleep 100; true") end]]
    e2e.talk(app, [[
      with Client() as c:
          c.send(b"go")
          wait_for = time.time() + 5
          while b"job is pid" not in open(os.environ["LOG"], "rb").read() and time.time() < wait_for:
              time.sleep(0.01)
    ]])
    gone(pid_of(app, "job"))
    app:await_log "job ended"
  end)

  it("ends with its generation; its last words are heard", function()
    local app = start(ECHO .. [[
local text = "trap 'echo last words; exit 9' TERM; echo ready; while :; do sleep 0.02; done"
start("job" .. rw.generation, text)]])
    local first = pid_of(app, "job1")
    app:wait_log "job1: ready"
    assert.is_true((app:reload()))
    gone(first)
    app:await_log "job1: last words"
    app:await_log "job1 ended: the process ended with status 9"
    assert.is_true(child.alive(pid_of(app, "job2")))
    app:wait_log "job2: ready"
    assert.equal(0, app:stop())
    gone(pid_of(app, "job2"))
    assert.truthy(app:log():find("job2: last words", 1, true))
  end)

  it("that ignores SIGTERM is killed, and does not hold up the stop", function()
    local app = start(ECHO .. [[
start("stubborn", "trap '' TERM; echo ready; while :; do sleep 0.02; done")
start("group", "sleep 100 & echo child $!; wait")]], "--limit", "process_grace=300")
    app:wait_log "stubborn: ready"
    app:wait_log "group: child"
    local grandchild = app:log():match "group: child (%d+)"
    assert.equal(0, app:stop())
    gone(pid_of(app, "stubborn"))
    gone(grandchild)
    assert.truthy(app:log():find("limit=process_grace", 1, true))
  end)

  it("that may finish does, within the drain", function()
    local app = start(ECHO .. [[
start("job" .. rw.generation, "echo ready; sleep 0.7; echo complete", { finish = true })]])
    app:wait_log "job1: ready"
    assert.is_true((app:reload()))
    app:await_log "job1: complete"
    app:await_log "job1 ended: the process ended with status 0"
  end)

  it("that may finish, but does not, is killed at the end of the drain", function()
    local app = start(ECHO .. [[
start("job" .. rw.generation, "echo ready; exec sleep 100", { finish = true })]],
      "--limit", "drain_timeout=400")
    app:wait_log "job1: ready"
    local pid = pid_of(app, "job1")
    assert.is_true((app:reload()))
    gone(pid)
    app:await_log "limit=drain_timeout"
    assert.matches("limit=drain_timeout.* children=1", app:log())
  end)

  it("of code that is refused ends as well", function()
    local app = start(ECHO)
    app:reload(APP:format(ECHO .. [[start("job", "sleep 100") error "no"]]))
    gone(pid_of(app, "job"))
  end)

  it("dies with us, if it shall", function()
    local app = start(ECHO .. [[start("job", "exec sleep 100", { parent_death_signal = "KILL" })]])
    local pid = pid_of(app, "job")
    assert.is_true(child.alive(pid))
    app:stop "KILL"
    app.pid = nil -- not a clean end
    gone(pid)
  end)

  it("leaves nothing open behind, however often", function()
    local app = start [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes)
  self.transport:write(rw.get_process_output("cat", {}, { input = bytes }):await())
  rw.run_process("sh", { "-c", "sleep 100 &" }) -- nobody waits for it
end]]
    e2e.talk(app, [[
      with Client() as c:
          c.send(b"the first one")
          expect(c.socket.recv(100), b"the first one")
    ]])
    local before = app:descriptors()
    e2e.talk(app, [[
      def one(i):
          with Client() as c:
              for k in range(20):
                  c.send(b"%d %d\n" % (i, k))
                  expect(c.socket.recv(100), b"%d %d\n" % (i, k))
      parallel(10, one)
    ]])
    assert.truthy(e2e.wait(function() return app:descriptors() <= before end, 20))
    assert.equal("", (e2e.shell("ps --ppid " .. app.pid .. " -o stat= | grep Z")))
    assert.equal(0, app:stop())
  end)
end)
