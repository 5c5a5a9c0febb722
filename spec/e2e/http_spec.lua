-- SPDX-License-Identifier: MIT
-- HTTP as peers see it: versions, methods, order, ranges, ends.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local site = web.Site()
site:get("/", function() return "root\n" end)
site:get("/n/:n", function(request) return request.params.n .. "\n" end)
site:get("/wait/:ms", function(request)
  rw.sleep(tonumber(request.params.ms) / 1000):await()
  return "waited\n"
end)
site:get("/stream", function()
  return web.stream(function(write) for i = 1, 3 do write(i .. "\n") end end)
end)
site:get("/empty", function() return 204 end)
site:post("/echo", function(request) return request:read() end)
site:post("/nothing", function() return "not read\n" end)
site:get("/later", function(request)
  request:on_finish(function(code) rw.log.info("finished with {code}", { code = code or "all" }) end)
  rw.sleep(0.1):await()
  return "later\n"
end)
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write("<" .. bytes .. ">") end
site:get("/upgrade", function(request)
  request:upgrade("echo", {}, rw.Factory:for_protocol(Echo))
end)
return rw.server("tcp:127.0.0.1:0", site)]]

describe("HTTP", function()
  local child
  setup(function() child = e2e.start(APP) end)
  teardown(e2e.finish)

  local function talk(code) return e2e.talk(child, code) end

  it("keeps a 1.1 connection until it is told to close", function()
    talk [[
      c = Client()
      for i in range(3):
          r = c.ask("/n/%d" % i)
          expect((r.version, r.status, r.body), ("HTTP/1.1", 200, b"%d\n" % i))
          expect(r.get("Connection"), None)
      expect(c.ask("/", "Connection: close").get("Connection"), "close")
      expect(c.ended(), "closed")
    ]]
    -- curl says whether it could use its connection again
    assert.equal("1 0 ", (e2e.curl("-o", "/dev/null", "-o", "/dev/null", "-w", "%{num_connects} ",
      child.url .. "/", child.url .. "/")))
  end)

  it("closes a 1.0 connection unless it is asked to keep it", function()
    talk [[
      c = Client().send("GET / HTTP/1.0\r\n\r\n")
      r = c.response()
      expect((r.status, r.body, r.get("Transfer-Encoding")), (200, b"root\n", None))
      expect(c.ended(), "closed")
      c = Client()
      for _ in range(2):
          c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
          expect(c.response().get("Connection").lower(), "keep-alive")
      c.send("GET /stream HTTP/1.0\r\n\r\n")
      r = c.response()
      expect((r.get("Transfer-Encoding"), r.body), (None, b"1\n2\n3\n"))
    ]]
  end)

  it("answers HEAD as GET, without the body", function()
    talk [[
      c = Client()
      for path, length in ("/", "5"), ("/n/123", "4"), ("/stream", None), ("/nowhere", None):
          r = c.ask(path, method="HEAD")
          if length: expect((r.status, r.get("Content-Length")), (200, length))
      expect(c.ask("/").body, b"root\n", "on the same connection")
    ]]
  end)

  it("says which methods there are", function()
    talk [[
      c = Client()
      r = c.ask("/", method="OPTIONS")
      expect((r.status, r.get("Allow")), (204, "GET, HEAD, OPTIONS"))
      r = c.ask("/echo", method="DELETE")
      expect((r.status, r.get("Allow")), (405, "OPTIONS, POST"))
      expect(c.ask("/nowhere").status, 404)
      expect(c.ask("/", method="BREW").status, 405)
      expect(c.ask("/empty").body, b"")
      expect(c.ask("/").status, 200)
    ]]
  end)

  it("answers 10,000 pipelined requests in order", function()
    talk [[
      c = Client()
      def send():
          c.send("".join("GET /n/%d HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(10000)))
      t = threading.Thread(target=send)
      t.start()
      for i in range(10000):
          expect(c.response().body, b"%d\n" % i)
      t.join()
    ]]
  end)

  it("keeps the order when the first answer takes longest", function()
    talk [[
      c = Client().get("/wait/150").get("/n/1").get("/stream").get("/n/2")
      expect([c.response().body for _ in range(4)],
             [b"waited\n", b"1\n", b"1\n2\n3\n", b"2\n"])
    ]]
  end)

  it("answers a client that has finished sending, and then closes", function()
    talk [[
      c = Client().get("/wait/100").get("/n/7").finish()
      expect(c.response().body, b"waited\n")
      expect(c.response().body, b"7\n")
      expect(c.ended(), "closed")
      c = Client().finish()
      expect(c.ended(), "closed")
      c = Client().send("GET / HT").finish()
      expect(c.ended(), "closed")
    ]]
  end)

  it("understands a client that sends a byte at a time", function()
    talk [[
      c = Client()
      for byte in "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
          c.send(byte)
          time.sleep(0.001)
      expect(c.response().body, b"abc")
      for byte in "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcdGET / HTTP/1.1\r\nHost: x\r\n\r\n":
          c.send(byte)
      expect(c.response().body, b"abcd")
      expect(c.response().body, b"root\n")
    ]]
  end)

  it("hands a connection over with what was sent ahead", function()
    talk [[
      for ahead in b"", b"early bird":
          c = Client().get("/upgrade", "Connection: upgrade", "Upgrade: echo").send(ahead)
          r = c.response()
          expect((r.status, r.get("Upgrade")), (101, "echo"))
          if ahead: expect(c.until(">"), b"<early bird>")
          expect(c.send("more").until(">"), b"<more>")
      c = Client()
      c.send(b"GET /upgrade HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nahead")
      expect(c.response().status, 101)
      expect(c.until(">"), b"<ahead>")
      c.close()
    ]]
  end)

  it("tells on_finish how it went", function()
    talk [[
      expect(Client().ask("/later").body, b"later\n")
      wait(lambda: "finished with all" in log())
      with Client() as c:
          c.get("/later")
          time.sleep(0.03)
          c.reset()
      wait(lambda: re.search("finished with (RW_|E|-)", log()))
    ]]
  end)

  it("survives clients that vanish at any point", function()
    talk [[
      whole = (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
               b"GET /wait/20 HTTP/1.1\r\nHost: x\r\n\r\n")
      for cut in range(0, len(whole) + 1, 3):
          for way in Client.reset, Client.close:
              way(Client().send(whole[:cut]))
      expect(Client().ask("/").body, b"root\n")
    ]]
  end)

  it("needs no request body to be read", function()
    talk [[
      c = Client()
      for size in 0, 10, 100, 20000:
          expect(c.ask("/nothing", method="POST", body=b"x" * size).body, b"not read\n")
      expect(c.ask("/").body, b"root\n")
      # too much to throw away: the answer comes, then the end
      c = Client().send("POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
      r = c.response()
      expect((r.body, r.get("Connection")), (b"not read\n", "close"))
      expect(c.ended(), "closed")
    ]]
  end)
end)

describe("HTTP static files", function()
  local child
  teardown(e2e.finish)

  it("answer ranges and conditions", function()
    child = e2e.start([[
local site = web.Site()
site:mount("/", web.static(rw.script_dir .. "/files"))
return rw.server("tcp:127.0.0.1:0", site)]], { shell = "mkdir -p \"${2%/*}/files\"; "
      .. "seq 100000 199999 >\"${2%/*}/files/numbers.txt\"" })
    e2e.talk(child, [==[
      whole = "".join("%d\n" % i for i in range(100000, 200000)).encode()
      c = Client()
      r = c.ask("/numbers.txt")
      expect((r.status, r.get("Accept-Ranges"), r.body == whole), (200, "bytes", True))
      tag, modified = r.get("ETag"), r.get("Last-Modified")
      def part(spec, *fields):
          r = c.ask("/numbers.txt", "Range: bytes=" + spec, *fields)
          return r.status, r.get("Content-Range"), r.body
      expect(part("7-12"), (206, "bytes 7-12/700000", b"100001"))
      expect(part("699995-"), (206, "bytes 699995-699999/700000", b"9999\n"))
      expect(part("-7"), (206, "bytes 699993-699999/700000", b"199999\n"))
      expect(part("700000-")[:2], (416, "bytes */700000"))
      expect(part("7-12", "If-Range: " + tag)[0], 206)
      expect(part("7-12", 'If-Range: "other"')[0], 200)
      r = c.ask("/numbers.txt", "Range: bytes=0-6,14-20")
      expect(r.status, 206)
      kind = r.get("Content-Type")
      expect(kind.split(";")[0], "multipart/byteranges")
      mark = kind.split("boundary=")[1].strip('"').encode()
      parts = r.body.split(b"--" + mark)[1:]
      expect([p.split(b"\r\n\r\n", 1)[1] for p in parts[:-1]], [b"100000\n\r\n", b"100002\n\r\n"])
      expect(parts[-1].strip(), b"--")
      for field in "If-None-Match: " + tag, "If-None-Match: *", "If-Modified-Since: " + modified:
          r = c.ask("/numbers.txt", field)
          expect((r.status, r.body, r.get("ETag")), (304, b"", tag), field)
      expect(c.ask("/numbers.txt", 'If-None-Match: "other"').status, 200)
      expect(c.ask("/numbers.txt", 'If-Match: "other"').status, 412)
      for path in "/../app.lua", "/%2e%2e/app.lua", "/..%2fapp.lua", "/files/../../app.lua", "//etc/passwd":
          status = Client().ask(path).status
          if status not in (400, 403, 404): raise AssertionError("%s gives %d" % (path, status))
    ]==])
  end)
end)
