-- SPDX-License-Identifier: MIT
-- Junk and smuggling on a plain HTTP port: the RFC's status, the end of the
-- connection, in finite time, and nobody else is concerned.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local site = web.Site()
site:any("/*rest", function(request)
  request:read()
  return request.method .. " " .. request.path .. "\n"
end)
return rw.server("tcp:127.0.0.1:0", site)]]

describe("A hostile peer", function()
  local child
  setup(function() child = e2e.start(APP, { args = { "--limit", "head_timeout=2000" } }) end)
  teardown(e2e.finish)
  -- every case ends with: the server still serves others
  after_each(function() assert.equal("GET /fine\n", child:get("/fine").body) end)

  -- Sends bytes (Python) and wants one of the statuses (Python), then the end:
  -- nothing of what follows is taken for a request.
  local function refused(statuses, bytes)
    e2e.talk(child, ([[
      for bytes in %s:
          c = Client()
          began = time.time()
          try:
              c.send(bytes)
              c.send("GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
          except ConnectionError:
              pass
          try:
              got = c.rest()
          except ConnectionResetError:
              got = c.buffer
          head = got[:got.find(b"\r\n\r\n")].lower()
          if not re.match(rb"http/1\.1 (%s) ", head):
              raise AssertionError("%%.200r gives %%.300r" %% (bytes, got))
          expect_in(head, b"\r\nconnection: close")
          if b"smuggled" in got or got.count(b"HTTP/1.1") != 1:
              raise AssertionError("%%.200r lets through %%.500r" %% (bytes, got))
          expect_below(time.time() - began, 4 * SLOW)
    ]]):format(bytes, statuses))
  end

  -- Header lines after a POST's first ones.
  local function fields(list)
    return ([=[[b"POST / HTTP/1.1\r\nHost: x\r\n" + octets(f) + b"\r\n\r\n" for f in [%s]]]=]):format(list)
  end

  it("sends Transfer-Encoding with Content-Length, or two lengths", function()
    refused("400", fields [["Transfer-Encoding: chunked\r\nContent-Length: 5",
      "Content-Length: 5\r\nTransfer-Encoding: chunked",
      "Content-Length: 5\r\nContent-Length: 6", "Content-Length: 5\r\nContent-Length: 5",
      "Content-Length: 5, 6", "Content-Length: 5, 5"]])
  end)

  it("sends lengths that are no numbers", function()
    refused("400", fields [["Content-Length: +5", "Content-Length: -5", "Content-Length: 0x5",
      "Content-Length: 5 5", "Content-Length:", "Content-Length: 5;", "Content-Length: 1e3",
      "Content-Length: 99999999999999999999999", "Content-Length: 18446744073709551621"]])
    refused("413", fields [["Content-Length: 999999999999"]])
  end)

  it("sends transfer codings that are not understood", function()
    refused("400|501", fields [["Transfer-Encoding: gzip", "Transfer-Encoding: chunked, gzip",
      "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: xchunked",
      "Transfer-Encoding: \x0bchunked", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
      "Transfer-Encoding:", "Transfer-Encoding: identity"]])
    refused("400", [[ ["POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"] ]])
  end)

  it("sends field lines that are not", function()
    refused("400", fields [["Name : value", " Name: value", "\tName: value", "Name", ": value",
      "Na me: value", "Na\x00me: value", "Name: va\x00lue", "Name: va\rlue", "Name: va\x01lue",
      "Name: va\x7flue", "N\xe4me: value", "Name: value\r\n folded", "Name: value\r\n\tfolded",
      "(Name): value", "Name\x0b: value"]])
  end)

  it("ends lines with a bare LF, or none with CR", function()
    refused("400", [[ ["GET / HTTP/1.1\nHost: x\n\n", "GET / HTTP/1.1\r\nHost: x\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\n\n", "GET / HTTP/1.1\rHost: x\r\r",
      "GET / HTTP/1.1\r\nHost: x\r\n\rX", "\rGET / HTTP/1.1\r\nHost: x\r\n\r\n",
      "\n\n\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"] ]])
  end)

  it("sends request lines that are not", function()
    refused("400", [[ ["GET  / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /  HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET / HTTP/1.1 \r\nHost: x\r\n\r\n", " GET / HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n", "GET / x HTTP/1.1\r\nHost: x\r\n\r\n",
      "G\xc4T / HTTP/1.1\r\nHost: x\r\n\r\n", "GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET / http/1.1\r\nHost: x\r\n\r\n", "GET / HTTP/1.1x\r\nHost: x\r\n\r\n",
      "GET / HTTP/1\r\nHost: x\r\n\r\n", "GET /\r\nHost: x\r\n\r\n", "GET\r\n\r\n",
      "GET relative HTTP/1.1\r\nHost: x\r\n\r\n"] ]])
    e2e.talk(child, [[
      for target in "/%zz", "/%", "/%0", "*":
          expect((target, Client().get(target).response().status), (target, 400))
    ]])
  end)

  it("speaks a version that there is not", function()
    refused("505", [[ ["GET / HTTP/9.9\r\nHost: x\r\n\r\n", "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] ]])
  end)

  it("names no host, or several", function()
    refused("400", [[ ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"] ]])
  end)

  it("uses the other forms of a target", function()
    e2e.talk(child, [[
      def ask(target, method="GET", host="x"):
          c = Client().send("%s %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (method, target, host))
          r = c.response(method)
          return r.status, r.body
      expect(ask("http://x/a/b?c=d"), (200, b"GET /a/b\n"))
      expect(ask("http://x"), (200, b"GET /\n"))
      expect(ask("*", "OPTIONS")[0] in (200, 204), True, "OPTIONS *")
      status = ask("x:443", "CONNECT", "x:443")[0]
      expect(status in (400, 404, 405, 501), True, "CONNECT gives %d," % status)
    ]])
  end)

  it("sends chunks that are not", function()
    refused("400", [[ [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + octets(b)
      for b in ["g\r\n", "-1\r\n", "+1\r\na", "0x1\r\na", " 1\r\na", "1 \r\na", "1\na", "1\r\nab\r\n",
      "1\r\na\n", "\r\n", "11111111111111111\r\n", "1;\x00\r\na", "1\ra\r\n", "0\r\nbad trailer\r\n\r\n",
      "0\r\n folded: x\r\n\r\n", "0\r\nX: \x00\r\n\r\n"] ] ]])
    refused("400|413", [[ [b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + octets(b)
      for b in ["fffffffffffffff\r\n", "1;" + "x" * 1000000 + "\r\n", "0" * 1000000 + "1\r\na",
      "1;x=y\r\na\r\n" * 200000] ] ]])
  end)

  it("sends more than heads hold", function()
    refused("431", [[ ["GET / HTTP/1.1\r\nHost: x\r\nX: " + "y" * 1000000 + "\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\n" + "A: b\r\n" * 100000 + "\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\n" + "A:\r\n" * 101 + "\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\n" + "y" * 1000000] ]])
    refused("414|431", [=[ ["GET /" + "x" * 1000000 + " HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /" + "x" * 9000 + " HTTP/1.1\r\nHost: x\r\n\r\n"] ]=])
    refused("400|431|501", [=[ ["X" * 1000000 + " / HTTP/1.1\r\nHost: x\r\n\r\n"] ]=])
  end)

  it("talks TLS, SSH, SMTP, noise or nothing at all", function()
    refused("400|505", [[ [bytes.fromhex("16030100c2010000be0303") + os.urandom(180),
      b"SSH-2.0-OpenSSH_9.2\r\n", b"EHLO there\r\n", b"\x00" * 1000, b"\xff" * 100000,
      b"\x80\x9e\x01\x03\x01\x00u\x00\x00\x00 ", b"<policy-file-request/>\x00"] ]])
    e2e.talk(child, [[
      import random
      random.seed(int(time.time()))
      for _ in range(150):
          c = Client()
          noise = bytes(random.choice(b"GET /HTTP1.:\r\n\r\n\x00\xff 0chunked") for _ in range(random.randrange(400)))
          try:
              c.send(noise).finish()
              c.rest()
          except ConnectionError:
              pass
    ]])
  end)

  it("takes the connection with it in mid-pipeline, not what was before", function()
    e2e.talk(child, [[
      c = Client().get("/one").get("/two").send("GET /bad HTTP/1.1\nHost: x\n\n").get("/never")
      expect(c.response().body, b"GET /one\n")
      expect(c.response().body, b"GET /two\n")
      expect(c.response().status, 400)
      expect(c.ended(), "closed")
    ]])
  end)

  it("keeps a thousand connections half open, and the others are served", function()
    e2e.talk(child, [[
      crowd = [Client().send("GET / HTTP/1.1\r\nHost: ") for _ in range(1000)]
      with Client() as c:
          began = time.time()
          for i in range(100): expect(c.ask("/fine").status, 200)
          expect_below(time.time() - began, 1 * SLOW)
      # and each of them gets its 408
      expect({c.response().status for c in crowd}, {408})
    ]])
  end)
end)
