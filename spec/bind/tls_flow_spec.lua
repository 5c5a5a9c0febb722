-- SPDX-License-Identifier: MIT
-- TLS and what makes bytes wait: producers, files, throttles, marks; and the log of
-- traffic. All ends live in this process.
local core = require "ropewalk.core"
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local secure = require "spec.support.secure"
local connected, eventually, fails = secure.connected, ends.eventually, ends.fails

local BLOCK <const> = ("0123456789abcdef"):rep(4096) -- 64 KiB
local FILE <const> = 16 << 20

describe("Over TLS", function()
  local path
  setup(function()
    path = os.tmpname()
    local f <close> = assert(io.open(path, "wb"))
    for i = 1, FILE // #BLOCK do f:write((("%08d"):format(i)):rep(#BLOCK // 8)) end
  end)
  teardown(function() os.remove(path) end)
  after_each(ends.close)

  local function content()
    local f <close> = assert(io.open(path, "rb"))
    return f:read "a"
  end

  -- Files --------------------------------------------------------------------------

  it("a FileSender sends 16 MiB, whole, and lose_connection waits for it", function()
    local a, far = connected()
    local d = rw.FileSender():begin_file_transfer(path, a.transport)
    a.transport:lose_connection()
    assert.equal(FILE, d:await())
    assert.is_true(far.ended:await().reason.clean)
    assert.is_true(far:text() == content())
  end)

  it("a FileSender sends what it is told to, as it makes it", function()
    local a, far = connected()
    rw.FileSender({ offset = 65530, length = 100 }):begin_file_transfer(path, a.transport):await()
    rw.FileSender({ length = 100000, transform = function(bytes) return bytes:gsub("0", "o") end })
      :begin_file_transfer(path, a.transport):await()
    a.transport:lose_connection()
    far.ended:await()
    local all = content()
    assert.is_true(far:text() == all:sub(65531, 65630) .. all:sub(1, 100000):gsub("0", "o"))
  end)

  it("a FileSender holds little while nobody reads, and fails when the peer is lost in the middle", function()
    for _, how in ipairs { "abort_connection", "lose_connection" } do
      local a, far = connected()
      far.transport:pause_producing()
      local d = rw.FileSender():begin_file_transfer(path, a.transport)
      rw.sleep(0.1):await()
      assert.is_true(a.transport.buffered > 0)
      assert.is_true(a.transport.buffered <= 192 * 1024, "buffered: " .. a.transport.buffered)
      far.transport[how](far.transport)
      assert.equal("lost", fails(d).code)
    end
  end)

  it("a FileSender says that the file was truncated meanwhile; the connection stays", function()
    local other = os.tmpname()
    local f = assert(io.open(other, "wb"))
    for _ = 1, 64 do f:write(BLOCK) end
    f:close()
    local a, far = connected()
    far.transport:pause_producing()
    local d = rw.FileSender():begin_file_transfer(other, a.transport)
    rw.sleep(0.1):await()
    assert(io.open(other, "wb")):close()
    far.transport:resume_producing()
    local failure = fails(d)
    assert.equal("RW_EOF", failure.code)
    a.transport:write "end"
    eventually(function() return far:text():sub(-3) == "end" end)
    assert.is_true(far.size < 64 * #BLOCK)
    far.transport:lose_connection()
    os.remove(other)
  end)

  -- Producers ------------------------------------------------------------------------

  it("a push producer is paused and resumed by what waits as ciphertext", function()
    local a, far = connected()
    local calls, left, paused = { pause = 0, resume = 0 }, 400, false
    local producer = { stop_producing = function() end }
    function producer.pause_producing() calls.pause, paused = calls.pause + 1, true end
    function producer.resume_producing()
      calls.resume, paused = calls.resume + 1, false
      while left > 0 and not paused do
        left = left - 1
        a.transport:write(BLOCK)
      end
      if left == 0 then a.transport:unregister_producer() end
    end
    far.transport:pause_producing()
    a.transport:register_producer(producer, true)
    producer.resume_producing()
    a.transport:lose_connection()
    rw.sleep(0.1):await()
    assert.is_true(calls.pause >= 1)
    assert.is_true(a.transport.buffered < 4 * #BLOCK, "buffered: " .. a.transport.buffered)
    assert.is_true(left > 200)
    far.transport:resume_producing()
    assert.is_true(far.ended:await().reason.clean)
    assert.equal(400 * #BLOCK, far.size)
    assert.equal(calls.pause, calls.resume - 1)
  end)

  it("a pull producer makes a piece when there is room, and is stopped when the peer goes", function()
    local a, far = connected()
    local made, stopped = 0, false
    local producer = { stop_producing = function() stopped = true end }
    function producer.resume_producing()
      made = made + 1
      a.transport:write(BLOCK)
    end
    far.transport:pause_producing()
    a.transport:register_producer(producer, false)
    local then_made = ends.settled(function() return made end)
    assert.is_true(then_made >= 1 and then_made < 300)
    rw.sleep(0.1):await()
    assert.equal(then_made, made) -- nobody reads
    far.transport:resume_producing()
    eventually(function() return far.size >= (then_made + 20) * #BLOCK end)
    far.transport:abort_connection()
    eventually(function() return stopped end)
  end)

  it("drained() waits, above the mark, until the peer has read", function()
    local a, far = connected()
    far.transport:pause_producing()
    local went_on = 0
    rw.spawn(function()
      for i = 1, 200 do
        a.transport:write(BLOCK)
        if not a.transport:drained() then return end
        went_on = i
      end
    end)
    rw.sleep(0.1):await()
    assert.is_true(went_on < 200)
    assert.is_true(a.transport.buffered <= 192 * 1024, "buffered: " .. a.transport.buffered)
    far.transport:resume_producing()
    eventually(function() return went_on == 200 and far.size == 200 * #BLOCK end)
    far.transport:lose_connection()
  end)

  it("who ignores the pause is ended by max_buffered", function()
    local lost = rw.Deferred()
    local P = rw.Protocol:extend "P"
    function P:connection_lost(reason) lost:callback { reason } end
    local a, far = connected(P, "tls:tcp:127.0.0.1:0:max_buffered=1000000")
    far.transport:pause_producing()
    for _ = 1, 200 do a.transport:write(BLOCK) end
    assert.equal("limit", lost:await()[1].name)
    far.transport:resume_producing()
  end)

  -- Throttles ------------------------------------------------------------------------

  for way, option in pairs { ["to the peer"] = "write_rate", ["from the peer"] = "read_rate" } do
    it("a rate holds for the plain bytes " .. way, function()
      local a, far = connected(ends.Collector, ("tls:tcp:127.0.0.1:0:%s=200000:rate_burst=20000"):format(option))
      local from, to = a, far
      if option == "read_rate" then from, to = far, a end
      local began = core.now()
      from.transport:write(("r"):rep(100000))
      eventually(function() return to.size == 100000 end)
      local time = core.now() - began -- 80000 bytes at 200000 a second
      assert.is_true(time > 0.3 and time < 2, "seconds: " .. time)
      began = core.now()
      to.transport:write(("r"):rep(100000)) -- the other way is free
      eventually(function() return from.size == 100000 end)
      assert.is_true(core.now() - began < 0.3)
      far.transport:lose_connection()
    end)
  end

  it("a total rate is shared by TLS connections of a port", function()
    local dir = secure.directory()
    local made, Server = {}, rw.Protocol:extend "Server"
    function Server:connection_made() made[#made + 1] = self end
    local port = rw.listen("tls:tcp:127.0.0.1:0:total_write_rate=400000:rate_burst=20000" .. secure.server(dir),
      rw.Factory:for_protocol(Server)):await()
    rw.testing.add_cleanup(function() port:close():await() end)
    local far = {}
    for i = 1, 2 do
      far[i] = rw.connect("tls:localhost:" .. port.port .. secure.client(dir),
        rw.Factory:for_protocol(ends.Collector)):await()
    end
    local began = core.now()
    for _, each in ipairs(made) do each.transport:write(("t"):rep(100000)) end
    eventually(function() return far[1].size + far[2].size > 100000 end)
    local least = math.min(far[1].size, far[2].size)
    assert.is_true(least > 25000, "one has " .. least)
    eventually(function() return far[1].size + far[2].size == 200000 end)
    assert.is_true(core.now() - began > 0.35)
    for _, each in ipairs(far) do each.transport:lose_connection() end
  end)

  it("a throttled end waits for its bytes, and for close_notify behind them", function()
    local a, far = connected(nil, "tls:tcp:127.0.0.1:0:write_rate=200000:rate_burst=20000")
    a.transport:write(("r"):rep(80000))
    a.transport:lose_connection()
    assert.is_true(far.ended:await().reason.clean)
    assert.equal(80000, far.size)
  end)

  -- The log of traffic -------------------------------------------------------------------

  it("the log of traffic has the plain text, and no byte of the handshake", function()
    local Echo = rw.Protocol:extend "Echo"
    function Echo:data_received(bytes) self.transport:write(bytes:upper()) end
    local dir = secure.directory()
    local port = rw.listen("tls:tcp:127.0.0.1:0" .. secure.server(dir),
      rw.policy.traffic_log(rw.Factory:for_protocol(Echo), { path = dir .. "/log", format = "text" })):await()
    rw.testing.add_cleanup(function() port:close():await() end)
    local far = rw.connect("tls:localhost:" .. port.port .. secure.client(dir),
      rw.Factory:for_protocol(ends.Collector)):await()
    far.transport:write "a secret"
    eventually(function() return far:text() == "A SECRET" end)
    far.transport:lose_connection()
    far.ended:await()
    local log
    eventually(function()
      local f <close> = assert(io.open(dir .. "/log"))
      log = f:read "a"
      return log:find("8 bytes in, 8 out", 1, true)
    end)
    local shape = log:gsub("[^\n]*#1 ", "")
    assert.equal('+\n< 8 bytes\n  "a secret"\n> 8 bytes\n  "A SECRET"\n< end\n> end\n- 8 bytes in, 8 out\n', shape)
  end)
end)
