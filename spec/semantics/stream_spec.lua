-- SPDX-License-Identifier: MIT
-- What user code depends on, one sentence a test: streams, over real sockets.
local rw = require "ropewalk"
local Peer = require "spec.support.peer"
local eventually, testing = Peer.eventually, rw.testing

local class, port
local function listen(factory)
  factory = factory or rw.Factory:for_protocol(class)
  port = rw.listen("tcp:127.0.0.1:0", factory):await()
  testing.add_cleanup(function() port:close():await() end)
  return factory
end

local function connect() return Peer.connect(port) end

local function producer(seen)
  local self = {}
  for _, name in ipairs { "pause_producing", "resume_producing", "stop_producing" } do
    self[name] = function() seen[#seen + 1] = name end
  end
  return self
end

describe("The end of a stream", function()
  it("comes in order: the producer's stop_producing, then connection_lost, once each, also when "
    .. "the hook that brings it about raises", function()
    local seen = {}
    class = rw.Protocol:extend "P"
    function class:connection_made() self.transport:register_producer(producer(seen), true) end
    function class:data_received()
      self.transport:abort_connection()
      error "and raises"
    end
    function class:connection_lost() seen[#seen + 1] = "connection_lost" end
    listen()
    local peer = connect()
    peer.transport:write "x"
    peer.ended:await()
    eventually(function() return seen[2] end)
    rw.sleep(0.02):await()
    assert.same({ "stop_producing", "connection_lost" }, seen)
    assert.equal(1, #testing.flush_logged_errors "and raises")
  end)

  it("is asked for by lose_connection: nothing more is delivered, what was written before goes out, "
    .. "what is written after does not", function()
    local lines = {}
    class = rw.LineProtocol:extend "P"
    function class:line_received(line)
      lines[#lines + 1] = line
      self.transport:write(("a"):rep(2000000))
      self.transport:lose_connection()
      self.transport:write "late"
    end
    listen()
    local peer = connect()
    peer.transport:write "one\r\ntwo\r\nthree\r\n"
    peer.ended:await()
    assert.same({ "one" }, lines)
    assert.equal(2000000, #peer.text)
    assert.is_nil(peer.text:find "late")
  end)

  it("waits for unregister_producer after lose_connection, but not after abort_connection",
    function()
      local servers = {}
      class = rw.Protocol:extend "P"
      function class:connection_made()
        servers[#servers + 1] = self
        self.transport:register_producer(producer {}, true)
      end
      listen()
      local waits, aborted = connect(), connect()
      eventually(function() return servers[2] end)
      for i = 1, 2 do
        local mine = servers[i].transport
        if mine.peer.port == waits.transport.host.port then
          mine:lose_connection()
          testing.add_cleanup(function() mine:abort_connection() end)
          waits.server = mine
        else
          mine:abort_connection()
        end
      end
      aborted.ended:await()
      rw.sleep(0.05):await()
      assert.is_false(waits.ended:called())
      waits.server:unregister_producer()
      waits.ended:await()
    end)
end)

describe("A producer", function()
  it("that pulls is resumed at once when it is registered; one that pushes is left alone until the "
    .. "buffer is above the mark", function()
    local seen, servers = { pull = {}, push = {} }, {}
    class = rw.Protocol:extend "P"
    function class:connection_made()
      servers[#servers + 1] = self
      local kind = servers[2] and "push" or "pull"
      self.transport:register_producer(producer(seen[kind]), kind == "push")
      seen[kind].at_once = #seen[kind]
      self.transport:write(("x"):rep(kind == "push" and 20000000 or 1))
    end
    listen()
    local first = connect()
    eventually(function() return servers[1] end)
    local second = connect()
    second.transport:pause_producing()
    eventually(function() return seen.push[1] end)
    assert.equal(1, seen.pull.at_once)
    assert.equal("resume_producing", seen.pull[1])
    assert.equal(0, seen.push.at_once)
    assert.equal("pause_producing", seen.push[1])
    for _, each in ipairs { first, second } do each.transport:abort_connection() end
    eventually(function() return first.ended:called() and second.ended:called() end)
  end)
end)

describe("build_protocol", function()
  it("that returns nothing closes the accepted socket quietly; its error is logged and the socket "
    .. "dropped", function()
    local factory = rw.Factory()
    local fails = false
    function factory.build_protocol()
      if fails then error "no protocol today" end
      return nil
    end
    listen(factory)
    connect().ended:await()
    assert.same({}, testing.flush_logged_errors())
    fails = true
    connect().ended:await()
    assert.equal(1, #testing.flush_logged_errors "no protocol today")
  end)
end)

describe("A port", function()
  it("closes asynchronously and leaves accepted connections alone; stop_factory runs when the last "
    .. "port of a factory stops", function()
    local stops = 0
    class = rw.Protocol:extend "P"
    function class:data_received(bytes) self.transport:write(bytes) end
    local factory = rw.Factory:for_protocol(class)
    function factory.stop_factory() stops = stops + 1 end
    local one = rw.listen("tcp:127.0.0.1:0", factory):await()
    local two = rw.listen("tcp:127.0.0.1:0", factory):await()
    port = one
    local peer = connect()
    local closing = one:close()
    closing:await()
    assert.equal(0, stops)
    peer.transport:write "still there"
    eventually(function() return peer.text == "still there" end)
    two:close():await()
    assert.equal(1, stops)
    peer.transport:lose_connection()
    peer.ended:await()
  end)
end)
