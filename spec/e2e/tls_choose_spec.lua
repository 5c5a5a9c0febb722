-- SPDX-License-Identifier: MIT
-- The hook that chooses a certificate, when it is late, wrong, or not needed any more.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("A hook that chooses a certificate", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  -- What it does follows from the name that it is asked for.
  local SCRIPT <const> = [[
local function read(path) local f <close> = assert(io.open(path)) return f:read "a" end
local function identity()
  return assert(rw.tls.identity(read(rw.config.dir .. "/site.pem"), read(rw.config.dir .. "/site.key")))
end
local wrong = { text = "a certificate", number = 7, yes = true, no = false, table = {}, func = print,
  userdata = io.stdout }
local choose = {
  ["good.test"] = identity,
  ["never.test"] = function() rw.Deferred():await() end,
  ["late.test"] = function() rw.sleep(0.4):await() return identity() end,
  ["raises.test"] = function() rw.sleep(0.05):await() error "no certificate today" end,
  ["at-once.test"] = function() error "not at all" end,
  ["burns.test"] = function() while true do end end,
  ["two.test"] = function() return identity(), "and more" end,
}
local Echo = rw.Protocol:extend "Echo"
function Echo:handshake_completed() self.transport:write("generation " .. rw.config.word) end
local function hook(hello)
  rw.log.info("asked for {name}", { name = hello.server_name })
  local close <close> = setmetatable({}, { __close = function()
    rw.log.info("left {name}", { name = hello.server_name })
  end })
  local kind = hello.server_name:match "^(%a+)%.wrong%.test$"
  if kind then return wrong[kind] end
  local fn = choose[hello.server_name]
  return fn and fn()
end
return rw.server(rw.tls.over("tcp:127.0.0.1:0:handshake_timeout=" .. rw.config.patience, { choose = hook }),
  rw.Factory:for_protocol(Echo))]]

  local function start(patience, arguments)
    return e2e.start(SCRIPT, { set = { dir = dir, patience = patience or 2000, word = "one" }, args = arguments })
  end

  -- ask(name): what the server says, or the alert, or how the connection ended.
  local PYTHON <const> = [[
import ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
def connect(): return socket.create_connection(("127.0.0.1", PORT), PATIENCE)
def ask(name, raw=None):
    try:
        with context.wrap_socket(raw or connect(), server_hostname=name) as s: return s.recv(100).decode()
    except ssl.SSLError as e: return e.reason or str(e)
    except OSError as e: return type(e).__name__
def hello(name):
    i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
    s = context.wrap_bio(i, o, server_hostname=name)
    try: s.do_handshake()
    except ssl.SSLWantReadError: pass
    return o.read()
def left(name): wait(lambda: "left " + name in log())
def timed(fn, *args):
    began = time.time()
    return fn(*args), time.time() - began
]]

  local function python(child, code)
    return e2e.python(PYTHON .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  it("may be late; who waits for ever is ended by handshake_timeout, while others are served", function()
    local child = start(700)
    python(child, [[
      answers = {}
      def stuck(i): answers[i] = timed(ask, "never.test")
      threads = [threading.Thread(target=stuck, args=(i,)) for i in range(20)]
      for t in threads: t.start()
      expect(ask("good.test"), "generation one")
      said, time_ = timed(ask, "late.test")
      expect(said, "generation one")
      assert time_ > 0.35, time_
      for t in threads: t.join()
      for said, time_ in answers.values():
          assert said in ("UNEXPECTED_EOF_WHILE_READING", "ConnectionResetError") or "EOF" in said, said
          assert 0.5 < time_ < 3 * SLOW, time_
      wait(lambda: log().count("left never.test") == 20) # and none of them waits on
    ]])
    child:await_log "limit=handshake_timeout"
  end)

  it("that raises, or returns something else, refuses the client and is logged", function()
    local child = start(20000, { "--limit", "script_budget=200" })
    local function refused(name)
      python(child, ([[
      expect(ask("%s"), "TLSV1_UNRECOGNIZED_NAME")
      expect(ask("good.test"), "generation one")
      ]]):format(name))
    end
    for name, complaint in pairs { ["raises.test"] = "no certificate today", ["at-once.test"] = "not at all",
      ["burns.test"] = "script_budget" } do
      child:mark()
      refused(name)
      child:await_log(complaint)
    end
    for _, kind in ipairs { "text", "number", "yes", "no", "table", "func", "userdata" } do
      child:mark()
      refused(kind .. ".wrong.test")
      child:await_log "ropewalk.tls_identity expected"
    end
    child:mark()
    refused "other.test" -- nil is an answer
    assert.falsy(child:since():find("expected", 1, true), child:since())
    python(child, [[expect(ask("two.test"), "generation one")]])
  end)

  it("is told when nobody waits any more: the peer has closed, was reset, or said nonsense", function()
    local child = start(20000)
    python(child, [[
      for way in ("close", "reset", "half", "nonsense"):
          before = log().count("left never.test")
          s = connect()
          s.sendall(hello("never.test"))
          wait(lambda: log().count("asked for never.test") > before)
          if way == "reset": s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
          if way == "half": s.shutdown(socket.SHUT_WR)
          elif way == "nonsense":
              try:
                  for _ in range(100): s.sendall(b"n" * 65536)
              except OSError: pass
          else: s.close()
          wait(lambda: log().count("left never.test") > before)
      # gone before a late answer comes
      for _ in range(10):
          s = connect()
          s.sendall(hello("late.test"))
          s.close()
      wait(lambda: log().count("left late.test") == 10)
      expect(ask("good.test"), "generation one")
    ]])
  end)

  it("goes on over a reload, in the code that was asked, until that is gone", function()
    local child = start(2500, { "--limit", "drain_timeout=1200" })
    python(child, [[
      said = {}
      def run(name): said[name] = ask(name)
      threads = [threading.Thread(target=run, args=(n,)) for n in ("late.test", "never.test")]
      for t in threads: t.start()
      wait(lambda: "asked for late.test" in log() and "asked for never.test" in log())
      text = open(APP).read().replace("rw.config.word", "'two'")
      open(APP + "~", "w").write(text)
      os.rename(APP + "~", APP)
      expect(reload(), True)
      expect(ask("good.test"), "generation two")
      for t in threads: t.join()
      expect(said["late.test"], "generation one")
      assert not said["never.test"].startswith("generation"), said
      left("never.test")
      wait(lambda: "generation freed" in log() or log().count("left") >= 3)
      expect(ask("late.test"), "generation two")
    ]])
  end)

  it("does not hold up a stop", function()
    local child = start(60000, { "--limit", "drain_timeout=500" })
    python(child, [[
      s = connect()
      s.sendall(hello("never.test"))
      wait(lambda: "asked for never.test" in log())
      os.kill(PID, signal.SIGTERM)
      left("never.test")
    ]])
    assert.truthy(e2e.wait(function() return not child:alive() end, 5), child:log())
  end)
end)
