-- SPDX-License-Identifier: MIT
-- rw.pipe and rw.FileSender over real sockets; all ends live in this process.
local rw = require "ropewalk"

--- Collects what it gets; `made`, `lost` are told.
local Collector = rw.Protocol:extend "Collector"
function Collector:init() self.pieces, self.size, self.ended = {}, 0, rw.Deferred() end
function Collector:data_received(bytes)
  self.pieces[#self.pieces + 1] = bytes
  self.size = self.size + #bytes
end
function Collector:read_connection_lost()
  self.eof = true
  if not self.stays then self.transport:lose_connection() end
end
function Collector:connection_lost(reason) self.ended:callback { reason = reason } end
function Collector:text() return table.concat(self.pieces) end

local ports = {}

--- A connection: our end of it (of the class), and the other, a Collector.
local function connected(class, where)
  local made = rw.Deferred()
  local Server = (class or rw.Protocol):extend "Server"
  local before = Server.connection_made
  function Server:connection_made()
    made:callback { self }
    return before(self)
  end
  local port = rw.listen(where or "tcp:127.0.0.1:0", rw.Factory:for_protocol(Server)):await()
  ports[#ports + 1] = port
  local at = port.address.kind == "unix" and "unix:" .. port.address.path
    or "tcp:127.0.0.1:" .. port.address.port
  local far = rw.connect(at, rw.Factory:for_protocol(Collector)):await()
  return made:await()[1], far
end

local function eventually(condition)
  for _ = 1, 500 do
    if condition() then return end
    rw.sleep(0.01):await()
  end
  error("it did not happen", 2)
end

local function fails(d)
  local ok, failure = pcall(d.await, d)
  assert.is_false(ok)
  return failure
end

local function close_ports()
  for _, port in ipairs(ports) do port:close():await() end
  ports = {}
end

local BLOCK <const> = ("0123456789abcdef"):rep(4096) -- 64 KiB

describe("rw.pipe", function()
  after_each(close_ports)

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
    left.transport:lose_connection()
    right.transport:lose_connection()
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

describe("rw.FileSender", function()
  local path, content
  setup(function()
    path = os.tmpname()
    local parts = {}
    for i = 1, 3000 do parts[i] = ("%06d"):format(i):rep(150) end
    content = table.concat(parts)
    local f = assert(io.open(path, "wb"))
    f:write(content)
    f:close()
  end)
  teardown(function() os.remove(path) end)
  after_each(close_ports)

  it("sends a file, and lose_connection waits for it", function()
    local a, left = connected()
    local d = rw.FileSender():begin_file_transfer(path, a.transport)
    a.transport:lose_connection()
    assert.equal(#content, d:await())
    assert.is_true(left.ended:await().reason.clean)
    assert.is_true(left:text() == content)
  end)

  it("sends a part of it, and what a transform makes of it", function()
    local a, left = connected()
    rw.FileSender({ offset = 900, length = 1800 }):begin_file_transfer(path, a.transport):await()
    eventually(function() return left.size == 1800 end)
    assert.equal(content:sub(901, 2700), left:text())
    local sent = rw.FileSender({ length = 200000 }):begin_file_transfer(path, a.transport,
      function(bytes) return bytes:gsub("0", "zero") end):await()
    local want = content:sub(1, 200000):gsub("0", "zero")
    assert.equal(#want, sent)
    eventually(function() return left.size == 1800 + sent end)
    assert.is_true(left:text():sub(1801) == want)
    left.transport:lose_connection()
  end)

  it("holds little for a reader that is slow", function()
    local a, left = connected()
    left.transport:pause_producing()
    a.transport:set_option("send_buffer", 20000)
    local d = rw.FileSender({ transform = function(b) return b end })
      :begin_file_transfer(path, a.transport)
    rw.sleep(0.1):await()
    assert.is_true(a.transport.buffered <= 128 * 1024)
    left.transport:resume_producing()
    d:await()
    eventually(function() return left.size == #content end)
    left.transport:lose_connection()
  end)

  it("fails when the connection is lost, whichever way it sends", function()
    for _, transform in ipairs { false, function(b) return b end } do
      local a, left = connected()
      left.transport:pause_producing()
      a.transport:set_option("send_buffer", 20000)
      local d = rw.FileSender { transform = transform }:begin_file_transfer(path, a.transport)
      rw.sleep(0.05):await()
      left.transport:abort_connection()
      assert.equal("lost", fails(d).code)
    end
  end)

  it("fails when the file becomes shorter, or is not there", function()
    local other = os.tmpname()
    local f = assert(io.open(other, "wb"))
    f:write(content)
    f:close()
    for _, transform in ipairs { false, function(b) return b end } do
      local a, left = connected()
      local d = rw.FileSender { length = #content + 1, transform = transform }
        :begin_file_transfer(other, a.transport)
      assert.equal("RW_EOF", fails(d).code)
      left.transport:lose_connection()
    end
    os.remove(other)
    local a, left = connected()
    assert.equal("ENOENT", fails(rw.FileSender():begin_file_transfer(other, a.transport)).code)
    left.transport:lose_connection()
  end)

  it("stops when it is cancelled, or its transform fails; the connection stays", function()
    local a, left = connected()
    left.transport:pause_producing()
    a.transport:set_option("send_buffer", 20000)
    local d = rw.FileSender { transform = function(b) return b end }
      :begin_file_transfer(path, a.transport)
    rw.sleep(0.02):await()
    d:cancel()
    fails(d)
    left.transport:resume_producing()
    d = rw.FileSender { transform = function() error "no" end }
      :begin_file_transfer(path, a.transport)
    assert.truthy(tostring(fails(d)):find "no")
    a.transport:write "end"
    eventually(function() return left:text():sub(-3) == "end" end)
    left.transport:lose_connection()
  end)
end)

describe("producers", function()
  after_each(close_ports)

  it("may be other connections", function()
    local b, right = connected()
    local Source = rw.Protocol:extend "Source"
    function Source:connection_made() b.transport:register_producer(self.transport, true) end
    function Source:data_received(bytes) b.transport:write(bytes) end
    function Source:connection_lost() b.transport:unregister_producer() end
    local a, left = connected(Source)
    right.transport:pause_producing()
    rw.spawn(function()
      for _ = 1, 400 do
        left.transport:write(BLOCK)
        left.transport:drained()
      end
      left.transport:lose_connection()
    end)
    rw.sleep(0.2):await()
    assert.is_true(b.transport.buffered < 512 * 1024)
    b.transport:lose_connection() -- waits
    right.transport:resume_producing()
    right.ended:await()
    assert.equal(400 * #BLOCK, right.size)
    assert.is_false(a.transport.connected)
  end)

  it("are stopped, and the protocol is told, though they fail at it", function()
    local lost = rw.Deferred()
    local P = rw.Protocol:extend "P"
    function P:connection_lost() lost:callback() end
    local a, left = connected(P)
    a.transport:register_producer({ stop_producing = function() error "stop failed" end }, true)
    left.transport:abort_connection()
    lost:await()
    assert.is_false(a.transport.connected)
  end)

  it("that fail to produce do not hold the connection open", function()
    local a, left = connected()
    local count = 0
    a.transport:register_producer({
      resume_producing = function()
        count = count + 1
        if count == 2 then error "producer failed" end
      end,
      stop_producing = function() end,
    }, false)
    a.transport:lose_connection()
    left.ended:await()
    assert.equal(2, count)
  end)

  it("are stopped at once at a connection that is gone, and not held back by an abort", function()
    local a, left = connected()
    local stopped = 0
    local producer = { stop_producing = function() stopped = stopped + 1 end }
    a.transport:register_producer(producer, true)
    assert.has_error(function() a.transport:register_producer(producer, true) end)
    a.transport:abort_connection()
    left.ended:await()
    eventually(function() return stopped == 1 end)
    a.transport:register_producer(producer, false)
    assert.equal(2, stopped)
  end)
end)
