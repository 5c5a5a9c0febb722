-- SPDX-License-Identifier: MIT
-- Forwarding and files over servers of their own, with peers that are none of
-- ours.
local e2e = require "spec.support.e2e"

local ECHO <const> = [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes)
  self.transport:write(bytes)
  self.transport:drained()
end
function Echo:read_connection_lost() self.transport:lose_connection() end
]]

describe("apps/forward.lua", function()
  local child
  after_each(e2e.finish)

  local function forward(to, arguments)
    child = e2e.start(nil, { app = "apps/forward.lua",
      args = { "--set", "to=" .. to, "--log-level", "debug", table.unpack(arguments or {}) } })
  end

  it("joins a client and an echo, byte for byte, half-close included", function()
    local behind = e2e.start(ECHO
      .. 'return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))')
    forward("tcp:127.0.0.1:" .. behind.port)
    e2e.talk(child, [[
      data = os.urandom(8000000)
      def one():
          c = Client()
          threading.Thread(target=lambda: c.send(data).finish()).start()
          expect(c.rest() == data, True)
      threads = [threading.Thread(target=one) for _ in range(4)]
      for t in threads: t.start()
      for t in threads: t.join()
      wait(lambda: log().count("sent=8000000") == log().count("received=8000000") == 4)
    ]])
  end)

  it("forwards to a unix socket, as socat does", function()
    local dir = e2e.directory()
    local behind = e2e.start(ECHO .. ('return rw.server("unix:%s/s", rw.Factory:for_protocol(Echo))')
      :format(dir), { wait = false })
    behind:await_log "listening"
    forward("unix:" .. dir .. "/s")
    local output = e2e.shell(("printf 'through both' | timeout 10 socat -t5 - tcp:127.0.0.1:%d")
      :format(child.port))
    assert.equal("through both", output)
    assert.is_true(behind:alive())
  end)

  it("joins standard input and output with a port", function()
    local behind = e2e.start(ECHO
      .. 'return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))')
    local output, status = e2e.shell(("printf 'by hand' | timeout 20 %s run apps/forward.lua "
      .. "--log-level error --set listen=stdio: --set to=tcp:127.0.0.1:%d")
      :format(e2e.quote(e2e.binary), behind.port))
    assert.equal("by hand", output)
    assert.equal(0, status)
  end)

  it("stays small while one side offers 300 MB and the other does not read", function()
    local port = e2e.free_port()
    forward("tcp:127.0.0.1:" .. port)
    e2e.talk(child, ([[
      listener = socket.socket()
      listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
      listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      listener.bind(("127.0.0.1", %d))
      listener.listen()
      total = 300 << 20
      c = Client()
      far = listener.accept()[0]
      far.settimeout(PATIENCE)
      block = b"x" * (1 << 20)
      sent = [0]
      def offer():
          for _ in range(total >> 20):
              c.socket.settimeout(60)
              c.socket.sendall(block)
              sent[0] += len(block)
          c.finish()
      before = resident()
      t = threading.Thread(target=offer)
      t.start()
      time.sleep(0.7)
      expect_below(sent[0], 32 << 20, "taken while nobody read")
      if not %s: expect_below(resident() - before, 3 << 20, "growth while nobody read")
      got, most = 0, 0
      while True:
          data = far.recv(1 << 20)
          if not data: break
          got += len(data)
          if got %% 64 == 0: most = max(most, resident())
      expect(got, total)
      if not %s: expect_below(most - before, 3 << 20, "growth")
      t.join()
      far.close()
      expect(c.rest(), b"")
    ]]):format(port, e2e.sanitized and "True" or "False", e2e.sanitized and "True" or "False"))
  end)

  it("resets the client when nobody is there, and when the other side is lost", function()
    local port = e2e.free_port()
    forward("tcp:127.0.0.1:" .. port)
    e2e.talk(child, ([[
      try: expect(Client().ended(), "reset")
      except ConnectionError: pass # already while connecting
      wait(lambda: "ECONNREFUSED" in log())
      listener = socket.socket()
      listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      listener.bind(("127.0.0.1", %d))
      listener.listen()
      c = Client().send("hello")
      far = Client.__new__(Client)
      far.socket, far.buffer = listener.accept()[0], bytearray()
      far.socket.settimeout(PATIENCE)
      expect(far.exactly(5), b"hello")
      far.reset()
      expect(c.ended(), "reset")
      wait(lambda: "Connection reset" in log())
      c = Client()
      far.socket = listener.accept()[0]
      far.socket.settimeout(PATIENCE)
      c.reset()
      expect(far.ended(), "reset")
    ]]):format(port))
  end)

  it("keeps what is joined over reloads, beyond the drain, and forgets it in the end", function()
    local behind = e2e.start(ECHO
      .. 'return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))')
    local to = "tcp:127.0.0.1:" .. behind.port
    child = e2e.start(('return rw.server("tcp:127.0.0.1:0", rw.Forwarder "%s")'):format(to),
      { args = { "--log-level", "debug", "--limit", "drain_timeout=300" } })
    local descriptors = child:descriptors()
    e2e.talk(child, [[
      c = Client()
      expect(c.send("before").exactly(6), b"before")
      for generation in (1, 2, 3):
          expect(reload(), True)
          wait(lambda: "generation freed generation=%d" % generation in log())
          expect(c.send("after").exactly(5), b"after")
      data = os.urandom(3000000)
      threading.Thread(target=lambda: c.send(data)).start()
      expect(c.exactly(len(data)) == data, True)
      d = Client()
      expect(d.send("new").exactly(3), b"new")
      c.finish(); d.finish()
      expect(c.rest() + d.rest(), b"")
      expect("drain timed out" in log(), False)
    ]])
    assert.is_true(child:descriptors() <= descriptors + 1)
  end)
end)

describe("A FileSender", function()
  after_each(e2e.finish)

  it("sends into web responses, throttled or not", function()
    local child = e2e.start([[
local site = web.Site()
site:get("/:how", function(request)
  request:start(200, { ["Content-Type"] = "text/plain" })
  local sender = rw.FileSender { length = 300000,
    transform = request.params.how == "upper" and string.upper or nil }
  local sent = sender:begin_file_transfer(rw.script_dir .. "/data", request):await()
  request:write("(" .. sent .. ")")
  request:finish()
end)
return { rw.server("tcp:127.0.0.1:0", site),
  rw.server("tcp:127.0.0.1:0", rw.policy.throttle(site, { write = 2e6 })) }]],
      { files = { data = ("data "):rep(100000) } })
    for port in child:log():gmatch "listening endpoint=tcp:[^ \n]-:(%d+)" do
      for how, text in pairs { plain = "data ", upper = "DATA " } do
        local body = e2e.curl(("http://127.0.0.1:%s/%s"):format(port, how))
        assert.is_true(body == text:rep(60000) .. "(300000)")
      end
    end
  end)
end)
