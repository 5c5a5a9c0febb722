-- SPDX-License-Identifier: MIT
-- Whatever a generation has opened ends with it. The script below holds one of
-- everything that has an owner, ends none of it, and is reloaded again and again;
-- a connection of the other one holds what can be a connection's.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local Hold = rw.Protocol:extend "Hold" -- keeps what connects, and does not answer
local held = rw.DeferredQueue()
function Hold:connection_made() held:put(self) end
local holding = rw.policy.traffic_log(
  rw.policy.throttle(rw.Factory:for_protocol(Hold), { write = 1e9 }), { path = rw.script_dir .. "/traffic.log" })
local Silent = rw.DatagramProtocol:extend "Silent"
function Silent:datagram_received() rw.Deferred():await() end -- a hook that waits

local site = web.Site()
site:get("/", function() return "served by " .. rw.generation .. "\n" end)
site:get("/hold", function(request) rw.Deferred():await() end)

local Everything = rw.Service:extend "Everything"

-- Two connections to ourselves: the ends that connected, and those that were accepted.
local function connections(port, n)
  local near, far = {}, {}
  for i = 1, n do
    near[i] = rw.connect("tcp:127.0.0.1:" .. port.port, rw.Factory:for_protocol(rw.Protocol)):await()
    near[i].transport:pause_producing()
    far[i] = held:get():await()
  end
  return near, far
end

function Everything:start_service()
  -- time, tasks
  rw.call_later(1000, print)
  rw.call_later(0.01, function() rw.sleep(1000):await() end)
  rw.LoopingCall(function() end):start(0.02)
  rw.LoopingCall(function() return rw.Deferred() end):start(0.02)
  rw.spawn(function() rw.Deferred():await() end)
  rw.cooperate(coroutine.wrap(function() while true do coroutine.yield() end end))
  -- who waits for a lock, a queue, several
  local lock, semaphore = rw.DeferredLock(), rw.DeferredSemaphore(1)
  lock:acquire():await()
  semaphore:acquire():await()
  for _, waiting in ipairs { lock, semaphore } do
    rw.spawn(function() waiting:acquire():await() end)
  end
  rw.spawn(function() rw.DeferredQueue():get():await() end)
  rw.spawn(function() rw.gather { rw.Deferred(), rw.sleep(1000) }:await() end)
  -- ports, connections
  local udp = rw.listen("udp:127.0.0.1:0", rw.Factory:for_protocol(Silent)):await()
  local client = rw.connect("udp:127.0.0.1:" .. udp.port, rw.Factory:for_protocol(Silent)):await()
  client.transport:write "and nobody answers"
  local port = rw.listen("tcp:127.0.0.1:0:backlog=50", holding):await()
  local near, far = connections(port, 5)
  rw.pipe(far[1], far[2].transport)
  rw.FileSender { transform = function(bytes) return bytes end }
    :begin_file_transfer(rw.script_dir .. "/big", far[3].transport)
  rw.FileSender():begin_file_transfer(rw.script_dir .. "/big", far[4].transport)
  rw.spawn(function() far[5].transport:drained() end, far[5].transport:write(("x"):rep(8e6)))
  near[5].transport:set_timeout(1000)
  rw.connect("tcp:127.0.0.1:1", rw.Factory:for_protocol(rw.Protocol)):add_errback(function() end)
  -- names, children, threads
  rw.names.configure { servers = { "127.0.0.1:" .. udp.port } }
  rw.names.lookup_text "a.question.test"
  rw.connect("tcp:nobody.test:80", rw.Factory:for_protocol(rw.Protocol)) -- all of these wait
  rw.connect("udp:nobody.test:80", rw.Factory:for_protocol(Silent))
  assert(rw.spawn_process(rw.ProcessProtocol(), "sleep", { "1000" }))
  rw.get_process_output("sh", { "-c", "sleep 1000; echo never" })
  rw.defer_to_thread(function() while true do end end)
  rw.ThreadPool { max = 1, min = 1 }:defer(function() return 1 end):await()
  rw.log.info "has it all"
end

local server = rw.server("tcp:127.0.0.1:0", site)
local Said = rw.Service:extend "Said"
function Said:start_service() rw.log.info("the site is at {port}", { port = server.port }) end
return { server, Said(), Everything() }
]]

-- count(): descriptors, children and threads of the server
local COUNT <const> = [[
      def count():
          children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(PID)], capture_output=True)
          return (len(os.listdir("/proc/%d/fd" % PID)), len(children.stdout.split()),
                  len(os.listdir("/proc/%d/task" % PID)))
]]

