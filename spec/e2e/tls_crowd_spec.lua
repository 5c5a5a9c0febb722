-- SPDX-License-Identifier: MIT
-- Thousands of handshakes at once, of those who stop in the middle and of those who
-- go on: others are served meanwhile.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("Thousands of TLS handshakes at once #alone", function()
  before_each(tls.directory)
  after_each(tls.finish)

  local PYTHON <const> = [[
import resource, select, ssl
COUNT = %d
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, COUNT + 1000), most))

class Good:
    """Somebody whose handshake is over; its messages come back."""
    def __init__(self):
        context = ssl.create_default_context(cafile="DIR/ca.pem")
        s = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
        self.socket = context.wrap_socket(s, server_hostname="localhost")
        self.lines = self.socket.makefile("rwb")
        self.lines.readline()
    def ask(self):
        began = time.time()
        self.lines.write(b"hello\n")
        self.lines.flush()
        expect(self.lines.readline(), b"echo hello\r\n")
        return time.time() - began

def client_hello():
    out = ssl.MemoryBIO()
    hello = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), out, server_hostname="localhost")
    try: hello.do_handshake()
    except ssl.SSLWantReadError: return out.read()

def crowd(bytes):
    all = []
    for _ in range(COUNT):
        s = socket.socket()
        s.connect(("127.0.0.1", PORT))
        s.send(bytes)
        all.append(s)
    return all

# Asks until each of the crowd has something to read: what, and how long answers took.
def meanwhile(all, good, seconds):
    poll, waiting, slowest = select.poll(), {s.fileno(): s for s in all}, 0
    for fd in waiting: poll.register(fd, select.POLLIN)
    first, end = {}, time.time() + seconds
    while waiting and time.time() < end:
        slowest = max(slowest, good.ask())
        for fd, _ in poll.poll(5):
            try: first[fd] = waiting[fd].recv(1)
            except ConnectionResetError: first[fd] = b""
            poll.unregister(fd)
            del waiting[fd]
    return list(first.values()), slowest
]]

  local COUNT <const> = math.min(e2e.sanitized and 1000 or 5000,
    tonumber((e2e.shell "ulimit -Hn":gsub("unlimited", "1000000"))) - 2000)

  local function server(...)
    return tls.server("cert=DIR/site.pem:key=DIR/site.key", { shell = "ulimit -n $(ulimit -Hn)",
      args = { "--limit", "max_connections_per_peer=10000", ... } })
  end

  local function python(child, code)
    return e2e.python(tls.placed(PYTHON:format(COUNT)) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  it("that stop in the middle end by their time-out, and cost little memory", function()
    local child = server("--limit", "handshake_timeout=3000")
    python(child, [[
      good, before = Good(), resident()
      all = crowd(client_hello()[:100])
      expect_below((resident() - before) / COUNT, 40000, "bytes of a handshake")
      first, slowest = meanwhile(all, good, 10 * SLOW)
      expect(len(first), COUNT)
      expect_below(slowest, 0.5 * SLOW, "the longest answer to somebody else")
      expect_below(Good().ask(), 0.5 * SLOW, "somebody who comes later")
    ]])
    assert.truthy(child:log():find("handshake_timeout", 1, true), child:log())
  end)

  it("that go on are all answered, and delay others little", function()
    local child = server()
    python(child, [[
      good = Good()
      all = crowd(client_hello())
      first, slowest = meanwhile(all, good, 30 * SLOW)
      expect(first.count(b"\x16"), COUNT)
      expect_below(slowest, 0.5 * SLOW, "the longest answer to somebody else")
    ]])
  end)

  it("beyond max_handshakes are turned away, not the others", function()
    local child = server("--limit", "max_handshakes=100")
    python(child, [[
      good = Good()
      all = crowd(client_hello())
      first, slowest = meanwhile(all, good, 8 * SLOW)
      expect([first.count(b"\x16"), first.count(b"")], [100, COUNT - 100])
      expect_below(slowest, 0.5 * SLOW, "the longest answer to somebody else")
    ]])
    assert.truthy(child:log():find("max_handshakes", 1, true), child:log())
  end)
end)
