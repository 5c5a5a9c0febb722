-- SPDX-License-Identifier: MIT
-- Raw TCP: bytes, ends, crowds.
local e2e = require "spec.support.e2e"

-- A server whose protocol class has these methods.
local function app(methods, base)
  return ([[
local P = rw.%s:extend "P"
%s
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(P))]]):format(base or "Protocol", methods)
end

local ECHO <const> = app "function P:data_received(bytes) self.transport:write(bytes) end"

describe("A stream", function()
  local child
  after_each(e2e.finish)

  it("echoes 20 MB byte for byte, whatever the pieces", function()
    child = e2e.start(ECHO)
    e2e.talk(child, [[
      import hashlib, random
      random.seed(7)
      data = random.randbytes(20000000)
      c = Client()
      def send():
          at = 0
          while at < len(data):
              n = random.choice((1, 7, 100, 4096, 65536, 300000))
              c.send(data[at:at + n])
              at += n
          c.finish()
      t = threading.Thread(target=send)
      t.start()
      got = c.rest()
      t.join()
      expect(len(got), len(data))
      expect(got == data, True)
    ]])
  end)

  it("holds little for a peer that writes and does not read", function()
    child = e2e.start(app [[
function P:data_received(bytes)
  self.transport:write(bytes)
  self.transport:drained()
end]])
    e2e.talk(child, ([[
      with Client(receive=8192) as c:
          before = resident()
          c.socket.setblocking(False)
          sent, till = 0, time.time() + 1
          while time.time() < till:
              try: sent += c.socket.send(b"x" * 65536)
              except BlockingIOError: time.sleep(0.01)
          if not %s: expect_below(resident() - before, 10 << 20, "growth of memory")
          expect_below(sent, 100 << 20, "what the server took")
    ]]):format(e2e.sanitized and "True" or "False"))
  end)

  it("sends all that was written before lose_connection", function()
    child = e2e.start(app [[
function P:connection_made()
  for i = 1, 200 do self.transport:write(("%06d"):format(i):rep(10000)) end
  self.transport:lose_connection()
  self.transport:write "never"
end
function P:connection_lost(reason) rw.log.info("lost: " .. tostring(reason.clean)) end]])
    e2e.talk(child, [[
      c = Client()
      time.sleep(0.2)
      got = c.rest()
      expect(len(got), 200 * 60000)
      expect(got[-6:], b"000200")
      wait(lambda: "lost: true" in log())
    ]])
  end)

  it("is reset by abort_connection", function()
    child = e2e.start(app [[
function P:data_received() self.transport:abort_connection() end
function P:connection_lost(reason) rw.log.info("lost: " .. tostring(reason.code)) end]])
    e2e.talk(child, [[
      expect(Client().send("x").ended(), "reset")
      wait(lambda: "lost: aborted" in log())
    ]])
  end)

  it("may be closed in one direction only, by either side", function()
    child = e2e.start(app [[
local received = 0
function P:data_received(bytes)
  if bytes == "mine" then
    self.transport:write "yours"
    self.transport:lose_write()
  else
    self.count = (self.count or 0) + #bytes
  end
end
function P:read_connection_lost()
  rw.sleep(0.1):await()
  rw.log.info("counted " .. (self.count or 0))
  if self.count == 5000 then self.transport:write("counted " .. self.count) end
  self.transport:lose_connection()
end]])
    e2e.talk(child, [[
      c = Client().send("x" * 5000).finish() # the peer's half first
      expect(c.rest(), b"counted 5000")
      c = Client().send("mine") # ours first
      expect(c.rest(), b"yours")
      c.send("x" * 300)
      time.sleep(0.1)
      c.send("x" * 300).finish()
      wait(lambda: "counted 600" in log())
    ]])
  end)

  it("tells connection_made and connection_lost once each, whatever happens", function()
    child = e2e.start(app [[
local made, lost = 0, 0
function P:connection_made()
  made = made + 1
  assert(not self.made)
  self.made = true
end
function P:data_received(bytes)
  if bytes:find "lose" then self.transport:lose_connection() self.transport:lose_connection() end
  if bytes:find "abort" then self.transport:abort_connection() self.transport:abort_connection() end
  if bytes:find "error" then error "asked for" end
  if bytes:find "wait" then rw.sleep(1):await() end
end
function P:connection_lost(reason)
  lost = lost + 1
  assert(self.made and not self.lost, "twice")
  assert(reason.code and not self.transport.connected)
  self.lost = true
  rw.log.info("made " .. made .. " lost " .. lost)
end]])
    e2e.talk(child, [[
      words = "lose", "abort", "error", "wait", "nothing", ""
      ways = Client.close, Client.reset, lambda c: c.finish()
      kept = []
      for i in range(300):
          c = Client().send(words[i % 6])
          if i % 2: time.sleep(0.001)
          try: ways[i // 6 % 3](c)
          except OSError: pass
          kept.append(c)
      wait(lambda: "made 300 lost 300" in log(), 15 * SLOW)
      expect("twice" in log(), False)
    ]])
  end)

  it("comes and goes a thousand times, in a crowd", function()
    child = e2e.start(ECHO)
    e2e.talk(child, [[
      for _ in range(2):
          crowd = [Client() for _ in range(1000)]
          for i, c in enumerate(crowd): c.send("%d." % i)
          for i, c in enumerate(crowd): expect(c.until("."), b"%d." % i)
          for i, c in enumerate(crowd): (c.close if i % 2 else c.reset)()
      wait(lambda: len(os.listdir("/proc/%d/fd" % PID)) < 30)
      expect(Client().send("x.").until("."), b"x.")
    ]])
  end)

  it("is closed when nothing is heard for session_timeout", function()
    child = e2e.start(ECHO, { args = { "--limit", "session_timeout=500" } })
    e2e.talk(child, [[
      c, talker = Client(), Client()
      began = time.time()
      for _ in range(4):
          expect(talker.send("x").exactly(1), b"x")
          time.sleep(0.2)
      c.ended()
      expect_below(time.time() - began, 1.5 * SLOW)
      expect(talker.send("x").exactly(1), b"x")
    ]])
  end)
end)

describe("A line protocol", function()
  after_each(e2e.finish)

  it("cuts lines as they are, and refuses those without an end", function()
    local child = e2e.start(app([[
function P:line_received(line) self:send_line("<" .. line .. ">") end
function P:connection_lost(reason) rw.log.info("lost " .. tostring(reason)) end]], "LineProtocol"),
      { args = { "--limit", "max_line=1000" } })
    e2e.talk(child, [[
      c = Client()
      for byte in "one\r\ntwo\nthr\0ee\n\n": c.send(byte)
      c.send("x" * 1000 + "\nlast\n")
      expect([c.line() for _ in range(6)],
             ["<one>", "<two>", "<thr\0ee>", "<>", "<" + "x" * 1000 + ">", "<last>"])
      c.send("y" * 1001)
      c.ended()
      wait(lambda: "limit" in log())
      expect_in(log(), "max_line")
    ]])
  end)

  it("lets users of apps/chat.lua talk to each other", function()
    local child = e2e.start(nil, { app = "apps/chat.lua" })
    e2e.talk(child, [[
      def user(name):
          c = Client()
          expect(c.line(), "Welcome. What is your name?")
          expect(c.send(name + "\n").line().split(".")[0], "Hello " + name)
          return c
      ada, bob = user("ada"), user("bob")
      expect(ada.line(), "bob has come")
      ada.send("hi all\r\n")
      expect(bob.line(), "ada: hi all")
      expect(bob.send("/who\n").line(), "here: ada, bob")
      for _ in range(2):
          expect(reload(), True)
          bob.send("still here\n")
          expect(ada.line(), "bob: still here")
      bob.send("/quit\n")
      expect(bob.line(), "Bye.")
      bob.ended()
      expect(ada.line(), "bob has left")
    ]])
  end)
end)

describe("A client inside a server", function()
  after_each(e2e.finish)

  it("is told why it cannot connect, and may connect elsewhere", function()
    local free = e2e.free_port()
    local target = e2e.start(ECHO)
    local child = e2e.start(([[
local site = web.Site()
local Client = rw.Protocol:extend "Client"
function Client:connection_made() self.transport:write "ping" end
function Client:init() self.got = rw.Deferred() end
function Client:data_received(bytes) self.got:callback(bytes) self.transport:lose_connection() end
site:get("/connect/:port", function(request)
  local client = rw.connect("tcp:127.0.0.1:" .. request.params.port,
    rw.Factory:for_protocol(Client)):await()
  return client.got:await()
end)
site:get("/refused", function()
  local ok, failure = pcall(function()
    rw.connect("tcp:127.0.0.1:%d", rw.Factory:for_protocol(Client)):await()
  end)
  return tostring(ok) .. " " .. failure.code
end)
return rw.server("tcp:127.0.0.1:0", site)]]):format(free))
    assert.equal("false ECONNREFUSED", child:get("/refused").body)
    assert.equal("ping", child:get("/connect/" .. target.port).body)
    assert.equal(500, child:get("/connect/" .. free).status)
    assert.truthy(child:log():find("cannot connect to tcp:127.0.0.1:" .. free, 1, true), child:log())
  end)
end)
