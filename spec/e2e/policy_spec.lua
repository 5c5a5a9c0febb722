-- SPDX-License-Identifier: MIT
-- Policies as an operator has them: by the script, or by the endpoint alone.
local e2e = require "spec.support.e2e"

local ECHO <const> = [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write(bytes) end
]]

describe("A policy", function()
  local child
  after_each(e2e.finish)

  local SITE <const> = [[
local site = web.Site()
site:get("/big", function() return ("x"):rep(300000) end)
site:get("/hi", function() return "hi" end)
site:put("/up", function(request)
  local n = 0
  for piece in request:chunks() do n = n + #piece end
  return tostring(n)
end)
]]

  local function seconds(path, ...)
    local output = e2e.curl(("http://127.0.0.1:%d%s"):format(child.port, path), "-o", "/dev/null",
      "-w", "%{http_code} %{size_download} %{time_total}", ...)
    local status, size, time = output:match "^(%d+) (%d+) ([%d.]+)"
    return tonumber(time), tonumber(status), tonumber(size)
  end

  it("throttles what a site sends, a file as well", function()
    child = e2e.start(SITE .. [[
site:mount("/files", web.static(rw.script_dir))
return rw.server("tcp:127.0.0.1:0",
  rw.policy.throttle(site, { write = 250000, burst = 50000 }))]],
      { files = { ["file.bin"] = ("f"):rep(300000) } })
    for _, path in ipairs { "/big", "/files/file.bin" } do
      local time, status, size = seconds(path)
      assert.equal(200, status)
      assert.equal(300000, size)
      assert.is_true(time > 0.9 and time < 2.5)
    end
  end)

  it("throttles what a site reads, by the endpoint alone", function()
    child = e2e.start(SITE
      .. 'return rw.server("tcp:127.0.0.1:0:read_rate=250000:rate_burst=50000", site)')
    local file = e2e.directory() .. "/up"
    e2e.write(file, ("u"):rep(300000))
    local time, status = seconds("/up", "-T", file)
    assert.equal(200, status)
    assert.is_true(time > 0.9 and time < 2.5)
    assert.is_true((seconds "/big") < 0.5) -- the other way is free
  end)

  it("shares a total fairly", function()
    child = e2e.start(SITE .. [[return rw.server("tcp:127.0.0.1:0",
      rw.policy.throttle(site, { total_write = 600000, burst = 20000 }))]])
    e2e.talk(child, [[
      times = []
      def one():
          begin = time.time()
          expect(len(Client().ask("/big").body), 300000)
          times.append(time.time() - begin)
      threads = [threading.Thread(target=one) for _ in range(4)]
      for t in threads: t.start()
      for t in threads: t.join()
      if not 1.7 < max(times) < 3.5 or min(times) < 0.75 * max(times): raise Exception(times)
    ]])
  end)

  it("limits connections, all of a port and those of one peer; another port is free", function()
    child = e2e.start(SITE .. [[
local other = rw.server("tcp:127.0.0.1:0", rw.policy.limit_connections(site, { per_peer = 1 }))
local main = rw.server("tcp:127.0.0.1:0", rw.policy.limit_connections(site, { total = 2 }))
local function tell()
  if not (other.port and main.port) then return rw.call_later(0.01, tell) end
  rw.log.info("other=" .. other.port .. " main=" .. main.port)
end
tell()
return { main, other }]])
    e2e.talk(child, [[
      wait(lambda: "other=" in log())
      other, main = map(int, re.search(r"other=(\d+) main=(\d+)", log()).groups())
      a, b = Client(main), Client(main)
      expect(a.ask("/hi").body + b.ask("/hi").body, b"hihi")
      def refused(port):
          try: return Client(port).ended()
          except ConnectionError: return "reset"
      expect(refused(main), "reset")
      c = Client(other)
      expect(c.ask("/hi").body, b"hi")
      expect(refused(other), "reset")
      a.close()
      def again():
          try: return Client(main).ask("/hi").body == b"hi"
          except (EOFError, ConnectionError): return False
      wait(again)
      wait(lambda: "limit=max_port_connections" in log() or "max_connections_per_peer" in log())
    ]])
  end)

  it("closes who is idle, site or protocol", function()
    child = e2e.start(ECHO .. SITE .. [[
local echo = rw.server("tcp:127.0.0.1:0", rw.policy.idle(rw.Factory:for_protocol(Echo), 0.3))
local main = rw.server("tcp:127.0.0.1:0", rw.policy.idle(site, 0.3))
local function tell()
  if not (echo.port and main.port) then return rw.call_later(0.01, tell) end
  rw.log.info("echo=" .. echo.port .. " main=" .. main.port)
end
tell()
return { main, echo }]])
    e2e.talk(child, [[
      wait(lambda: "echo=" in log())
      for port in map(int, re.search(r"echo=(\d+) main=(\d+)", log()).groups()):
          begin = time.time()
          expect(Client(port).ended(), "closed")
          expect_below(time.time() - begin, 2 * SLOW, "seconds")
    ]])
  end)

  it("writes down traffic, of stacked policies, and goes on when the file is full", function()
    local dir = e2e.directory()
    child = e2e.start(SITE .. ([[
local policy = rw.policy
return rw.server("tcp:127.0.0.1:0", policy.throttle(policy.traffic_log(policy.idle(site, 5),
  { path = "%s/log", max_bytes = 3000, max_record = 32 }), { write = 5e6 }))]]):format(dir))
    assert.equal("hi", child:get("/hi").body)
    local log = e2e.wait(function() -- the end comes after curl's
      local text = e2e.read(dir .. "/log")
      return text:find "#1 %- %d+ bytes in, %d+ out\n" and text
    end)
    assert.truthy(log:find("GET /hi HTTP/1.1", 1, true) or log:find("|GET /hi HTTP/1", 1, true))
    assert.truthy(log:find "#1 > %d+ bytes\n")
    for _ = 1, 10 do assert.equal(200, child:get("/hi").status) end
    assert.is_true(#e2e.read(dir .. "/log") <= 3000)
    child:await_log "traffic log ended"
    assert.equal("600", (e2e.shell("stat -c %a " .. dir .. "/log"):match "%d+"))
  end)

  it("refuses nonsense", function()
    local function check(code)
      local dir = e2e.directory()
      e2e.write(dir .. "/a.lua", e2e.script(SITE .. "local policy = rw.policy\n" .. code))
      local output, status = e2e.ropewalk("check", dir .. "/a.lua")
      assert.equal(1, status, output)
      return output
    end
    assert.truthy(check("policy.throttle(site, { speed = 1 })"):find("no option 'speed'", 1, true))
    assert.truthy(check("policy.throttle(site, { read = 0 })"):find("read must be", 1, true))
    assert.truthy(check("policy.throttle({}, { read = 1 })"):find("build_protocol", 1, true))
    assert.truthy(check("policy.idle(site, 'x')"):find("seconds", 1, true))
    assert.truthy(check("policy.traffic_log(site, { format = 'x' })"):find("hex", 1, true))
    assert.truthy(check("policy.limit_connections(site, { total = {} })"):find("total", 1, true))
  end)
end)
