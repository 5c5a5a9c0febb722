-- SPDX-License-Identifier: MIT
-- Ends that nobody announces: clients killed in the middle of something, and the
-- server itself.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

local APP <const> = [[
local core = require "ropewalk.core"
local site = web.Site()
site:get("/", function() return "ok\n" end)
site:get("/wait", function() rw.sleep(1):await() end)
site:post("/upload", function(request) return tostring(#request:read()) end)
site:get("/stats", function() return web.json(core.stats()) end)
return rw.server(rw.config.listen, site)]]

-- A client in a process of its own, which says when it is as far as it should be.
local MURDER <const> = [[
import json
def stats():
    return json.loads(Client().ask("/stats").body)
def descriptors():
    return len(os.listdir("/proc/%d/fd" % PID))
def killed(code, n=20):
    children = [subprocess.Popen([sys.executable, "-S", "-c", "from client import *\n" + code
                                  + "\nprint(1, flush=True)\ntime.sleep(100)"],
                                 stdout=subprocess.PIPE) for _ in range(n)]
    for child in children:
        expect(child.stdout.readline(), b"1\n")
    wait(lambda: descriptors() >= before + n)
    for child in children:
        child.kill()
        child.wait()
    wait(lambda: descriptors() == before)
    wait(lambda: stats()["connections_open"] == 1)
    expect(Client().ask("/").body, b"ok\n")
stats()
time.sleep(0.3)
before = descriptors()
]]

describe("A client that is killed", function()
  local child
  after_each(e2e.finish)

  for what, code in pairs {
    ["in the middle of a head"] = 'c = Client().send("GET / HTTP/1.1\\r\\nHos")',
    ["while its handler waits"] = 'c = Client().get("/wait")',
    ["in the middle of an upload"] =
      'c = Client().send("POST /upload HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1000000\\r\\n\\r\\n"'
      .. ' + "x" * 300000)',
    ["between two requests"] = 'c = Client(); c.ask("/")',
  } do
    it(what .. " leaves nothing", function()
      child = e2e.start(APP)
      e2e.talk(child, MURDER .. "killed(r'''" .. code .. "''')")
      assert.falsy(child:log():find(" error ", 1, true), child:log())
    end)
  end
end)

describe("A client that is killed in a TLS handshake", function()
  after_each(tls.finish)

  it("leaves nothing", function()
    tls.directory()
    local child = e2e.start((tls.placed(APP:gsub("return (rw.server.*)", [[
local secured = rw.server("tls:127.0.0.1:0:cert=DIR/site.pem:key=DIR/site.key", site)
site:get("/port", function() return tostring(secured.port) end)
return { secured, %1 }]]))))
    -- the whole ClientHello; a part of it; and one whose client reads the answer and says no more
    local hello = [[
import ssl
class Shaking(Client):
    def __init__(self, first, answered=False):
        super().__init__(%s)
        plain, records = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = ssl.create_default_context().wrap_bio(plain, records, server_hostname="localhost")
        try: session.do_handshake()
        except ssl.SSLWantReadError: pass
        self.send(records.read()[:first])
        if answered: self.socket.recv(1)
]]
    for _, how in ipairs { "100", "100000", "100000, True" } do
      e2e.talk(child, MURDER .. "port = Client().ask('/port').body.decode()\n"
        .. "killed(r'''" .. hello .. "''' % port + '\\nc = Shaking(" .. how .. ")')")
    end
    assert.falsy(child:log():find("handshake_timeout", 1, true), child:log())
  end)
end)

describe("A server that is killed", function()
  after_each(e2e.finish)

  it("under load leaves its port to the next one, and clients know at once", function()
    local child = e2e.start(APP)
    e2e.talk(child, [[
      idle, busy = Client(), Client().get("/wait")
      idle.ask("/")
      os.kill(PID, signal.SIGKILL)
      began = time.time()
      idle.ended(), busy.ended()
      expect_below(time.time() - began, 2 * SLOW)
    ]])
    assert.equal(137, child:stop())
    child.pid = nil
    local again = e2e.start(APP, { set = { listen = "tcp:127.0.0.1:" .. child.port } })
    assert.equal("ok\n", again:get("/").body)
  end)

  it("and was only stopped for a while, goes on where it was", function()
    local child = e2e.start(APP)
    e2e.talk(child, [[
      c = Client()
      c.ask("/")
      os.kill(PID, signal.SIGSTOP)
      try:
          waiting = [Client().get("/") for _ in range(20)]
          c.get("/")
          expect(select.select([c.socket], [], [], 0.3)[0], [])
      finally:
          os.kill(PID, signal.SIGCONT)
      for client in [c, *waiting]:
          expect(client.response().body, b"ok\n")
    ]])
  end)
end)
