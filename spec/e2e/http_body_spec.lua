-- SPDX-License-Identifier: MIT
-- Bodies in both directions: streamed, at flat memory, with slow peers and
-- with peers that go away.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local site = web.Site()
site:get("/", function() return "root\n" end)
site:put("/count", function(request)
  local n = 0
  for piece in request:chunks() do n = n + #piece end
  return n .. "\n"
end)
site:put("/veto", function() return web.error(403, "not you") end)
site:put("/early", function(request)
  request:chunk()
  return web.error(409, "enough")
end)
site:put("/slowly", function(request)
  local n = 0
  for piece in request:chunks() do
    n = n + #piece
    if n < 500000 then rw.sleep(0.01):await() end
  end
  return n .. "\n"
end)
local piece = ("x"):rep(65536)
site:get("/stream/:count", function(request)
  return web.stream(function(write)
    local ok, why = pcall(function()
      for _ = 1, tonumber(request.params.count) do write(piece) end
    end)
    rw.log.info(ok and "stream whole" or "stream cut: " .. tostring(why))
    if not ok then error(why, 0) end
  end)
end)
site:get("/whole", function() return ("y"):rep(30000000) end)
return rw.server("tcp:127.0.0.1:0", site)]]

describe("HTTP bodies", function()
  local child
  after_each(e2e.finish)

  local function start(...)
    local args = {}
    for _, limit in ipairs { ... } do
      args[#args + 1] = "--limit"
      args[#args + 1] = limit
    end
    child = e2e.start(APP, { args = args })
  end

  -- With a sanitizer freed memory is kept: no bound then.
  local function talk(code)
    return e2e.talk(child, ("MEMORY = %s\n"):format(e2e.sanitized and "1 << 30" or "10 << 20")
      .. code:gsub("\n      ", "\n"):gsub("^%s+", ""))
  end

  local function upload(megabytes)
    return talk(([[
      Client().ask("/count", method="PUT", body=b"x" * 1000000)
      before, most = resident(), 0
      c = Client().send("PUT /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      chunk = b"186a0\r\n" + b"z" * 100000 + b"\r\n"
      for i in range(%d * 10):
          c.send(chunk)
          if i %% 10 == 0: most = max(most, resident())
      c.send("0\r\n\r\n")
      expect(c.response().body, b"%d\n")
      expect_below(most - before, MEMORY, "growth of memory")
    ]]):format(megabytes, megabytes * 1000000))
  end

  it("of 20 MB in chunks pass through a handler at flat memory", function()
    start()
    upload(20)
  end)

  it("of 100 MB in chunks pass through a handler at flat memory #slow", function()
    start()
    upload(100)
  end)

  it("sent by curl with Expect: 100-continue arrive", function()
    start()
    e2e.shell("head -c 3000000 /dev/zero >" .. child.dir .. "/zeros")
    local file = child.dir .. "/zeros"
    assert.equal("3000000\n", child:get("/count", "-T", file, "-H", "Expect: 100-continue").body)
    assert.equal("3000000\n", child:get("/count", "-T", file, "-H",
      "Transfer-Encoding: chunked").body)
  end)

  it("are asked for when the handler reads them, and not when it will not", function()
    start()
    talk [[
      c = Client().get("/count", "Expect: 100-continue", "Content-Length: 5", method="PUT")
      expect(c.response().status, 100)
      expect(c.send("12345").response().body, b"5\n")
      c = Client().get("/veto", "Expect: 100-continue", "Content-Length: 5", method="PUT")
      expect(c.response().status, 403)
      c.close()
      c = Client().get("/count", "Expect: something", "Content-Length: 5", method="PUT")
      expect(c.response().status, 417)
    ]]
  end)

  it("meet a handler's back-pressure", function()
    start()
    talk [[
      before, most = resident(), 0
      c = Client().send("PUT /slowly HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n")
      for _ in range(300):
          c.send(b"x" * 100000)
          most = max(most, resident())
      expect(c.response().body, b"30000000\n")
      expect_below(most - before, MEMORY, "growth of memory")
    ]]
  end)

  it("may be answered before they have come", function()
    start()
    talk [[
      c = Client().send("PUT /early HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\nfirst")
      r = c.response()
      expect((r.status, r.get("Connection")), (409, "close"))
      # while it goes on sending, the answer is not lost in a reset
      c = Client().send("PUT /early HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
      try:
          for _ in range(200): c.send(b"186a0\r\n" + b"z" * 100000 + b"\r\n")
      except ConnectionError:
          pass
      expect(c.response().status, 409)
    ]]
  end)

  it("that stop in the middle are given up: 408", function()
    start("body_timeout=500")
    talk [[
      for head in "Content-Length: 10", "Transfer-Encoding: chunked":
          c = Client().get("/count", head, method="PUT").send("3\r\nab")
          began = time.time()
          r = c.response()
          expect_end(time.time() - began, 0.5)
          expect((r.status, r.get("Connection")), (408, "close"))
          expect(c.ended(), "closed")
    ]]
  end)

  it("that trickle slower than min_rate are given up", function()
    start("body_timeout=400", "min_rate=10000")
    talk [[
      c = Client().get("/count", "Content-Length: 1000", method="PUT")
      began = time.time()
      try:
          while time.time() - began < 5 and not select.select([c.socket], [], [], 0.02)[0]: c.send("x")
      except ConnectionError:
          pass
      expect_end(time.time() - began, 0.4)
      expect(c.response().status, 408)
    ]]
  end)

  it("of the server wait for a slow reader at bounded memory", function()
    start()
    talk [[
      for path, size in ("/stream/800", 800 * 65536), ("/whole", 30000000):
          Client().ask("/")
          with Client() as c:
              before = resident()
              c.get(path)
              time.sleep(0.5)
              bound = MEMORY if "stream" in path else MEMORY + 3 * 30000000
              expect_below(resident() - before, bound, path)
              r = c.response()
              expect((r.status, len(r.body)), (200, size))
    ]]
  end)

  it("of the server stop when the reader goes away", function()
    start()
    for _, way in ipairs { "reset", "close" } do
      child:mark()
      talk(([[
      c = Client().get("/stream/100000")
      c.until("\r\n\r\n")
      c.more()
      c.%s()
      ]]):format(way))
      child:await_log "stream cut"
    end
    assert.equal("root\n", child:get("/").body)
  end)

  it("of the server are given up when nobody reads them: write_timeout", function()
    start("write_timeout=500")
    talk [[
      c = Client(receive=8192).get("/stream/100000")
      began = time.time()
      wait(lambda: "stream cut" in log(), 5 * SLOW)
      expect_end(time.time() - began, 0.5)
      try:
          got = len(c.rest())
      except ConnectionResetError:
          got = 0
      expect_below(got, 50000000)
    ]]
  end)
end)

describe("HTTP time-outs", function()
  after_each(e2e.finish)

  it("for heads give 408, for idle connections a silent end", function()
    local child = e2e.start(APP, { args = { "--limit", "head_timeout=300",
      "--limit", "idle_timeout=600" } })
    e2e.talk(child, [[
      def slow(_):
          c = Client()
          began = time.time()
          c.send("GET / HTTP/1.1\r\n")
          while not select.select([c.socket], [], [], 0.05)[0]: c.send("x")
          expect_end(time.time() - began, 0.3, "408")
          r = c.response()
          expect((r.status, r.get("Connection")), (408, "close"))
          expect(c.ended(), "closed")
      def idle(_):
          c = Client()
          expect(c.ask("/").status, 200)
          began = time.time()
          expect(c.ended(), "closed")
          expect_end(time.time() - began, 0.6, "the end of an idle one")
      def mute(_):
          began = time.time()
          expect(Client().ended(), "closed")
          expect_end(time.time() - began, 0.6, "the end of a mute one")
      parallel(30, lambda i: (slow, idle, mute)[i % 3](i))
      with Client() as c: # who goes on asking is not idle
          for _ in range(5):
              expect(c.ask("/").status, 200)
              time.sleep(0.25)
    ]])
  end)

  it("for heads that drip in give each client its own 408, and no other's", function()
    local child = e2e.start(APP, { args = { "--limit", "head_timeout=300" } })
    e2e.talk(child, [[
      drips = [Client().send("GET / HTTP/1.1\r\nx") for _ in range(100)]
      till = time.time() + 0.8
      while time.time() < till:
          for c in drips:
              try: c.send("x")
              except ConnectionError: pass
      def count(c):
          try: return c.rest().count(b"HTTP/1.1 408")
          except ConnectionResetError: return 1 # it wrote on after the end
      expect([count(c) for c in drips], [1] * len(drips))
    ]])
  end)
end)
