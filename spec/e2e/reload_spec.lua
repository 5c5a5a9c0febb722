-- SPDX-License-Identifier: MIT
-- A reload: what is connected and what is under way.
local e2e = require "spec.support.e2e"

local LISTEN <const> = 'rw.server("tcp:127.0.0.1:0", site)'

-- A site that says `word`, at once and after a while.
local function site(word)
  return ([[
local site = web.Site()
site:get("/", function() return "%s\n" end)
site:get("/slow", function() rw.sleep(0.4):await() return "%s\n" end)
return ]]):format(word, word) .. LISTEN
end

-- A room of people: each hears what the others say, in upper or lower case.
local function chat(change, policy)
  return ([[
local Room = rw.Factory:extend "Room"
Room.reload_policy = "%s"
function Room:init() self.users = {} end
local User = rw.LineProtocol:extend "User"
function User:connection_made()
  self.factory.users[self] = true
  self:send_line "hi"
end
function User:connection_lost() self.factory.users[self] = nil end
function User:line_received(line)
  self.said = (self.said or 0) + 1
  for user in pairs(self.factory.users) do
    user:send_line(self.said .. " " .. line:%s())
  end
end
function User:save() return { said = self.said } end
function User:restored(data)
  self.said = data.said
  self.factory.users[self] = true
end
return rw.server("tcp:127.0.0.1:0", Room:for_protocol(User))]]):format(policy, change)
end

