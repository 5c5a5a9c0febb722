-- SPDX-License-Identifier: MIT
local rw = require "ropewalk"
local child = require "spec.support.child"

describe("a process monitor", function()
  local balanced, monitor, logged
  setup(function() -- what the worker opens once, for its first connection
    local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(rw.Protocol)):await()
    rw.connect("tcp:127.0.0.1:" .. port.address.port, rw.Factory:for_protocol(rw.Protocol)):await().transport
      :abort_connection()
    port:stop_listening():await()
  end)
  before_each(function()
    balanced = child.balance()
    logged = rw.log.capture()
    monitor = rw.ProcessMonitor { min_restart_delay = 0.05, max_restart_delay = 0.2, kill_time = 0.3 }
  end)
  after_each(function()
    monitor:stop_service():await()
    logged:stop()
    balanced()
  end)

  local function comes(pattern, times)
    child.eventually(function()
      local n = 0
      for _, event in ipairs(logged) do n = n + (event.message:find(pattern) and 1 or 0) end
      return n >= (times or 1)
    end, pattern)
  end

  it("has Twisted's delays", function()
    local m = rw.ProcessMonitor()
    assert.same({ 1, 1, 3600, 5 },
      { m.threshold, m.min_restart_delay, m.max_restart_delay, m.kill_time })
    assert.has_error(function() rw.ProcessMonitor { thresold = 1 } end)
  end)

  it("starts again what ends, and logs its output by line", function()
    monitor:add_process("job", "sh", { "-c", "echo one; echo two >&2; printf rest; exit 3" })
    monitor:start_service()
    comes("^%[job%] one$", 2)
    comes "^%[job%] two$"
    comes "^%[job%] rest$"
    comes "^job: .*status 3$"
  end)

  it("waits twice as long each time, up to the maximum", function()
    local clock = require "ropewalk.testing".Clock()
    monitor = rw.ProcessMonitor { clock = clock }
    monitor:add_process("none", "/no/such/program")
    local delays, call_later = {}, clock.call_later
    function clock.call_later(self, seconds, ...)
      delays[#delays + 1] = seconds
      return call_later(self, seconds, ...)
    end
    monitor:start_service()
    for i = 1, 14 do clock:advance(delays[i]) end
    assert.same({ 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 3600, 3600, 3600 }, delays)
    comes("cannot execute /no/such/program", 15)
  end)

  it("kills who does not stop", function()
    monitor:add_process("stubborn", "sh",
      { "-c", "trap '' TERM; echo ready; while :; do sleep 0.02; done" })
    monitor:start_service()
    comes "ready"
    local began = rw.reactor:seconds()
    monitor:stop_process("stubborn"):await()
    assert.is_true(rw.reactor:seconds() - began > 0.25)
    comes "signal KILL"
    rw.sleep(0.3):await()
    comes "stubborn runs"
    assert.is_false(monitor.entries.stubborn.process)
    monitor:start_process "stubborn"
    comes("ready", 2)
  end)

  it("restarts and removes by name", function()
    monitor:start_service()
    monitor:add_process("a", "sh", { "-c", "echo a $$; exec sleep 30" })
    comes "%[a%] a"
    monitor:restart_process "a"
    comes("%[a%] a", 2)
    monitor:remove_process("a"):await()
    assert.has_error(function() monitor:restart_process "a" end)
    monitor:restart_all()
  end)

  it("restarts one that is about to stop, but with all the others none that was stopped", function()
    monitor:start_service()
    monitor:add_process("a", "sh", { "-c", "echo a; exec sleep 30" })
    comes "%[a%] a"
    local stopped = monitor:stop_process "a"
    monitor:restart_process "a"
    stopped:await()
    comes("%[a%] a", 2)
    monitor:stop_process("a"):await()
    monitor:restart_all()
    rw.sleep(0.1):await()
    assert.is_false(monitor.entries.a.process)
    monitor:restart_process "a"
    comes("%[a%] a", 3)
  end)

  it("keeps what a connection's hook has started", function()
    monitor:start_service()
    local Asker = rw.LineProtocol:extend "Asker"
    function Asker:line_received(line) -- luacheck: ignore 212
      monitor:add_process("a", "sh", { "-c", "echo a; exec sleep 30" })
      monitor:add_process("late", line)
      self.transport:lose_connection()
    end
    local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(Asker)):await()
    local program = rw.testing.temp_dir() .. "/late"
    local client = rw.connect("tcp:127.0.0.1:" .. port.address.port,
      rw.Factory:for_protocol(rw.LineProtocol)):await()
    client:send_line(program)
    comes "^late: "
    comes "%[a%] a"
    rw.sleep(0.2):await()
    assert.is_nil(logged:find "^a: ")
    assert(io.open(program, "w")):write("#!/bin/sh\necho here\nexec sleep 30\n"):close()
    os.execute("chmod +x " .. program)
    comes "%[late%] here"
    port:stop_listening():await()
  end)

  it("says at once what is wrong with a command", function()
    assert.has_error(function() monitor:add_process("a", "sh", {}, { cwdd = "/" }) end)
    assert.has_error(function() rw.ProcessMonitor { threshold = "1" } end)
    assert.has_error(function() rw.ProcessMonitor { kill_time = 0 / 0 } end)
    assert.is_nil(monitor.entries.a)
  end)

  it("cuts lines without an end", function()
    monitor:add_process("long", "sh", { "-c", "head -c 40000 /dev/zero | tr '\\0' x; echo; sleep 30" })
    monitor:start_service()
    child.eventually(function()
      local lengths = {}
      for _, event in ipairs(logged) do
        local x = event.message:match "^%[long%] (x+)$"
        if x then lengths[#lengths + 1] = #x end
      end
      return #lengths == 3 and lengths[1] == 16384 and lengths[3] == 40000 - 2 * 16384
    end)
  end)
end)
