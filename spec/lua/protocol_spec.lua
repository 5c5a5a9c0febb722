-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local talking = require "spec.support.talk"
local task, talk, recorder = support.task, talking.talk, talking.recorder

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
    support.expect_error "boom"
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
