-- SPDX-License-Identifier: MIT
-- Connecting to names: Happy Eyeballs, from where, and that nothing is left.
local name_server = require "spec.support.name_server"
local core = require "ropewalk.core"
local rw = require "ropewalk"
local e2e = require "spec.support.e2e"

local server

local now = core.hrtime

local function descriptors() return tonumber((e2e.shell "ls /proc/$PPID/fd | wc -l")) end

local function factory() return rw.Factory:for_protocol(rw.Protocol) end

-- Listens, and calls fn(port number, the list of accepted protocols).
local function listening(where, fn)
  local accepted = {}
  local Server = rw.Protocol:extend "Server"
  function Server:connection_made() accepted[#accepted + 1] = self end
  function Server:data_received(bytes) self.bytes = bytes end
  function Server:connection_lost(reason) self.reason = reason end
  local port = rw.listen(where, rw.Factory:for_protocol(Server)):await()
  fn(port.port, accepted)
  port:stop_listening():await()
  for _, each in ipairs(accepted) do each.transport:abort_connection() end
  rw.sleep(0.02):await()
end

-- Sockets that are closing are there for some turns of the loop.
local function back_to(count)
  for _ = 1, 200 do
    if descriptors() <= count then return true end
    rw.sleep(0.01):await()
  end
  return false
end

-- Connects, and calls fn(protocol, seconds); then closes.
local function connected(where, fn)
  local began = now()
  local client = rw.connect(where, factory()):await()
  fn(client, now() - began)
  client.transport:abort_connection()
  rw.sleep(0.02):await()
end

local function failure_of(where)
  local began = now()
  local ok, failure = pcall(function() return rw.connect(where, factory()):await() end)
  assert(not ok, "it connected")
  return failure, now() - began
end

-- A process that takes no more connections on these addresses: what comes is
-- dropped, as behind a firewall. Returns its port.
local HOLE <const> = [[
import os, socket, sys, time
hosts, held, port = sys.argv[1:], [], 0
for host in hosts:
    s = socket.socket()
    s.bind((host, port))
    port = s.getsockname()[1]
    s.listen(0)
    held.append(s)
    for _ in range(3):
        c = socket.socket()
        c.setblocking(False)
        c.connect_ex((host, port))
        held.append(c)
time.sleep(0.1)
print(port, os.getpid(), flush=True)
time.sleep(100)
]]

local function hole(hosts, fn)
  local path = os.tmpname()
  e2e.write(path, HOLE)
  local pipe = io.popen("exec python3 -S " .. path .. " " .. hosts)
  local port, pid = pipe:read("n", "n")
  rw.sleep(0):await() -- the clock stood still meanwhile
  local ok, err = xpcall(fn, rw.Failure.caught, port)
  e2e.shell("kill " .. pid)
  pipe:close()
  os.remove(path)
  if not ok then error(err, 0) end
end

describe("Connecting to a name", function()
  setup(function()
    server = name_server.start()
    rw.names.servers { server.address }
  end)
  teardown(function() server:stop() end)

  it("tries its addresses, both families in turn, until one takes it", function()
    listening("tcp:127.0.0.1:0", function(port)
      connected("tcp:list.test:" .. port, function(client, seconds)
        assert.equal("127.0.0.1", client.transport.peer.host)
        assert.is_true(seconds < 0.2, seconds)
      end)
    end)
    listening("tcp:[::1]:0", function(port)
      connected("tcp:list.test:" .. port, function(client)
        assert.equal("::1", client.transport.peer.host)
      end)
    end)
  end)

  it("says of each address why it failed", function()
    local port = e2e.free_port()
    local failure = failure_of("tcp:list.test:" .. port)
    assert.equal("ECONNREFUSED", failure.code)
    for _, address in ipairs { "[::1]", "127.0.0.201", "127.0.0.202", "127.0.0.1" } do
      assert.truthy(failure.message:find(("%s:%d: Connection refused"):format(address, port), 1, true),
        failure.message)
    end
    assert.truthy(failure_of("tcp:missing.test:80").message:find "name not found")
  end)

  it("goes on after 250 ms when an address is silent, and closes the loser", function()
    local before = descriptors()
    hole("127.0.0.201 127.0.0.202", function(port)
      listening("tcp:127.0.0.1:" .. port, function()
        connected("tcp:list.test:" .. port, function(client, seconds)
          assert.equal("127.0.0.1", client.transport.peer.host)
          assert.is_true(seconds > 0.45 and seconds < 1, seconds) -- two of them
          assert.is_true(descriptors() <= before + 4) -- the port, both ends, the hole's pipe
        end)
      end)
    end)
    assert.is_true(back_to(before))
  end)

  it("ends at its time-out with all that was tried", function()
    local before = descriptors()
    hole("127.0.0.201 127.0.0.202", function(port)
      local failure, seconds = failure_of("tcp:list.test:" .. port .. ":timeout=0.7")
      assert.equal("ETIMEDOUT", failure.code)
      assert.is_true(seconds > 0.6 and seconds < 1.2, seconds)
      assert.truthy(failure.message:find "127.0.0.201:%d+: Connection timed out")
      assert.truthy(failure.message:find "127.0.0.1:%d+: Connection refused")
    end)
    assert.is_true(back_to(before))
    local failure, seconds = failure_of "tcp:silent.test:80:timeout=0.3"
    assert.equal("ETIMEDOUT", failure.code)
    assert.is_true(seconds < 0.6, seconds)
  end)

  it("waits 50 ms for IPv6 addresses, not longer", function()
    listening("tcp:127.0.0.1:0", function(port)
      connected("tcp:latesix2000.test:" .. port, function(client, seconds)
        assert.equal("127.0.0.1", client.transport.peer.host)
        assert.is_true(seconds > 0.04 and seconds < 0.4, seconds)
      end)
    end)
    listening("tcp:0", function(port)
      connected("tcp:latesix20.test:" .. port, function(client)
        assert.equal("::1", client.transport.peer.host)
      end)
    end)
  end)

  it("takes IPv6 addresses that come late when the others fail", function()
    listening("tcp:[::1]:0", function(port)
      connected("tcp:latesix300.test:" .. port, function(client)
        assert.equal("::1", client.transport.peer.host)
      end)
    end)
  end)

  it("can be cancelled at any moment", function()
    local before = descriptors()
    listening("tcp:0", function(port, accepted)
      for _, host in ipairs { "127.0.0.1", "list.test", "latesix30.test", "localhost" } do
        for step = 0, 12 do
          local d = rw.connect(("tcp:%s:%d"):format(host, port), factory())
          if step > 0 then rw.sleep(step * 0.003):await() end
          local done = d:called()
          d:cancel()
          if done then
            d:add_callback(function(client) client.transport:abort_connection() end)
          else
            d:add_errback(function(failure) failure:trap "cancelled" end)
          end
        end
      end
      rw.sleep(0.1):await()
      for _, each in ipairs(accepted) do each.transport:abort_connection() end
      rw.sleep(0.05):await()
    end)
    assert.is_true(back_to(before))
  end)

  it("takes a name in another script", function()
    assert.equal("tcp:xn--bcher-kva.test:80", tostring(rw.endpoint.parse "tcp:Bücher.test:80"))
    listening("tcp:127.0.0.1:0", function(port)
      connected("tcp:bücher.test:" .. port, function(client)
        assert.equal("127.0.0.1", client.transport.peer.host)
      end)
    end)
  end)
end)

describe("A client endpoint", function()
  it("may say where it comes from", function()
    listening("tcp:0", function(port, accepted)
      connected("tcp:127.0.0.1:" .. port .. ":bind=127.0.0.5", function()
        assert.equal("127.0.0.5", accepted[1].transport.peer.host)
      end)
      local from = e2e.free_port()
      connected(("tcp:localhost:%d:bind=127.0.0.6\\:%d"):format(port, from), function()
        assert.equal("127.0.0.6:" .. from, tostring(accepted[2].transport.peer))
      end)
      connected("tcp:localhost:" .. port .. ":bind=[::1]", function()
        assert.equal("::1", accepted[3].transport.peer.host)
      end)
    end)
    assert.equal("EADDRNOTAVAIL", failure_of("tcp:127.0.0.1:1:bind=192.0.2.1").code)
    for _, bad in ipairs { "bind=", "bind=localhost", "bind=1.2.3.4\\:99999", "bind=[::1", "bind=[\\:\\:1]80",
      "bind=1.2.3.4\\:" } do
      local at, failure = rw.endpoint.parse("tcp:127.0.0.1:1:" .. bad)
      assert.is_nil(at)
      assert.equal("bad_endpoint", failure.code)
    end
  end)

  it("may have a zone", function()
    listening("tcp:[::1]:0", function(port, accepted)
      connected(("tcp:[::1%%lo]:%d"):format(port), function() assert.equal(1, #accepted) end)
    end)
    assert.equal("ENODEV", failure_of("tcp:[fe80::1%nosuchif]:1").code)
  end)

  it("may be a descriptor that is connected already", function()
    listening("tcp:127.0.0.1:0", function(port, accepted)
      local path = os.tmpname()
      e2e.write(path, e2e.script [[
rw.call_later(0, function()
  local client = rw.connect("fd:3", rw.Factory:for_protocol(rw.Protocol)):await()
  client.transport:write "hello"
  client.transport:lose_connection()
  rw.sleep(0.1):await()
  rw.reactor:stop()
end)
return {}]])
      local pipe = io.popen(("exec bash -c 'exec 3<>/dev/tcp/127.0.0.1/%d; exec %s run %s' 2>&1"):format(
        port, e2e.quote(e2e.binary), path))
      while not (accepted[1] and accepted[1].reason) do rw.sleep(0.02):await() end
      assert.same({ "hello", "done" }, { accepted[1].bytes, accepted[1].reason.code })
      assert.is_true((pipe:close()))
      os.remove(path)
    end)
  end)
end)

describe("rw.client over a reload", function()
  after_each(e2e.finish)

  it("goes with its generation: the new one connects, the old one leaves", function()
    local APP <const> = [[
local Client = rw.LineProtocol:extend "Client"
function Client:connection_made() self:send_line("generation " .. rw.generation) end
return { rw.client(rw.config.upstream, rw.Factory:for_protocol(Client)),
  rw.server(rw.config.listen, web.Site()) }]]
    listening("tcp:127.0.0.1:0", function(port, accepted)
      local child = e2e.start(APP, { set = { upstream = "tcp:localhost:" .. port } })
      for round = 1, 3 do
        while not (accepted[round] and accepted[round].bytes) do rw.sleep(0.02):await() end
        assert.equal("generation " .. round .. "\r\n", accepted[round].bytes)
        if accepted[round - 1] then
          while not accepted[round - 1].reason do rw.sleep(0.02):await() end
          assert.equal("done", accepted[round - 1].reason.code)
        end
        if round < 3 then assert.is_true((child:reload())) end
      end
      assert.equal(3, #accepted)
    end)
  end)
end)
