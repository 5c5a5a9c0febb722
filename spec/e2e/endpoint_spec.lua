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
