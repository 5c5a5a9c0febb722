-- SPDX-License-Identifier: MIT
-- Who an endpoint with ACME lets see what: challenges are no guests of the script's,
-- certificates on demand are listed, and a check leaves nothing behind.
local acme = require "spec.support.acme"
local core = require "ropewalk.core"
local e2e = require "spec.support.e2e"

describe("An endpoint with ACME", function()
  after_each(e2e.finish)

  local THERE <const> = "the certificate is there"

  -- A factory that says whom it sees, and answers the first byte.
  local GUESTS <const> = [[
local Guest = rw.Protocol:extend "Guest"
%s
function Guest:data_received() self.transport:write "hello\n" end
local factory = rw.Factory:for_protocol(Guest)
local function tell()  -- it is known once it listens
  if factory.lazy == nil then rw.call_later(0.02, tell)
  else rw.log.info("lazy: {lazy}", { lazy = factory.lazy }) end
end
tell()
return rw.server(rw.config.at, factory)]]
  local SEEN <const> = [[
function Guest:connection_made() rw.log.info "a guest is made" end
function Guest:connection_lost() rw.log.info "a guest is lost" end]]
  local UNSEEN <const> = [[function Guest:handshake_completed() rw.log.info "a guest is made" end]]

  local function count(text, what) return select(2, text:gsub(what, "")) end

  for kind, hooks in pairs { ["one that is made at once"] = SEEN, ["a lazy one"] = UNSEEN } do
    it("shows challenges to no factory: " .. kind, function()
      local authority = acme.authority()
      local site = acme.site(authority, "a.test", { script = GUESTS:format(hooks) })
      site:await_log(THERE, 30)
      assert.truthy(site:log():find(" lazy=" .. tostring(hooks == UNSEEN), 1, true), site:log())
      assert.same({ "tls-alpn-01 a.test" }, authority:facts().validated)
      e2e.python(([[
      import ssl
      context = ssl.create_default_context(cafile="%s")
      def connect(): return socket.create_connection(("127.0.0.1", PORT), PATIENCE)
      # a challenge that nobody expects, one that stops, one that is cut, garbage
      bad = ssl.create_default_context()
      bad.set_alpn_protocols(["acme-tls/1"])
      try: bad.wrap_socket(connect(), server_hostname="a.test")
      except ssl.SSLError as e: expect_in(str(e).lower().replace(" ", "_"), "unrecognized_name")
      connect().close()
      cut = connect()
      cut.sendall(b"\x16\x03\x01\x02\x00\x01")
      cut.close()
      plain = connect()
      plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
      expect(len(plain.recv(100)) < 20, True)
      expect(log().count("a guest is made"), 0)
      with context.wrap_socket(connect(), server_hostname="a.test") as s:
          s.sendall(b"x")
          expect(s.recv(100), b"hello\n")
      ]]):format(site.ca), site)
      site:await_log "a guest is made"
      if hooks == SEEN then site:await_log "a guest is lost" end
      assert.equal(1, count(site:log(), "a guest is made"))
    end)
  end

  it("goes on with a handshake that a reload comes into, as the code that began it", function()
    local authority = acme.authority()
    local site = acme.site(authority, "a.test", { script = GUESTS:format(SEEN) })
    site:await_log(THERE, 30)
    e2e.python(([[
      import ssl
      context = ssl.create_default_context(cafile="%s")
      raw = socket.create_connection(("127.0.0.1", PORT), PATIENCE)
      i, o = ssl.MemoryBIO(), ssl.MemoryBIO()
      s = context.wrap_bio(i, o, server_hostname="a.test")
      try: s.do_handshake()
      except ssl.SSLWantReadError: pass
      hello = o.read()
      raw.sendall(hello[:20])
      time.sleep(0.2)
      open(APP + "~", "w").write(open(APP).read().replace("hello", "other"))
      os.rename(APP + "~", APP)
      expect(reload(), True)
      raw.sendall(hello[20:])
      while True:
          try:
              s.do_handshake()
              break
          except ssl.SSLWantReadError:
              if o.pending: raw.sendall(o.read())
              i.write(raw.recv(100000))
      s.write(b"x")
      raw.sendall(o.read())
      while True:
          try:
              expect(s.read(100), b"hello\n")
              break
          except ssl.SSLWantReadError: i.write(raw.recv(100000))
    ]]):format(site.ca), site)
    assert.equal(1, count(site:log(), "a guest is made"))
  end)

  it("lists certificates on demand, apart from those that have to last", function()
    local authority = acme.authority()
    local site = acme.site(authority, "unused.test", { script = [[
local site = web.Site()
site:get("/", function()
  return web.json { list = rw.tls.certificates(), expiry = rw.stats().tls_certificate_expiry }
end)
return rw.server(rw.acme.over("tcp:127.0.0.1:" .. rw.config.port, { hosts = { "a.test" },
  allow = function() return true end, store = rw.config.store, directory = rw.config.directory,
  directory_ca = rw.config.ca }), site)]] })
    site:await_log(THERE, 30)
    local function certificates(name) return assert(core.json_decode(acme.curl(site, name))) end
    local found = certificates "a.test"
    assert.equal(1, #found.list)
    assert.equal(found.list[1].not_after, found.expiry)
    found = certificates "b.test"
    local expiry = found.expiry
    assert.equal(2, #found.list)
    table.sort(found.list, function(a, b) return a.names[1] < b.names[1] end)
    local own, other = found.list[1], found.list[2]
    assert.same({ "a.test" }, own.names)
    assert.is_nil(own.on_demand)
    assert.equal(expiry, own.not_after)
    assert.same({ "b.test" }, other.names)
    assert.is_true(other.on_demand)
    assert.equal(site.store .. "/b.test.pem", other.file)
    assert.is_true(other.not_after > os.time())
    assert.equal(64, #other.fingerprint)
  end)

  it("has no place on the disk for a check", function()
    local dir = e2e.directory()
    local app = dir .. "/app.lua"
    local function check(store)
      e2e.write(app, e2e.script(([[
local site, plain = web.Site(), web.Site()
plain:mount("/.well-known/acme-challenge", rw.acme.http01_resource("%s"))
return { rw.server("tls:127.0.0.1:0:acme=none:host=a.test:http01=yes:store=%s", site),
  rw.server("tls:127.0.0.1:0:cert=%s/localhost.pem:key=%s/localhost.key:insecurely_log_session_keys_to=%s/keys", site),
  rw.server(rw.acme.over("tcp:127.0.0.1:0", { allow = print, store = "%s2" }), site) }]])
        :format(store, store, dir, dir, dir, store)))
      return e2e.ropewalk("check", app)
    end
    assert.equal(0, select(2, e2e.ropewalk("cert", "self", "localhost", "--dir", dir)))
    for _, store in ipairs { dir .. "/store", "store" } do
      local out, status = check(store)
      assert.equal(0, status, out)
    end
    e2e.shell("rm " .. app)
    local function listed() return (e2e.shell("ls " .. dir .. "; ls -d store store2 2>/dev/null")) end
    assert.equal("localhost.key\nlocalhost.pem\n", listed())
    local out, status = check(dir .. "/none/store")
    assert.equal(1, status)
    assert.truthy(out:find(dir .. "/none/store: cannot be opened", 1, true), out)
    -- what is there is read, and left: a challenge of long ago, too
    e2e.shell(("mkdir -m 700 %s/store && touch -d @1000000 %s/store/http-x.challenge"):format(dir, dir))
    out, status = check(dir .. "/store")
    assert.equal(0, status, out)
    assert.equal("http-x.challenge\n", (e2e.shell("ls " .. dir .. "/store")))
  end)
end)
