-- SPDX-License-Identifier: MIT
-- Endpoints other than TCP, and running out of descriptors.
local e2e = require "spec.support.e2e"

describe("A unix endpoint", function()
  after_each(e2e.finish)

  local SITE <const> = [[
local site = web.Site()
site:get("/", function(request) return request.peer.kind .. "\n" end)
return rw.server(rw.config.listen, site)]]

  local function start(path, options)
    local child = e2e.start(SITE, { wait = false, set = { listen = "unix:" .. path .. (options or "") } })
    child:await_log "listening"
    return child
  end

  local function ask(path) return (e2e.curl("--unix-socket", path, "http://x/")) end

  it("serves, with the mode asked for, and cleans up", function()
    local path = e2e.directory() .. "/s.sock"
    local child = start(path, ":mode=600")
    assert.equal("unix\n", ask(path))
    assert.equal("600 socket\n", (e2e.shell("stat -c '%a %F' " .. path)))
    assert.equal(0, (child:stop()))
    assert.equal(1, select(2, e2e.shell("test -e " .. path)))
  end)

  it("takes the place of a stale socket, not of a live one nor of a file", function()
    local path = e2e.directory() .. "/s.sock"
    local child = start(path)
    child:signal "KILL"
    child:stop()
    child.pid = nil -- finish need not look at it
    assert.equal(0, select(2, e2e.shell("test -S " .. path)))
    start(path)
    assert.equal("unix\n", ask(path))
    local app = e2e.directory() .. "/app.lua"
    e2e.write(app, e2e.script(SITE))
    local out, status = e2e.ropewalk("run", app, "--set", "listen=unix:" .. path)
    assert.equal(1, status)
    assert.truthy(out:find("Address already in use", 1, true), out)
    assert.equal("unix\n", ask(path))
    out, status = e2e.ropewalk("run", app, "--set", "listen=unix:" .. app)
    assert.equal(1, status, out)
    assert.equal(e2e.script(SITE), e2e.read(app))
  end)

  it("may be abstract, and belong to somebody", function()
    local name = "@ropewalk-e2e-" .. e2e.free_port()
    local child = start(name)
    assert.equal("unix\n", (e2e.curl("--abstract-unix-socket", name:sub(2), "http://x/")))
    assert.equal(0, (child:stop()))
    local path = e2e.directory() .. "/s.sock"
    local me, id = e2e.shell "id -un":match "%S+", e2e.shell "id -g":match "%S+"
    start(path, (":user=%s:group=%s:mode=620"):format(me, id))
    assert.equal(me .. " " .. id .. " 620\n", (e2e.shell("stat -c '%U %g %a' " .. path)))
    assert.equal("unix\n", ask(path))
    local app = e2e.directory() .. "/app.lua"
    e2e.write(app, e2e.script(SITE))
    -- of 32 bits of these numbers one would be root, the other "as it is"
    for _, who in ipairs { "user=no-such-user", "user=4294967296", "group=4294967295" } do
      local out, status = e2e.ropewalk("run", app, "--set", "listen=unix:" .. path .. "2:" .. who)
      assert.equal(1, status)
      assert.truthy(out:find("no such user or group", 1, true), out)
      assert.equal(1, select(2, e2e.shell("test -e " .. path .. "2")))
    end
  end)

  it("stays through a reload", function()
    local path = e2e.directory() .. "/s.sock"
    local child = start(path)
    for _ = 1, 3 do
      assert.is_true((child:reload()))
      assert.equal("unix\n", ask(path))
    end
  end)
end)

describe("A stdio endpoint", function()
  after_each(e2e.finish)

  it("talks over pipes, to the last byte, and ends with its peer", function()
    local dir = e2e.directory()
    e2e.write(dir .. "/app.lua", e2e.script [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write(bytes) end
return rw.server("stdio:", rw.Factory:for_protocol(Echo))]])
    local run = e2e.quote(e2e.binary) .. " run " .. dir .. "/app.lua 2>" .. dir .. "/log"
    assert.equal("hello\n", (e2e.shell("echo hello | timeout 10 " .. run)))
    local sums, status = e2e.shell(([[
      head -c 3000000 /dev/urandom >%s/in
      timeout 20 %s <%s/in | md5sum
      timeout 20 sh -c 'cat %s/in | %s' | md5sum
      md5sum <%s/in]]):format(dir, run, dir, dir, run, dir))
    assert.equal(0, status)
    local first, second, third = sums:match "(%x+).-\n(%x+).-\n(%x+)"
    assert.same({ third, third }, { first, second }, e2e.read(dir .. "/log"))
  end)
end)

