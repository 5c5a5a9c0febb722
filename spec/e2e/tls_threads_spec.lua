-- SPDX-License-Identifier: MIT
-- RSA: private operations in the thread pool, while their connections close, are
-- reset, take too long, and the server reloads or stops. With ThreadSanitizer and
-- AddressSanitizer this is the net for what the threads and the loop share.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("RSA in threads", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local RSA <const> = "cert=DIR/rsa.pem:key=DIR/rsa.key"

  -- flight(version): a client's first flight. storm(n, fn): fn(i, socket) with n
  -- connections, in threads. talk(): a whole conversation.
  local PEERS <const> = [[
import ssl, random
context = ssl.create_default_context(cafile="%s/ca.pem")
random.seed(7)
def flight(version):
    c = ssl.create_default_context()
    c.maximum_version = version
    i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
    try: c.wrap_bio(i, o, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError: pass
    return o.read()
flights = [flight(v) for v in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)]
def connect(): return socket.create_connection(("127.0.0.1", PORT), PATIENCE)
def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()
def talk():
    with context.wrap_socket(connect(), server_hostname="localhost") as s:
        s.sendall(b"hello\n")
        got = b""
        while b"echo hello" not in got:
            more = s.recv(1000)
            assert more, got
            got += more
def leave(i):
    """Begins a handshake, and goes in one of six ways."""
    try:
        s = connect()
        first = flights[i %% 2]
        way = i %% 6
        if way == 0: s.sendall(first); reset(s)
        elif way == 1: s.sendall(first); s.close()
        elif way == 2: s.sendall(first); s.shutdown(socket.SHUT_WR); s.settimeout(0.5); s.recv(100); s.close()
        elif way == 3: s.sendall(first); time.sleep(random.random() / 100); reset(s)
        elif way == 4: s.sendall(first + b"\x16\x03\x03\x00\x05hello"); time.sleep(random.random() / 100); s.close()
        else: s.sendall(first); s.recv(1); s.sendall(b"\x15\x03\x03\x00\x02\x02\x28"); s.close()
    except OSError: pass
]]

  local function python(child, code)
    return e2e.python(PEERS:format(dir) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  it("stands peers that go away meanwhile, and serves the others", function()
    local child = tls.server(RSA)
    python(child, [[
      parallel(8, lambda n: [talk() if i % 10 == 9 else leave(i) for i in range(n, 40 + n)])
      talk()
    ]])
  end)

  it("ends handshakes that take too long while a thread is at them", function()
    -- a key that takes its time, and more handshakes than are done in time
    tls.issue("rsa", { kind = "rsa4096" })
    local child = tls.server(RSA .. ":handshake_timeout=60", { shell = "export ROPEWALK_ACCEL=0 UV_THREADPOOL_SIZE=1" })
    python(child, [[
      def wait_for_end(i):
          s = connect()
          try:
              s.sendall(flights[i % 2])
              while s.recv(10000): pass
          except OSError: pass
      for _ in range(3): parallel(24, wait_for_end)
    ]])
    child:await_log "limit=handshake_timeout"
    assert.truthy(child:alive())
  end)

  it("goes on with them over reloads", function()
    local child = tls.server(RSA)
    python(child, [[
      done = []
      def storm(n):
          i = n
          while not done:
              i += 1
              talk() if i % 3 else leave(i)
      threads = [threading.Thread(target=storm, args=(n,), daemon=True) for n in range(4)]
      for t in threads: t.start()
      for _ in range(5): expect(reload(), True)
      done.append(True)
      for t in threads: t.join()
      talk()
    ]])
  end)

  it("leaves them when the server stops", function()
    for _, signal in ipairs { "TERM", "INT" } do
      local child = tls.server(RSA .. ":handshake_timeout=2000",
        { shell = "export ROPEWALK_ACCEL=0", args = { "--limit", "drain_timeout=1000" } })
      python(child, ([[
      ends = []
      for i in range(60):
          s = connect()
          s.sendall(flights[i %% 2])
          ends.append(s)
      os.kill(PID, signal.SIG%s)
      for s in ends[::2]: reset(s)
      ]]):format(signal))
      assert.truthy(e2e.wait(function() return not child:alive() end, 20), child:log())
    end -- how it has ended, and what a sanitizer says of it, is asked by tls.finish
  end)
end)
