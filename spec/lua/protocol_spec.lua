-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local task = support.task

-- A server and a client in this process; what the client saw.
local function talk(server_class, client_class, factory)
  local port = rw.listen("tcp:127.0.0.1:0", factory or rw.Factory:for_protocol(server_class)):await()
  local client = rw.connect("tcp:127.0.0.1:" .. port.port,
    rw.Factory:for_protocol(client_class)):await()
  return client, port
end

local function recorder(base)
  local Client = base:extend "Client"
  function Client:init()
    self.seen = {}
    self.lost = rw.Deferred()
    self.more = rw.DeferredQueue()
  end
  function Client:note(value)
    self.seen[#self.seen + 1] = value
    self.more:put(value)
  end
  function Client:data_received(bytes) self:note(bytes) end
  function Client:line_received(line) self:note(line) end
  function Client:string_received(s) self:note(s) end
  function Client:connection_lost(reason) self.lost:callback { reason = reason, code = reason.code } end
  return Client
end

describe("a protocol", function()
  it("gets bytes and writes bytes", task(function()
    local Echo = rw.Protocol:extend "Echo"
    function Echo:data_received(bytes) self.transport:write(bytes) end
    local client, port = talk(Echo, recorder(rw.Protocol))
    client.transport:write "hello"
    assert.equal("hello", client.more:get():await())
    client.transport:lose_connection()
    assert.equal("done", client.lost:await().code)
    port:stop_listening():await()
  end))

  it("is told of the connection first and of its loss once, last", task(function()
    local seen, over = {}, rw.Deferred()
    local Server = rw.Protocol:extend "Server"
    function Server:connection_made()
      seen[#seen + 1] = "made"
      assert.truthy(self.transport.peer.host)
      self.transport:write "hello"
    end
    function Server:data_received() seen[#seen + 1] = "data" end
    function Server:connection_lost(reason)
      seen[#seen + 1] = "lost " .. reason.code
      over:callback()
    end
    local client, port = talk(Server, recorder(rw.Protocol))
    client.more:get():await()
    client.transport:write "x"
    rw.sleep(0.02):await()
    client.transport:lose_connection()
    over:await()
    rw.sleep(0.02):await()
    assert.same({ "made", "data", "lost done" }, seen)
    port:close():await()
  end))

  it("hears nothing more after lose_connection, but what was written goes out", task(function()
    local count = 0
    local Server = rw.Protocol:extend "Server"
    function Server:data_received()
      count = count + 1
      self.transport:write "bye"
      self.transport:lose_connection()
    end
    local client, port = talk(Server, recorder(rw.Protocol))
    client.transport:write "one"
    assert.equal("bye", client.more:get():await())
    client.transport:write "two"
    assert.truthy(client.lost:await())
    assert.equal(1, count)
    port:close():await()
  end))

  it("may wait in a hook; what comes meanwhile is not lost and not early", task(function()
    local seen = {}
    local Slow = rw.LineProtocol:extend "Slow"
    function Slow:line_received(line)
      seen[#seen + 1] = "begin " .. line
      rw.sleep(0.02):await()
      seen[#seen + 1] = "end " .. line
      self:send_line(line)
    end
    local client, port = talk(Slow, recorder(rw.LineProtocol))
    client:send_line "a"
    client:send_line "b"
    assert.equal("a", client.more:get():await())
    assert.equal("b", client.more:get():await())
    assert.same({ "begin a", "end a", "begin b", "end b" }, seen)
    client.transport:lose_connection()
    client.lost:await()
    port:close():await()
  end))

  it("is dropped alone when a hook raises", task(function()
    local Fragile = rw.Protocol:extend "Fragile"
    function Fragile:data_received(bytes)
      if bytes == "boom" then error "boom" end
      self.transport:write(bytes)
    end
    local a, port = talk(Fragile, recorder(rw.Protocol))
    local b = rw.connect("tcp:127.0.0.1:" .. port.port,
      rw.Factory:for_protocol(recorder(rw.Protocol))):await()
    a.transport:write "boom"
    a.lost:await()
    b.transport:write "alive"
    assert.equal("alive", b.more:get():await())
    b.transport:lose_connection()
    b.lost:await()
    port:close():await()
  end))
end)

describe("a LineProtocol", function()
  it("cuts lines, however they come", task(function()
    local Shout = rw.LineProtocol:extend "Shout"
    function Shout:line_received(line) self:send_line(line:upper()) end
    local client, port = talk(Shout, recorder(rw.LineProtocol))
    client.transport:write "one\r\ntw"
    client.transport:write "o\nthree\n"
    for _, expected in ipairs { "ONE", "TWO", "THREE" } do
      assert.equal(expected, client.more:get():await())
    end
    client.transport:lose_connection()
    client.lost:await()
    port:close():await()
  end))

  it("changes to raw bytes and back in the middle of what one packet brought", task(function()
    local Literal = rw.LineProtocol:extend "Literal"
    function Literal:line_received(line)
      local n = line:match "^raw (%d+)$"
      if n then
        self.body = ""
        return self:set_raw_mode(tonumber(n))
      end
      self:send_line("line " .. line)
    end
    function Literal:raw_data_received(bytes) self.body = self.body .. bytes end
    function Literal:raw_data_ended()
      self:send_line("body " .. #self.body .. " " .. self.body:sub(1, 2))
    end
    local client, port = talk(Literal, recorder(rw.LineProtocol))
    client.transport:write "raw 5\r\nab\rcdnext\r\n"
    assert.equal("body 5 ab", client.more:get():await())
    assert.equal("line next", client.more:get():await())
    client.transport:lose_connection()
    client.lost:await()
    port:close():await()
  end))

  it("does not send two lines as one", task(function()
    local client, port = talk(rw.LineProtocol, recorder(rw.LineProtocol))
    assert.is_false(pcall(client.send_line, client, "a\r\nb"))
    client.transport:lose_connection()
    client.lost:await()
    port:close():await()
  end))

  it("may have a delimiter of its own", task(function()
    local Semi = rw.LineProtocol:extend "Semi"
    Semi.delimiter = ";"
    function Semi:line_received(line) self.transport:write("<" .. line .. ">") end
    local client, port = talk(Semi, recorder(rw.Protocol))
    client.transport:write "a;"
    assert.equal("<a>", client.more:get():await())
    client.transport:lose_connection()
    client.lost:await()
    port:close():await()
  end))
end)

describe("a NetstringProtocol", function()
  it("gets and sends whole strings", task(function()
    local Echo = rw.NetstringProtocol:extend "Echo"
    function Echo:string_received(s) self:send_string(s .. s) end
    local client, port = talk(Echo, recorder(rw.NetstringProtocol))
    client.transport:write "2:ab"
    client.transport:write ",0:,"
    assert.equal("abab", client.more:get():await())
    assert.equal("", client.more:get():await())
    client.transport:lose_connection()
    client.lost:await()
    port:close():await()
  end))
end)

describe("a factory", function()
  it("builds protocols with its arguments and is known to them", task(function()
    local P = rw.Protocol:extend "P"
    function P:init(a, b) self.sum = a + b end
    local factory = rw.Factory:for_protocol(P, 1, 2)
    local p = factory:build_protocol {}
    assert.equal(3, p.sum)
    assert.equal(factory, p.factory)
  end))

  it("refuses a connection quietly by building nothing", task(function()
    local Picky = rw.Factory:extend "Picky"
    function Picky:build_protocol() return nil end
    local client, port = talk(nil, recorder(rw.Protocol), Picky())
    assert.truthy(client.lost:await())
    port:close():await()
  end))

  it("drops the connection when building raises", task(function()
    local Broken = rw.Factory:extend "Broken"
    function Broken:build_protocol() error "broken" end
    local client, port = talk(nil, recorder(rw.Protocol), Broken())
    assert.truthy(client.lost:await())
    port:close():await()
  end))

  it("starts with its first port and stops with its last", task(function()
    local seen = {}
    local F = rw.Factory:extend "F"
    function F:start_factory() seen[#seen + 1] = "start" end
    function F:stop_factory() seen[#seen + 1] = "stop" end
    local factory = F()
    local a = rw.listen("tcp:127.0.0.1:0", factory):await()
    local b = rw.listen("tcp:127.0.0.1:0", factory):await()
    a:stop_listening():await()
    assert.same({ "start" }, seen)
    b:stop_listening():await()
    assert.same({ "start", "stop" }, seen)
    b:stop_listening():await()
    assert.same({ "start", "stop" }, seen)
  end))

  it("leaves accepted connections alone when its port stops", task(function()
    local Echo = rw.Protocol:extend "Echo"
    function Echo:data_received(bytes) self.transport:write(bytes) end
    local client, port = talk(Echo, recorder(rw.Protocol))
    client.transport:write "1"
    client.more:get():await()
    port:stop_listening():await()
    client.transport:write "still"
    assert.equal("still", client.more:get():await())
    client.transport:lose_connection()
    client.lost:await()
  end))

  it("knows its live connections", task(function()
    local Hello = rw.Protocol:extend "Hello"
    function Hello:connection_made() self.transport:write "hello" end
    local factory = rw.Factory:for_protocol(Hello)
    local client, port = talk(Hello, recorder(rw.Protocol), factory)
    client.more:get():await()
    assert.equal(1, factory:connection_count())
    client.transport:lose_connection()
    client.lost:await()
    rw.sleep(0.02):await()
    assert.equal(0, factory:connection_count())
    port:close():await()
  end))

  it("hands over a connection: save, then restore in the new code", function()
    local Old = rw.Protocol:extend "Old"
    local old = Old()
    old.transport, old.factory = { peer = {} }, {}
    old.name, old.count, old.tags = "alice", 3, { "a", { b = true } }
    old.handler, old._secret, old.object = print, "x", setmetatable({}, {})
    local data = old:save()
    assert.same({ name = "alice", count = 3, tags = { "a", { b = true } } }, data)
    local New, made = rw.Protocol:extend "New", false
    function New:connection_made() made = true end
    local transport = { peer = {}, connected = true }
    local new = rw.Factory:for_protocol(New):restore(transport, data)
    assert.equal("alice", new.name)
    assert.equal(transport, new.transport)
    assert.is_false(made)
  end)

  it("refuses what is no protocol class", function()
    assert.has_error(function() rw.Factory:for_protocol(nil) end)
    assert.has_error(function() rw.listen("tcp:0", rw.Protocol) end)
    assert.has_error(function() rw.Factory():build_protocol {} end)
  end)
end)

describe("listening and connecting", function()
  it("fails with what, where and why", task(function()
    local P = rw.Factory:for_protocol(rw.Protocol)
    local port = rw.listen("tcp:127.0.0.1:0", P):await()
    local address = "tcp:127.0.0.1:" .. port.port
    local ok, failure = pcall(function() rw.listen(address, P):await() end)
    if support.fake then -- the core shares a port among servers of one process
      assert.is_false(ok)
      assert.equal("EADDRINUSE", failure.code)
      assert.equal("cannot listen on " .. address .. ": address already in use (EADDRINUSE)",
        tostring(failure))
    elseif ok then
      failure = nil
    end
    port:close():await()
    ok, failure = pcall(function() rw.connect("tcp:127.0.0.1:1", P):await() end)
    assert.is_false(ok)
    assert.equal("ECONNREFUSED", failure.code)
    assert.truthy(tostring(failure):find("cannot connect to tcp:127.0.0.1:1: ", 1, true))
    ok, failure = pcall(function() rw.connect("nonsense", P):await() end)
    assert.is_false(ok)
    assert.equal("bad_endpoint", failure.code)
  end))

  it("can be cancelled while connecting", task(function()
    local d = rw.connect("tcp:127.0.0.1:1", rw.Factory:for_protocol(rw.Protocol))
    d:cancel()
    local ok, failure = pcall(d.await, d)
    assert.is_false(ok)
    assert.equal("cancelled", failure.code)
  end))
end)
