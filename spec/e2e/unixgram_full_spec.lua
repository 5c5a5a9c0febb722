-- SPDX-License-Identifier: MIT
-- UNIX datagrams to somebody who does not read.
local eventually = require("spec.support.core").eventually
local rw = require "ropewalk"
local unixgram = require "spec.support.unixgram"

local Client, Echo = unixgram.Client, unixgram.Echo
local connect, listen = unixgram.connect, unixgram.listen

-- A protocol that reads one batch, and then nothing until `go`.
local function make_slow()
  local go, Slow = rw.Deferred(), rw.DatagramProtocol:extend "Slow"
  Slow.count = 0
  function Slow:datagram_received() -- luacheck: ignore 212
    Slow.count = Slow.count + 1
    if Slow.count == 1 then go:await() end
  end
  return Slow, go
end

-- How many went, or wait, before one was dropped.
local function fill(transport, bytes, address)
  for n = 0, 100000 do
    if not transport:write(bytes, address) then return n end
  end
  error "the queue has no end"
end

describe("A UNIX datagram socket whose receivers do not read", function()
  local dir, path
  before_each(function()
    dir = rw.testing.temp_dir()
    path = dir .. "/s"
  end)

  it("keeps a share for each receiver that does not read, and serves the others", function()
    local Slow, go = make_slow()
    local slow = listen(Slow, dir .. "/slow:max_datagram_tasks=1")
    local fillers, total = {}, 0
    for n = 1, 3 do -- the send buffer of one may be too small for the slow one's queue
      fillers[n] = listen(Client, ("%s/filler%d:max_datagram_queue=2000"):format(dir, n))
    end
    for _ = 1, 2 do -- before and after it has stopped to read
      for _, each in ipairs(fillers) do total = total + fill(each.protocol.transport, "x", slow.address) end
      rw.sleep(0.1):await()
    end
    local port = listen(Echo, path .. ":max_datagram_queue=800000")
    local before = rw.stats().datagrams_dropped
    local sent = fill(port.protocol.transport, "x", slow.address)
    assert.is_true(sent > 500 and sent < 1000, sent)
    assert.equal(1, rw.stats().datagrams_dropped - before)
    local client = connect(path)
    for n = 1, 100 do
      client.transport:write("hello " .. n)
      assert.equal("hello " .. n, client.more:get():await())
    end
    go:callback()
    eventually(function() return Slow.count == total + sent end)
    client.transport:lose_connection()
    for _, each in ipairs(fillers) do each:close():await() end
    slow:close():await()
    port:close():await()
  end)

  it("loses nothing when somebody fills the system's buffer, and goes on when that one reads", function()
    local Slow, go = make_slow()
    local port = listen(Echo, path .. ":max_datagram_queue=800000")
    local slow = connect(path .. ":max_datagram_tasks=1", Slow)
    local client = connect(path)
    local sent = fill(port.protocol.transport, ("x"):rep(1000), slow.transport.host)
    rw.sleep(0.1):await()
    sent = sent + fill(port.protocol.transport, ("x"):rep(1000), slow.transport.host)
    for n = 1, 20 do client.transport:write("hello " .. n) end
    rw.sleep(0.1):await()
    go:callback()
    for n = 1, 20 do assert.equal("hello " .. n, client.more:get():await()) end
    eventually(function() return Slow.count == sent end)
    slow.transport:lose_connection()
    client.transport:lose_connection()
    port:close():await()
  end)

  it("answers a burst, in order", function()
    local port = listen(Echo, path)
    local client = connect(path)
    for n = 1, 2000 do assert.is_true(client.transport:write(tostring(n))) end
    for n = 1, 2000 do assert.equal(tostring(n), client.more:get():await()) end
    client.transport:lose_connection()
    port:close():await()
  end)

  it("has queues for 64 receivers", function()
    local port, quiet = listen(Echo, path .. ":max_datagram_queue=100000000"), {}
    local Quiet = rw.DatagramProtocol:extend "Quiet"
    function Quiet:start_protocol() rw.Deferred():await() end -- luacheck: ignore 212
    local transport, full = port.protocol.transport, 0
    for n = 1, 70 do
      quiet[n] = listen(Quiet, ("%s/%d"):format(dir, n))
      for _ = 1, 1000 do -- more than the system keeps
        if not transport:write("x", quiet[n].address) then
          full = full + 1
          break
        end
      end
    end
    assert.equal(6, full)
    for _, each in ipairs(quiet) do each:close():await() end
    local client = connect(path)
    eventually(function() return transport:write("hello", client.transport.host) end)
    assert.equal("hello", client.more:get():await())
    client.transport:lose_connection()
    port:close():await()
  end)

  it("keeps what its peer does not read yet, up to max_datagram_queue", function()
    local Slow, go = make_slow()
    local port = listen(Slow, path .. ":max_datagram_tasks=1")
    local client, sent = connect(path .. ":max_datagram_queue=100000"), 0
    for _ = 1, 2 do -- before and after it has stopped to read
      sent = sent + fill(client.transport, ("x"):rep(1000))
      rw.sleep(0.1):await()
    end
    assert.is_true(sent > 80)
    go:callback()
    eventually(function() return Slow.count == sent end)
    client.transport:lose_connection()
    port:close():await()
  end)
end)
