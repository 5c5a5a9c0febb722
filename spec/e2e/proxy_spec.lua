-- SPDX-License-Identifier: MIT
-- Behind a proxy, by the PROXY protocol: curl, haproxy, and headers by hand.
local e2e = require "spec.support.e2e"

local CURL <const> = "--haproxy-protocol"

-- What a site and a protocol know of their peer.
local APP <const> = [[
local function told(peer, host)
  local via, out = peer.via, { tostring(peer), tostring(host) }
  if via then
    out[3] = ("v%d via %s"):format(via.version, via.host or via.path)
    for _, name in ipairs { "authority", "alpn", "unique_id" } do out[#out + 1] = via[name] end
    if via.ssl then out[#out + 1] = ("%s %s"):format(via.ssl.version, via.ssl.verified) end
    for type, value in pairs(via.tlvs) do
      if type >= 0xE0 then out[#out + 1] = type .. "=" .. value end
    end
  end
  return table.concat(out, " ")
end
local site = web.Site()
site:get("/", function(r) return told(r.peer, r.local_address) .. "\n" end)
site:get("/local", function(r) return (r.peer.via and "via" or "itself") .. " " .. r.peer.kind .. "\n" end)
site:mount("/files", web.static(rw.config.dir))
local Echo = rw.Protocol:extend "Echo"
function Echo:connection_made()
  self.transport:write(told(self.transport.peer, self.transport.host) .. "\n")
end
function Echo:data_received(bytes) self.transport:write(bytes) end
function Echo:connection_lost() rw.log.info("lost " .. told(self.transport.peer, self.transport.host)) end
local ports = {
  rw.server("proxy:tcp:127.0.0.1:0" .. (rw.config.options or ""), site),
  rw.server("proxy:tcp:127.0.0.1:0" .. (rw.config.options or ""), rw.Factory:for_protocol(Echo)),
  rw.server("proxy:unix:" .. rw.config.dir .. "/s", site),
}
rw.reactor:call_when_running(function() rw.log.info("site on " .. ports[1].port) end)
site:get("/ports", function() return ports[2].port .. "\n" end)
return ports]]

local HELPERS <const> = [[
SIG = b"\r\n\r\n\0\r\nQUIT\n"
def v1(source="192.0.2.1", port=1000): return b"PROXY TCP4 %s 198.51.100.2 %d 443\r\n" % (source.encode(), port)
def tlv(kind, value): return bytes([kind]) + struct.pack("!H", len(value)) + value
def v2(tlvs=b"", ends=b"\xc0\0\2\1\xc6\x33\x64\2\3\xe8\1\xbb", family=0x11, command=0x21):
    return SIG + bytes([command, family]) + struct.pack("!H", len(ends + tlvs)) + ends + tlvs
def crc32c(data):
    r = 0xffffffff
    for x in data:
        r ^= x
        for _ in range(8): r = (r >> 1) ^ (0x82F63B78 if r & 1 else 0)
    return r ^ 0xffffffff
def summed(header):
    return header[:-4] + struct.pack("!I", crc32c(header[:-4] + b"\0\0\0\0"))
def ask(header, path="/"):
    c = Client()
    c.send(header).get(path)
    return c.response().body.decode().strip()
def echo_port(): return int(ask(v1(), "/ports"))
]]

describe("A proxy: endpoint", function()
  after_each(e2e.finish)

  local dir, child
  local function start(options)
    dir = e2e.directory()
    e2e.write(dir .. "/file.txt", ("0123456789"):rep(1000))
    child = e2e.start(APP, { set = { dir = dir, options = options } })
    -- the first port that is logged need not be the site's
    child:await_log "site on "
    child.port = tonumber(child:log():match "site on (%d+)")
    return child
  end
  local function talk(code) return e2e.talk(child, HELPERS .. ("\n" .. code):gsub("\n      ", "\n")) end

  it("believes curl's header, of version 1, and serves files behind it", function()
    start()
    local out = e2e.curl(CURL, ("http://127.0.0.1:%d/"):format(child.port))
    assert.truthy(out:find "^127%.0%.0%.1:%d+ 127%.0%.0%.1:%d+ v1 via 127%.0%.0%.1\n$", out)
    out = e2e.curl(CURL, ("http://127.0.0.1:%d/files/file.txt"):format(child.port))
    assert.equal(("0123456789"):rep(1000), out)
  end)

  it("reads both versions, in any pieces, and hands on what follows once", function()
    start()
    talk [[
      seen = "192.0.2.1:1000 198.51.100.2:443 v%d via 127.0.0.1"
      expect(ask(v1()), seen % 1)
      expect(ask(v2()), seen % 2)
      expect(ask(b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), "[2001:db8::1]:1 [::1]:2 v1 via 127.0.0.1")
      expect(ask(v2(ends=b"/run/a".ljust(108, b"\0") + b"\0abs".ljust(108, b"\0"), family=0x31)),
             "unix:/run/a unix:@abs v2 via 127.0.0.1")
      port = echo_port()
      for header in v1(), v2(tlv(2, b"example.org")):
          whole = header + b"hello"
          for cut in range(1, len(whole)):
              with Client(port) as c:
                  c.send(whole[:cut])
                  time.sleep(0.001)
                  c.send(whole[cut:])
                  expect_in(c.line(), "192.0.2.1:1000 198.51.100.2:443")
                  expect(c.exactly(5), b"hello")
                  expect(c.finish().rest(), b"")
      with Client(port) as c:
          for byte in v1() + b"bytes": c.send(bytes([byte]))
          c.line()
          expect(c.exactly(5), b"bytes")
      expect_in(log(), "lost 192.0.2.1:1000 198.51.100.2:443")
    ]]
  end)

  it("takes a proxy that speaks for itself, or does not know, as the peer", function()
    start()
    talk [[
      for header in b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 1.2.3.4 xyz\r\n", v2(command=0x20), v2(b"", b"", 0), \
              v2(b"", b"", 0, 0x20):
          expect(ask(header, "/local"), "itself tcp")
    ]]
  end)

  it("tells what version 2 adds", function()
    start()
    talk [[
      ssl = tlv(0x20, b"\x07\0\0\0\0" + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"me"))
      expect(ask(v2(tlv(2, b"example.org") + tlv(1, b"h2") + tlv(5, b"id") + ssl + tlv(0xE0, b"x"))),
             "192.0.2.1:1000 198.51.100.2:443 v2 via 127.0.0.1 example.org h2 id TLSv1.3 true 224=x")
      expect_in(ask(summed(v2(tlv(4, b"..") + tlv(3, b"\0\0\0\0")))), "192.0.2.1:1000")
    ]]
  end)

  it("refuses what is no header, or one that lies, and logs it once a second", function()
    start()
    talk [[
      bad = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", b"PROXY TCP4 1.2.3.4\r\n",
          b"PROXY " + b"x" * 200, SIG + b"\x21\x11\0\x0b" + b"x" * 11, SIG + b"\x21\x11\0\x0e" + b"x" * 14,
          SIG + b"\x31", SIG + b"\x21\x11\xff\xff", summed(v2(tlv(3, b"\0\0\0\0")))[:-1] + b"!"]
      for header in bad:
          with Client() as c: c.send(header).ended()
      with Client() as c: expect(c.send("PROXY").finish().ended(), "reset")
      with Client() as c: c.finish().ended() # a check whether the port is open
      lines = [l for l in log().split("\n") if "connection refused" in l]
      expect_in("\n".join(lines), "no valid PROXY header")
      expect_below(len(lines), 4)
      expect_in(ask(v1()), "192.0.2.1")
    ]]
  end)

  it("waits proxy_timeout for it, and takes no header above max_proxy_header", function()
    start ":proxy_timeout=300:max_proxy_header=100"
    talk [[
      began = time.time()
      with Client() as c: c.send("PROXY TCP4").ended()
      expect_end(time.time() - began, 0.3)
      expect_in(log(), "limit=proxy_timeout")
      with Client() as c: expect(ask(v1()), "192.0.2.1:1000 198.51.100.2:443 v1 via 127.0.0.1")
      time.sleep(1.1)
      with Client() as c: c.send(v2(tlv(0xE0, b"x" * 100))).ended()
      expect_in(log(), "limit=max_proxy_header")
    ]]
  end)

  it("lets nobody but trusted proxies say so", function()
    start ":trust=10.0.0.0/8,[::1]"
    assert.equal(nil, child.port and e2e.curl(CURL, ("http://127.0.0.1:%d/"):format(child.port)):match "via")
    assert.truthy(child:log():find('reason="not a trusted proxy" peer=127.0.0.1', 1, true), child:log())
    -- who may open a socket file is trusted
    local out = e2e.curl(CURL, "--unix-socket", dir .. "/s", "http://x/local")
    assert.equal("itself unix\n", out)
  end)

  it("counts connections for the address that was said", function()
    start ":max_connections_per_peer=2"
    talk [[
      keep = [Client().send(v1("192.0.2.1", i)) for i in range(2)]
      for c in keep: expect(c.ask("/").status, 200)
      with Client() as c: c.send(v1("192.0.2.1", 3)).ended()
      expect_in(log(), "limit=max_connections_per_peer peer=192.0.2.1:3")
      with Client() as c: expect(c.send(v1("192.0.2.9")).ask().status, 200)
    ]]
  end)

  it("that is waited for stays through a reload, and ends with its endpoint", function()
    start()
    talk [[
      c, d = Client(), Client()
      c.send(v1()[:10]); d.send(v1()[:10])
      time.sleep(0.05)
      expect(reload(), True)
      c.send(v1()[10:])
      expect(c.ask().body[:9], b"192.0.2.1")
      text = open(APP).read()
      edit(text.replace('rw.server("proxy:tcp:', 'rw.server("tcp:')) # the same port, without
      expect(reload(), True)
      d.send(v1()[10:]) # came when it was one
      expect(d.ask().body[:9], b"192.0.2.1")
      with Client() as e: expect(e.ask("/local").body, b"itself tcp\n")
      edit(text)
      expect(reload(), True)
      e = Client().send(v1()[:10])
      time.sleep(0.05)
      edit(text[:text.index("local function told")]
          + 'return rw.server("unix:" .. rw.config.dir .. "/t", web.Site())')
      expect(reload(), True)
      e.ended()
    ]]
  end)

  it("is what haproxy talks to with send-proxy and send-proxy-v2", function()
    start()
    local front, config = {}, { "defaults", "  mode tcp", "  timeout connect 5s", "  timeout client 5s",
      "  timeout server 5s" }
    for i, how in ipairs { "send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id" } do
      front[i] = e2e.free_port()
      table.insert(config, ("listen l%d\n  bind 127.0.0.1:%d\n  unique-id-format id-%d\n  server s 127.0.0.1:%d %s")
        :format(i, front[i], i, child.port, how))
    end
    e2e.write(dir .. "/haproxy.cfg", table.concat(config, "\n") .. "\n")
    local pid = e2e.shell(("haproxy -f %s/haproxy.cfg >%s/haproxy.log 2>&1 & echo $!"):format(dir, dir)):match "%d+"
    local ok, err = pcall(function()
      for i, port in ipairs(front) do
        local out
        e2e.wait(function()
          out = e2e.curl("--local-port", tostring(e2e.free_port()), ("http://127.0.0.1:%d/"):format(port))
          return out:find "via"
        end, 5)
        local peer, host, version = out:match "^127%.0%.0%.1:(%d+) 127%.0%.0%.1:(%d+) v(%d) via 127%.0%.0%.1"
        assert.truthy(peer, out .. e2e.read(dir .. "/haproxy.log"))
        assert.equal(tostring(port), host)
        assert.equal(i == 1 and "1" or "2", version)
      end
    end)
    e2e.shell("kill " .. pid)
    assert(ok, err)
  end)
end)
