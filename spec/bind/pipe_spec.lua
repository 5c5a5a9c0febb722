-- SPDX-License-Identifier: MIT
-- rw.pipe over real sockets; all ends live in this process.
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local Collector, connected, eventually, fails = ends.Collector, ends.connected, ends.eventually, ends.fails

local BLOCK <const> = ("0123456789abcdef"):rep(4096) -- 64 KiB

describe("rw.pipe", function()
  after_each(ends.close)

  it("joins two connections in both directions until both have ended", function()
    local path = os.tmpname()
    os.remove(path)
    for _, where in ipairs { "tcp:127.0.0.1:0", "unix:" .. path } do
      local a, left = connected()
      local b, right = connected(nil, where)
      right.stays = true
      local d = rw.pipe(a, b.transport)
      left.transport:write "to the right"
      right.transport:write "to the left"
      eventually(function() return right:text() == "to the right" end)
      eventually(function() return left:text() == "to the left" end)
      left.transport:lose_write() -- the end goes through, alone
      eventually(function() return right.eof end)
      right.transport:write ", still"
      eventually(function() return left:text() == "to the left, still" end)
      assert.is_false(d:called())
      right.transport:lose_connection()
      assert.same({ sent = 12, received = 18 }, d:await())
      assert.is_true(left.ended:await().reason.clean)
      assert.is_false(a.transport.connected)
    end
  end)

  it("sends ahead what was read before and not yet seen", function()
    local First = rw.LineProtocol:extend "First"
    local b, right = connected()
    local joined
    function First:line_received(line)
      self.head = line
      joined = rw.pipe(self, b)
    end
    local _, left = connected(First)
    left.transport:write "CONNECT\r\nline\r\nand more"
    eventually(function() return right:text() == "line\r\nand more" end)
    left.transport:write "."
    eventually(function() return right:text() == "line\r\nand more." end)
    left.transport:lose_connection()
    assert.equal(15, joined:await().sent)
  end)

  it("takes what came while a hook waited, and the end", function()
    local b, right = connected()
    right.stays = true
    local Slow = rw.Protocol:extend "Slow"
    local moved
    function Slow:connection_made()
      rw.sleep(0.05):await()
      moved = rw.pipe(self, b):await()
    end
    local _, left = connected(Slow)
    left.transport:write "early"
    left.transport:lose_write()
    eventually(function() return right.eof end)
    assert.equal("early", right:text())
    right.transport:lose_connection()
    eventually(function() return moved end)
    assert.same({ sent = 5, received = 0 }, moved)
  end)

  it("holds little when one side does not read, and loses nothing", function()
    local a, left = connected()
    local b, right = connected()
    right.transport:pause_producing()
    local d = rw.pipe(a, b)
    local written = 0
    rw.spawn(function()
      for _ = 1, 800 do -- 50 MiB
        left.transport:write(BLOCK)
        left.transport:drained()
        written = written + #BLOCK
      end
      left.transport:lose_write()
    end)
    rw.sleep(0.3):await()
    assert.is_true(written < 20 * 1024 * 1024)
    assert.is_true(b.transport.buffered <= 128 * 1024)
    assert.is_true(a.transport.buffered == 0)
    right.transport:resume_producing()
    assert.equal(800 * #BLOCK, d:await().sent)
    eventually(function() return right.size == 800 * #BLOCK end)
    assert.is_true(right:text() == BLOCK:rep(800))
  end)

  it("fails when a side is lost, and resets the other", function()
    local a, left = connected()
    local b, right = connected()
    local d = rw.pipe(a, b)
    left.transport:write "half"
    eventually(function() return right.size == 4 end)
    left.transport:abort_connection()
    local failure = fails(d)
    assert.equal("ECONNRESET", failure.code)
    assert.equal(4, failure.sent)
    assert.equal("lost", right.ended:await().reason.code)
  end)

  it("ends when nothing moves, but not while a slow reader takes its time", function()
    local a, left = connected()
    local b, right = connected()
    local d = rw.pipe(a, b, { idle = 0.15 })
    for _ = 1, 6 do
      rw.sleep(0.05):await()
      right.transport:write "."
    end
    assert.is_false(d:called())
    assert.equal("ETIMEDOUT", fails(d).code)
    assert.equal("lost", left.ended:await().reason.code)
    assert.equal(6, left.size)
    assert.equal("lost", right.ended:await().reason.code)
  end)

  it("tears both down when it is cancelled", function()
    local a, left = connected()
    local b, right = connected()
    local d = rw.pipe(a, b)
    rw.sleep(0.02):await()
    d:cancel()
    assert.equal("cancelled", fails(d).code)
    assert.equal("lost", left.ended:await().reason.code)
    assert.equal("lost", right.ended:await().reason.code)
    a, left = connected()
    d = rw.pipe(a, (connected()))
    d:cancel() -- before it has begun
    assert.equal("cancelled", fails(d).code)
    assert.equal("lost", left.ended:await().reason.code)
  end)

  it("with one way, leaves both to their protocols at its end", function()
    local Asking = Collector:extend "Asking"
    Asking.stays = true
    local a, left = connected(Asking)
    local b, right = connected(Asking)
    right.stays, left.stays = true, true
    local d = rw.pipe(a, b, { one_way = true, keep_end = true })
    left.transport:write "body"
    right.transport:write "for b"
    eventually(function() return b:text() == "for b" end)
    left.transport:lose_write()
    assert.same({ sent = 4, received = 0 }, d:await())
    eventually(function() return a.eof end) -- told to its protocol
    assert.is_nil(right.eof)
    b.transport:write " and tail"
    eventually(function() return right:text() == "body and tail" end)
    a.transport:write "thanks"
    eventually(function() return left:text() == "thanks" end)
    for _, each in ipairs { a, b, left, right } do each.transport:lose_connection() end
  end)

  it("with one way, fails when the other side goes away, and gives back the first", function()
    local a, left = connected(Collector)
    local b, right = connected()
    local d = rw.pipe(a, b, { one_way = true })
    right.transport:abort_connection()
    assert.equal("ECONNRESET", fails(d).code)
    left.transport:write "hello"
    eventually(function() return a:text() == "hello" end)
    left.transport:lose_connection()
  end)

  it("refuses what cannot be joined", function()
    local a, left = connected()
    local b = connected()
    assert.has_error(function() rw.pipe(a, a) end)
    assert.has_error(function() rw.pipe(a, "b") end)
    assert.has_error(function() rw.pipe(a, b, "options") end)
    for _, options in ipairs { { idel = 5 }, { idle = "5" }, { one_way = 1 } } do
      assert.has_error(function() rw.pipe(a, b, options) end)
      assert.has_error(function() rw.Forwarder("tcp:127.0.0.1:1", options) end)
    end
    local string_, far = connected(rw.NetstringProtocol)
    local ok, why = pcall(rw.pipe, a, string_)
    assert.is_false(ok)
    assert.truthy(tostring(why):find("netstring", 1, true))
    far.transport:lose_connection()
    local d = rw.pipe(a, b)
    assert.has_error(function() rw.pipe(b, a) end)
    left.transport:lose_connection()
    d:await()
    assert.equal("RW_ECLOSED", fails(rw.pipe(a, b)).code)
  end)
end)

describe("A pipe of one way out of a protocol that has read ahead", function()
  after_each(ends.close)

  local function read_ahead(class, hook, waits)
    local b, far_b = ends.connected(rw.Protocol)
    local Source, seen = class:extend "Source", {}
    Source[hook] = function(self, text)
      seen[#seen + 1] = text
      if #seen > 1 then return end
      rw.pipe(self.transport, b.transport, { one_way = true }):add_callback(function(moved)
        seen[#seen + 1] = moved.sent
      end)
      if waits then rw.sleep(0.05):await() end
    end
    function Source:read_connection_lost() seen[#seen + 1] = "eof" end -- luacheck: ignore 212
    local a, far_a = ends.connected(Source)
    far_a.transport:write "go\r\nahead\r\nahe"
    rw.sleep(0.02):await()
    far_a.transport:write "ad\r\n"
    far_a.transport:lose_write()
    ends.eventually(function() return seen[#seen] == "eof" end)
    local text = far_b:text()
    a.transport:abort_connection()
    b.transport:abort_connection()
    return seen, text
  end

  it("passes that on once: afterwards the protocol does not see it", function()
    for _, waits in ipairs { false, true } do
      local seen, text = read_ahead(rw.LineProtocol, "line_received", waits)
      assert.same({ "go", 14, "eof" }, seen)
      assert.equal("ahead\r\nahead\r\n", text)
      seen = read_ahead(rw.Protocol, "data_received", waits)
      assert.same({ "go\r\nahead\r\nahe", 4, "eof" }, seen)
    end
  end)
end)