describe("The end of a stdio endpoint", function()
  after_each(e2e.finish)

  it("is seen by who reads from it, while the process goes on", function()
    local dir = e2e.directory()
    e2e.write(dir .. "/app.lua", e2e.script [[
local Once = rw.LineProtocol:extend "Once"
function Once:line_received(line)
  self:send_line(line .. " from " .. self.transport.peer.kind)
  self.transport:lose_connection()
end
return { rw.server("stdio:", rw.Factory:for_protocol(Once)), rw.server("unix:" .. rw.config.path, web.Site()) }]])
    local run = ("%s run %s/app.lua --set path=%s/s 2>%s/log"):format(e2e.quote(e2e.binary), dir, dir, dir)
    -- cat ends when its last writer is gone; the server is still there then
    local out = e2e.shell(([[
      mkfifo %s/in
      { %s <%s/in & echo $! >&3; } 3>%s/pid | cat &
      reader=$!
      exec 4>%s/in
      echo hello >&4
      timeout 5 tail --pid=$reader -f /dev/null || echo "cat waits"
      test -S %s/s && echo "still there"
      kill $(cat %s/pid)]]):format(dir, run, dir, dir, dir, dir, dir))
    assert.equal("hello from stdio\r\nstill there\n", out)
  end)

  it("ends a connection of inetd's", function()
    local dir = e2e.directory()
    e2e.write(dir .. "/app.lua", e2e.script [[
local Once = rw.LineProtocol:extend "Once"
function Once:line_received(line)
  self:send_line(line)
  self.transport:lose_connection()
end
return rw.server("stdio:", rw.Factory:for_protocol(Once))]])
    local port = e2e.free_port()
    local pid = e2e.shell(([[
      socat tcp-listen:%d,bind=127.0.0.1,reuseaddr,fork exec:'%s run %s/app.lua' >%s/log 2>&1 &
      echo $!]])
      :format(port, e2e.binary, dir, dir)):match "%d+"
    local ok, err = pcall(e2e.python, ([[
      def connect():
          try: return Client(%d)
          except ConnectionRefusedError: return None
      c = wait(connect)
      expect(c.send("hello\n").rest(), b"hello\r\n")
    ]]):format(port))
    e2e.shell("kill " .. pid)
    assert(ok, err)
  end)
end)

describe("A tcp endpoint", function()
  after_each(e2e.finish)

  local SITE <const> = [[
local site = web.Site()
site:get("/", function(request) return request.peer.host .. "\n" end)
return rw.server(rw.config.listen, site)]]

  local function start(listen)
    local child = e2e.start(SITE, { wait = false, set = { listen = listen } })
    child:await_log "listening"
    return child, child:log():match "listening endpoint=tcp:%S-:(%d+) "
  end
  local function ask(host, port)
    return (e2e.curl(("http://%s:%s/"):format(host, port)):gsub("\n", ""))
  end
  local has_v6 = select(2, e2e.shell "test -e /proc/net/if_inet6") == 0
    and e2e.shell("cat /proc/net/if_inet6"):find "lo" ~= nil

  it("without a host has both families, and IPv4 peers have IPv4 addresses", function()
    local _, port = start "tcp:0"
    assert.equal("127.0.0.1", ask("127.0.0.1", port))
    if has_v6 then assert.equal("::1", ask("[::1]", port)) end
  end)

  it("of a name has each of its addresses, with one port", function()
    local child, port = start "tcp:localhost:0"
    assert.equal("127.0.0.1", ask("127.0.0.1", port))
    local _, lines = child:log():gsub("listening endpoint", "")
    assert.equal(1, lines)
    if has_v6 and e2e.shell("getent ahosts localhost"):find("::1", 1, true) then
      assert.equal("::1", ask("[::1]", port))
      assert.truthy(child:log():find("also=tcp:", 1, true), child:log())
    end
  end)

  if has_v6 then
    it("takes ipv6only=1", function()
      local _, port = start "tcp:[::]:0:ipv6only=1"
      assert.equal("::1", ask("[::1]", port))
      assert.equal(7, select(2, e2e.curl(("http://127.0.0.1:%s/"):format(port))))
    end)
  end

  it("takes reuseport=1, keepalive= and nodelay=", function()
    local _, port = start "tcp:127.0.0.1:0:reuseport=1:keepalive=7:nodelay=0"
    start("tcp:127.0.0.1:" .. port .. ":reuseport=1")
    for _ = 1, 20 do assert.equal("127.0.0.1", ask("127.0.0.1", port)) end
    local out, status = e2e.ropewalk("run", (function()
      local path = e2e.directory() .. "/app.lua"
      e2e.write(path, e2e.script(SITE))
      return path
    end)(), "--set", "listen=tcp:127.0.0.1:" .. port)
    assert.equal(1, status)
    assert.truthy(out:find("Address already in use", 1, true), out)
  end)
end)

describe("Running out of descriptors", function()
  after_each(e2e.finish)

  local SITE <const> = [[
local site = web.Site()
site:get("/", function() return "ok\n" end)
return rw.server("tcp:127.0.0.1:0", site)]]

  for _, limit in ipairs { 64, 1024 } do
    it(("at %d is survived, at little cost, and is over when they are back"):format(limit), function()
      local child = e2e.start(SITE, { shell = "ulimit -n " .. limit })
      e2e.talk(child, ([[
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (4000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        first = Client()
        expect(first.ask().status, 200)
        crowd = [Client() for _ in range(%d + 100)]
        time.sleep(0.2)
        before = processor()
        time.sleep(1)
        expect_below(processor() - before, 0.3 * SLOW, "processor time in one second")
        expect(first.ask().status, 200, "who was there before is served,")
        for c in crowd: c.close()
        def served():
            try:
                with Client() as c: return c.ask().status == 200
            except (ConnectionError, EOFError):
                return False
        wait(served, 3)
        for _ in range(20): expect(served(), True)
        expect_in(log(), "warn")
      ]]):format(limit))
    end)
  end
end)