local GUEST <const> = [[
local Silent = rw.DatagramProtocol:extend "Silent"
local sink = rw.listen("udp:127.0.0.1:0", rw.Factory:for_protocol(Silent)):await()
rw.names.configure { servers = { "127.0.0.1:" .. sink.port } }

local BULK = ("x"):rep(4e6)
local Guest = rw.LineProtocol:extend "Guest"
function Guest:connection_made()
  rw.call_later(1000, print)
  rw.LoopingCall(function() if not self.transport.connected then rw.log.error "late" end end):start(0.01)
  rw.spawn(function() rw.Deferred():await() end)
  rw.spawn(function() self.transport:drained() end, self.transport:write(BULK))
  rw.connect("udp:127.0.0.1:9", rw.Factory:for_protocol(rw.DatagramProtocol))
  rw.connect("udp:nobody.test:9", rw.Factory:for_protocol(rw.DatagramProtocol))
  rw.connect("tcp:nobody.test:9", rw.Factory:for_protocol(rw.Protocol))
  rw.names.lookup_text "a.question.test"
  rw.FileSender():begin_file_transfer(rw.script_dir .. "/big", self.transport)
  assert(rw.spawn_process(rw.ProcessProtocol(), "sleep", { "1000" }))
  rw.defer_to_thread(function() while true do end end)
  rw.log.info "a guest has it all"
end
function Guest:line_received() rw.Deferred():await() end
local site = web.Site()
site:get("/", function()
  for _ = 1, 3 do collectgarbage() end
  return collectgarbage "count" // 1 .. ""
end)
local server, memory = rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Guest)), rw.server("tcp:127.0.0.1:0", site)
local Said = rw.Service:extend "Said"
function Said:start_service()
  rw.log.info("guests come to {port}, who looks to <{look}>", { port = server.port, look = memory.port })
end
return { server, memory, Said() }
]]

describe("what a generation owns", function()
  after_each(e2e.finish)

  it("ends with it: twenty reloads leave no descriptor, process, thread or memory", function()
    local child = e2e.start(APP, {
      files = { big = ("0123456789abcdef"):rep(200000) },
      args = { "--log-level", "debug", "--watch", "--limit", "drain_timeout=300",
        "--limit", "process_grace=100" } })
    child:wait_log "has it all"
    child.port = tonumber(child:log():match "the site is at (%d+)")
    e2e.talk(child, COUNT .. ([[
      done = 0
      def generations(n):
          global done
          for _ in range(n):
              done += 1
              wait(lambda: log().count("has it all") == done)
              with Client() as c:
                  c.get("/hold")
                  with Client() as d: expect_in(d.ask("/").body, b"served by")
                  expect(reload(), True)
          wait(lambda: log().count("has it all") == done + 1)
          wait(lambda: log().count("generation freed") == done)
          return count(), resident()
      (first, _), (warm, before) = generations(1), generations(4)
      expect(first[1], 2, "children")
      last, after = generations(20)
      expect(warm, first, "descriptors, children, threads")
      expect(last, first, "descriptors, children, threads")
      if not %s: expect_below(after - before, 48 << 20, "growth") # of 20 generations with 20 MB each
    ]]):format(e2e.sanitized and "True" or "False"))
    assert.equal(0, child:stop())
  end)
end)

describe("what a connection owns", function()
  after_each(e2e.finish)

  it("ends with it, however it ends", function()
    local child = e2e.start(GUEST, { files = { big = ("0123456789abcdef"):rep(200000) },
      args = { "--limit", "process_grace=100" } })
    child:wait_log "guests come to"
    child.port = tonumber(child:log():match "guests come to (%d+)")
    e2e.talk(child, COUNT .. [[
      done = 0
      look = int(re.search("who looks to <([0-9]+)>", log())[1])
      def guests(n):
          global done
          for i in range(n):
              with Client(receive=4096) as c:
                  done += 1
                  wait(lambda: log().count("a guest has it all") == done)
                  c.send("a line, whose hook waits\n")
                  if i % 2: c.reset()
          wait(lambda: count()[1] == 0)
          with Client(look) as c: memory = float(c.ask("/").body)
          return count(), memory
      first, before = guests(16)
      last, after = guests(20)
      expect(last[:2], first[:2], "descriptors, children")
      expect_below(last[2], 14, "threads") # the pool's ten come and go
      expect("late" in log(), False)
      expect_below(after - before, 50, "growth in KiB")
    ]])
    assert.equal(0, child:stop())
  end)
end)
