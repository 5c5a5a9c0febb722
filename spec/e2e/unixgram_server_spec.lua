-- SPDX-License-Identifier: MIT
-- A server of UNIX datagrams in a process of its own: real peers, reloads, crashes.
local datagram = require "spec.support.datagram"
local e2e = require "spec.support.e2e"

local APP <const> = [[
local P = rw.DatagramProtocol:extend "P"
function P:datagram_received(bytes, address)
  if bytes:find "^wait" then rw.sleep(0.3):await() end
  if address.path ~= "" then self.transport:write("GENERATION:" .. bytes, address) end
end
return rw.server("unixgram:" .. rw.config.listen, rw.Factory:for_protocol(P))]]

local function app(generation) return (APP:gsub("GENERATION", generation)) end

describe("A server of UNIX datagrams", function()
  after_each(e2e.finish)

  local function start(path, options)
    local child = e2e.start(app "one", { wait = false, set = { listen = path .. (options or "") } })
    child:await_log "listening endpoint=unixgram:"
    return child
  end

  local function ask(path, text)
    local own = e2e.directory() .. "/c"
    return (e2e.shell(("printf %s | socat -t1 - UNIX-SENDTO:%s,bind=%s"):format(text, path, own)))
  end

  it("answers socat, and takes its file with it", function()
    local path = e2e.directory() .. "/s"
    local child = start(path, ":mode=660")
    assert.equal("one:hello", ask(path, "hello"))
    assert.equal("660 socket\n", (e2e.shell("stat -c '%a %F' " .. path)))
    assert.equal(0, (child:stop()))
    assert.equal(1, select(2, e2e.shell("test -e " .. path)))
  end)

  it("gets what logger says", function()
    local path = e2e.directory() .. "/log"
    local child = e2e.start([[
      local P = rw.DatagramProtocol:extend "P"
      function P:datagram_received(bytes) rw.log.info("got", { bytes = bytes }) end
      return rw.server("unixgram:" .. rw.config.listen, rw.Factory:for_protocol(P))]],
      { wait = false, set = { listen = path } })
    child:await_log "listening"
    if select(2, e2e.shell "command -v logger") ~= 0 then return pending "there is no logger" end
    e2e.shell("logger -d -u " .. path .. " -t spec 'a line of the log'")
    child:await_log "a line of the log"
  end)

  it("gets what systemd-notify says, and keeps it waiting for nothing", function()
    if select(2, e2e.shell "command -v systemd-notify") ~= 0 then return pending "there is no systemd-notify" end
    local path = e2e.directory() .. "/notify"
    start(path)
    -- it sends a descriptor along, and waits until that is closed
    assert.equal(0, select(2, e2e.shell(("NOTIFY_SOCKET=%s timeout 10 systemd-notify --ready"):format(path))))
  end)

  it("talks to Twisted", function()
    local path = e2e.directory() .. "/s"
    local twisted = e2e.directory() .. "/peer.py"
    e2e.write(twisted, [[
import sys
from twisted.internet import protocol, reactor
class Client(protocol.ConnectedDatagramProtocol):
    def startProtocol(self): self.transport.write(b"hello")
    def datagramReceived(self, data):
        print(data.decode(), flush=True)
        reactor.stop()
class Server(protocol.DatagramProtocol):
    def datagramReceived(self, data, address):
        self.transport.write(b"twisted:" + data, address)
        reactor.callLater(0.1, reactor.stop)
path = sys.argv[1]
if sys.argv[2] == "client": reactor.connectUNIXDatagram(path, Client(), bindAddress=path + "-client")
else: reactor.listenUNIXDatagram(path, Server())
reactor.callLater(20, reactor.stop)
reactor.run()
]])
    start(path)
    assert.equal("one:hello\n", (e2e.shell(("/usr/bin/python3 %s %s client"):format(twisted, path))))

    e2e.shell(("/usr/bin/python3 %s %s-server server >/dev/null 2>&1 &"):format(twisted, path))
    assert.truthy(e2e.wait(function() return select(2, e2e.shell("test -S " .. path .. "-server")) == 0 end))
    local child = e2e.start([[
      local P = rw.DatagramProtocol:extend "P"
      function P:start_protocol() self.transport:write "hello" end
      function P:datagram_received(bytes) rw.log.info("got", { bytes = bytes }) end
      rw.call_later(0, function()
        rw.connect("unixgram:" .. rw.config.path, rw.Factory:for_protocol(P)):await()
      end)
      return {}]], { wait = false, set = { path = path .. "-server" } })
    child:await_log "bytes=twisted:hello"
  end)

  it("answers whatever name a sender has, and shows a file's as no abstract one", function()
    local path = e2e.directory() .. "/s"
    local text = app "one":gsub("if address", 'rw.log.info("got", { from = address.path })\n%0')
    local child = e2e.start(text, { wait = false, set = { listen = path } })
    child:await_log "listening"
    e2e.talk(child, ([[
      import ctypes, struct
      libc = ctypes.CDLL(None)
      def ask(name): # Python does not bind to all of these
          with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
              s.settimeout(5)
              address = struct.pack("H", socket.AF_UNIX) + name
              expect(libc.bind(s.fileno(), address, len(address)), 0)
              s.sendto(b"x", %q)
              expect(s.recv(1000), b"one:x")
      ask(b"\0a\0b")
      ask(b"\0" + b"a" * 107)
      ask((os.path.dirname(%q) + "/").encode().ljust(108, b"a")) # no zero at its end
      os.chdir(os.readlink("/proc/%%d/cwd" %% PID)) # what is relative is so to the server
      try: ask(b"@a")
      finally: os.unlink("@a")
    ]]):format(path, path))
    for _, from in ipairs { "@a@b", "@" .. ("a"):rep(106), "./@a" } do child:await_log("from=" .. from) end
  end)

  it("takes the place of a dead one, not of a live one", function()
    local path = e2e.directory() .. "/s"
    local child = start(path)
    child:signal "KILL"
    child:stop()
    child.pid = nil -- finish need not look at it
    assert.equal(0, select(2, e2e.shell("test -S " .. path)))
    start(path)
    assert.equal("one:hello", ask(path, "hello"))
    local file = e2e.directory() .. "/app.lua"
    e2e.write(file, e2e.script(app "two"))
    local out, status = e2e.ropewalk("run", file, "--set", "listen=" .. path)
    assert.equal(1, status)
    assert.truthy(out:find("Address already in use", 1, true), out)
    assert.equal("one:hello", ask(path, "hello"))
  end)

  it("keeps its socket in reloads, and loses nothing", function()
    local path = e2e.directory() .. "/s"
    local child = start(path)
    local inode = e2e.shell("stat -c %i " .. path)
    e2e.talk(child, ([[
      s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
      s.settimeout(5)
      s.bind("")
      s.connect(%q)
]]):format(path) .. datagram.RELOADS)
    child:await_log "reloaded generation=4"
    assert.equal(inode, e2e.shell("stat -c %i " .. path))
  end)

  it("may come and go in reloads, and its file with it", function()
    local path = e2e.directory() .. "/s"
    local child = start(path)
    assert.is_true((child:reload((app("two"):gsub('rw.config.listen', 'rw.config.listen .. "2"')))))
    assert.equal("two:hello", ask(path .. "2", "hello"))
    assert.equal(1, select(2, e2e.shell("test -e " .. path)))
  end)

  it("keeps no descriptors that somebody sends along", function()
    local path = e2e.directory() .. "/s"
    local child = start(path)
    e2e.talk(child, ([[
      import array
      s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
      s.settimeout(5)
      s.bind("")
      def count(): return len(os.listdir("/proc/%%d/fd" %% PID))
      before = count()
      for i in range(50):
          s.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))], 0, %q)
          expect(s.recv(10), b"one:x")
      expect(count(), before)
    ]]):format(path))
  end)
end)