describe("A reload", function()
  after_each(e2e.finish)

  it("under load costs no request, and the new text appears", function()
    local child = e2e.start(site "text 0")
    e2e.talk(child, [[
      wrk = subprocess.Popen(["wrk", "-c", "50", "-t", "1", "-d", "4s",
          "http://127.0.0.1:%d/" % PORT], stdout=subprocess.PIPE, text=True)
      text = open(APP).read()
      with Client() as other:
          for i in range(1, 9):
              edit(text.replace("text 0", "text %d" % i))
              expect(reload(), True)
              expect(other.ask().body, b"text %d\n" % i)
              time.sleep(0.25)
      out = wrk.communicate()[0]
      expect_in(out, "requests in")
      for sign in "Socket errors", "Non-2xx":
          if sign in out:
              raise AssertionError(out)
      expect_below(1000, int(re.search(r"(\d+) requests in", out)[1]))
    ]])
  end)

  it("reaches each keep-alive connection with its next request", function()
    local child = e2e.start(site "old")
    e2e.talk(child, [[
      clients = [Client() for _ in range(20)]
      for c in clients:
          expect(c.ask().body, b"old\n")
      edit(open(APP).read().replace("old", "new"))
      expect(reload(), True)
      for c in clients:
          expect(c.ask().body, b"new\n")
    ]])
  end)

  it("lets a request that has begun end with the old code", function()
    local child = e2e.start(site "old", { args = { "--log-level", "debug" } })
    e2e.talk(child, [[
      c, half = Client(), Client()
      c.get("/slow").get("/")
      half.send("GET / HTTP/1.1\r\nHo")
      time.sleep(0.15)
      edit(open(APP).read().replace("old", "new"))
      expect(reload(), True)
      half.send("st: x\r\n\r\n")
      expect(half.response().body, b"new\n", "its head was not complete,")
      if "generation freed" in log():
          raise AssertionError("freed too early")
      expect(c.response().body, b"old\n", "under way,")
      expect(c.response().body, b"new\n", "pipelined behind it,")
      wait(lambda: "generation freed generation=1" in log())
    ]])
  end)

  it("moves chat users over, with what they have half typed", function()
    local child = e2e.start(chat("upper", "migrate"), { args = { "--log-level", "debug" } })
    e2e.talk(child, [[
      users = [Client() for _ in range(200)]
      for u in users:
          expect(u.line(), "hi")
      users[0].send("hello\n")
      for u in users:
          expect(u.line(), "1 HELLO")
      for u in users[:50]:
          u.send("Half a")
      time.sleep(0.1)
      edit(open(APP).read().replace("upper", "lower"))
      expect(reload(), True)
      wait(lambda: "generation freed generation=1" in log())
      users[0].send(" line\n")
      for u in users:
          expect(u.line(), "2 half a line")
      for u in users[1:50]:
          u.send(" sentence\n")
      for u in users:
          expect([u.line() for _ in range(49)], ["1 half a sentence"] * 49)
      late = Client().send("Me too\n")
      expect(late.until("too\r\n"), b"hi\r\n1 me too\r\n")
      expect(users[-1].line(), "1 me too")
    ]])
  end)

  it("keeps a user with the old code when the new code cannot take him over", function()
    local child = e2e.start(chat("upper", "migrate"))
    e2e.talk(child, [[
      a = Client().send("a\n")
      expect(a.until("A\r\n"), b"hi\r\n1 A\r\n")
      edit(open(APP).read().replace("self.said = data.said", "error 'cannot'"))
      expect(reload(), True)
      a.send("b\n")
      expect(a.line(), "2 B")
      expect_in(log(), "a connection stays with the old code")
      expect_in(log(), "cannot")
    ]])
  end)

  it("leaves connections of the policy finish with the old code, to the end", function()
    local child = e2e.start(chat("upper", "finish"), { args = { "--log-level", "debug" } })
    e2e.talk(child, [[
      a = Client().send("a\n")
      expect(a.until("A\r\n"), b"hi\r\n1 A\r\n")
      edit(open(APP).read().replace("upper", "lower"))
      expect(reload(), True)
      a.send("b\n")
      expect(a.line(), "2 B")
      b = Client().send("B\n")
      expect(b.until("b\r\n"), b"hi\r\n1 b\r\n")
      if "generation freed" in log():
          raise AssertionError("freed too early")
      a.close()
      wait(lambda: "generation freed generation=1" in log())
    ]])
  end)

  it("cuts them when drain_timeout is over, and names the limit", function()
    local child = e2e.start(chat("upper", "finish"),
      { args = { "--limit", "drain_timeout=700", "--log-level", "debug" } })
    e2e.talk(child, [[
      a = Client().send("a\n")
      expect(a.until("A\r\n"), b"hi\r\n1 A\r\n")
      expect(reload(), True)
      began = time.time()
      a.ended()
      expect_end(time.time() - began, 0.7, "the end")
      wait(lambda: "generation freed generation=1" in log())
      expect_in(log(), "limit=drain_timeout")
    ]])
  end)

  it("ends what the old code does on its own", function()
    local child = e2e.start([[
local function tick() rw.log.info "tick of the old" rw.call_later(0.05, tick) end
tick()
rw.spawn(function() while true do rw.sleep(0.05):await() rw.log.info "loop of the old" end end)
local call = rw.LoopingCall(function() rw.log.info "call of the old" end)
call:start(0.05)
return rw.server("tcp:127.0.0.1:0", web.Site())]], { args = { "--log-level", "debug" } })
    for _, word in ipairs { "tick", "loop", "call" } do child:await_log(word .. " of the old") end
    assert.is_true(child:reload [[
return rw.server("tcp:127.0.0.1:0", web.Site())]])
    child:await_log "generation freed generation=1"
    child:mark()
    e2e.shell "sleep 0.3"
    assert.equal("", child:since())
  end)

  it("runs stop_service of the old code and start_service of the new", function()
    local child = e2e.start([[
local Told = rw.Service:extend "Told"
function Told:start_service() rw.log.info("started " .. rw.generation) end
function Told:stop_service() rw.log.info("stopped " .. rw.generation) end
return { rw.server("tcp:127.0.0.1:0", web.Site()), Told() }]])
    child:await_log "started 1"
    assert.is_true(child:reload())
    child:await_log "stopped 1"
    child:await_log "started 2"
    assert.falsy(child:log():find "stopped 2")
  end)

  it("is done once more when it is asked for meanwhile", function()
    local child = e2e.start(site "one")
    child:edit("rw.sleep(0.4):await()\n" .. site "two")
    child:signal "HUP"
    e2e.shell "sleep 0.15"
    child:edit(site "three")
    child:signal "HUP"
    child:await_log "reloaded generation=3"
    assert.equal("three\n", child:get("/").body)
  end)

  it("fifteen times in fifteen seconds, with a broken one, cuts and fails nothing #slow", function()
    local web, room = e2e.free_port(), e2e.free_port()
    local child = e2e.start((site "text 0" .. "\n"):gsub("return (rw.server%(\"tcp:127.0.0.1:)0",
      "local web = %1" .. web) .. chat("upper", "migrate"):gsub("return (rw.server%(\"tcp:127.0.0.1:)0",
      "return { web, %1" .. room) .. " }")
    e2e.talk(child, ([[
      web, room = %d, %d
      users = [Client(room) for _ in range(200)]
      for u in users: expect(u.line(), "hi")
      wrk = subprocess.Popen(["wrk", "-c", "100", "-t", "1", "-d", "16s",
          "http://127.0.0.1:%%d/" %% web], stdout=subprocess.PIPE, text=True)
      text = open(APP).read()
      for i in range(1, 16):
          edit(text.replace("text 0", "text %%d" %% i) if i != 8 else "return (")
          expect(reload(), i != 8)
          expect(Client(web).ask().body, b"text %%d\n" %% (i if i != 8 else 7))
          time.sleep(0.9)
      out = wrk.communicate()[0]
      if "Socket errors" in out or "Non-2xx" in out: raise AssertionError(out)
      users[0].send("hello\n")
      for u in users: expect(u.line(), "1 HELLO")
    ]]):format(web, room))
  end)

  it("fifty times leaves nothing behind #slow", function()
    local child = e2e.start(chat("upper", "migrate"), { args = { "--log-level", "debug" } })
    e2e.talk(child, ([[
      users = [Client() for _ in range(20)]
      for u in users:
          expect(u.line(), "hi")
      def reloads(n):
          for _ in range(n):
              expect(reload(), True)
              for u in users:
                  u.send("x\n")
              for u in users:
                  for _ in users: u.line()
      reloads(10)
      before = resident()
      reloads(50)
      wait(lambda: log().count("generation freed") == 60)
      grown = resident() - before
      if not %s:
          expect_below(grown, 3 << 20, "growth")
    ]]):format(e2e.sanitized and "True" or "False"))
  end)
end)
