-- SPDX-License-Identifier: MIT
-- switch_protocol, half-closing and time-outs, over real sockets.
local rw = require "ropewalk"
local talking = require "spec.support.talk"
local talk, recorder = talking.talk, talking.recorder

-- Lines until "BINARY", then 16 bit strings until "LINES"; each is answered by its kind.
local function two_protocols(prepare)
  local Lines, Strings = rw.LineProtocol:extend "Lines", rw.Int16Protocol:extend "Strings"
  function Lines:line_received(line)
    if line ~= "BINARY" then return self.transport:write("[" .. line .. "]") end
    if prepare then prepare() end
    self.transport:switch_protocol(Strings())
  end
  function Strings:connection_made() self.transport:write "<" end
  function Strings:string_received(bytes)
    if bytes ~= "LINES" then return self.transport:write("{" .. bytes .. "}") end
    if prepare then prepare() end
    self.transport:write ">"
    self.transport:switch_protocol(Lines())
  end
  function Lines:read_connection_lost() self.transport:lose_connection() end
  Strings.read_connection_lost = Lines.read_connection_lost
  return Lines
end

local function s2(text) return string.pack(">s2", text) end

local function ask(class, pieces)
  local client, port = talk(class, recorder(rw.Protocol))
  for _, piece in ipairs(pieces) do
    client.transport:write(piece)
    if #pieces > 1 then rw.sleep(0.001):await() end
  end
  client.transport:lose_write()
  client.lost:await()
  port:close():await()
  return table.concat(client.seen)
end

describe("switch_protocol", function()
  local WIRE <const> = "one\r\nBINARY\r\n" .. s2 "two" .. s2 "" .. s2 "LINES" .. "three\nBINARY\n" .. s2 "x"
  local ANSWER <const> = "[one]<{two}{}>[three]<{x}"

  it("hands over what was read, in the middle of a packet", function()
    assert.equal(ANSWER, ask(two_protocols(), { WIRE }))
  end)

  it("… wherever the packets end", function()
    for at = 1, #WIRE - 1 do
      assert.equal(ANSWER, ask(two_protocols(), { WIRE:sub(1, at), WIRE:sub(at + 1) }), "cut at " .. at)
    end
  end)

  it("… byte by byte", function()
    local pieces = {}
    for byte in WIRE:gmatch "." do pieces[#pieces + 1] = byte end
    assert.equal(ANSWER, ask(two_protocols(), pieces))
  end)

  it("… in a hook that waits", function()
    local Class = two_protocols(function() rw.sleep(0.005):await() end)
    assert.equal(ANSWER, ask(Class, { WIRE }))
    for at = 1, #WIRE - 1, 3 do
      assert.equal(ANSWER, ask(Class, { WIRE:sub(1, at), WIRE:sub(at + 1) }), "cut at " .. at)
    end
  end)

  it("may happen in connection_made, at the peer's end, and from outside", function()
    local order, over = {}, rw.Deferred()
    local First, Second, Third =
      rw.Protocol:extend "First", rw.LineProtocol:extend "Second", rw.NetstringProtocol:extend "Third"
    function First:connection_made() self.transport:switch_protocol(Second()) end
    function First:connection_lost() order[#order + 1] = "wrong" end
    function First:protocol_switched(other) order[#order + 1] = "to " .. other:class_name() end
    function Second:line_received(line) order[#order + 1] = line end
    function Second:read_connection_lost() self.transport:switch_protocol(Third()) end
    function Third:string_received(text) order[#order + 1] = text end
    function Third:read_connection_lost()
      order[#order + 1] = "end"
      self.transport:lose_connection()
    end
    function Third:connection_lost(reason)
      order[#order + 1] = "lost " .. reason.code
      over:callback()
    end
    local client, port = talk(First, recorder(rw.Protocol))
    client.transport:write "line\r\n3:abc,"
    client.transport:lose_write()
    over:await()
    assert.same({ "to Second", "line", "abc", "end", "lost done" }, order)
    port:close():await()
  end)

  it("waits with events until the new protocol's connection_made has returned", function()
    local order, over = {}, rw.Deferred()
    local First, Second = rw.Protocol:extend "First", rw.LineProtocol:extend "Second"
    function First:connection_made()
      rw.call_later(0.01, function() self.transport:switch_protocol(Second()) end)
    end
    function Second:connection_made()
      rw.sleep(0.03):await()
      order[#order + 1] = "made"
    end
    function Second:line_received(line)
      order[#order + 1] = line
      if line == "b" then over:callback() end
    end
    local client, port = talk(First, recorder(rw.Protocol))
    rw.sleep(0.02):await()
    client.transport:write "a\nb\n"
    over:await()
    assert.same({ "made", "a", "b" }, order)
    client.transport:lose_connection()
    port:close():await()
  end)

  it("refuses, or throws away, what stands behind the line that asks for it", function()
    local function start_tls(how)
      local Plain, Secure = rw.LineProtocol:extend "Plain", rw.LineProtocol:extend "Secure"
      function Plain:line_received(line)
        if line ~= "STARTTLS" then return self:send_line "plain" end
        local done, failure = self.transport:switch_protocol(Secure(), how)
        if not done then self:send_line(failure.code) end
      end
      function Secure:line_received(line) self:send_line("secure " .. line) end
      for _, class in ipairs { Plain, Secure } do
        function class:read_connection_lost() self.transport:lose_connection() end
      end
      return Plain
    end
    assert.equal("unread\r\nplain\r\n", ask(start_tls "refuse", { "STARTTLS\r\nEVIL\r\n" }))
    assert.equal("", ask(start_tls "discard", { "STARTTLS\r\nEVIL\r\n" }))
    assert.equal("secure EVIL\r\n", ask(start_tls "keep", { "STARTTLS\r\nEVIL\r\n" }))
    assert.equal("secure GOOD\r\n", ask(start_tls "refuse", { "STARTTLS\r\n", "GOOD\r\n" }))
  end)

  it("moves the connection in the factory's list", function()
    local First, Second = rw.Protocol:extend "First", rw.Protocol:extend "Second"
    function First:data_received() self.transport:switch_protocol(Second()) end
    function Second:connection_made() self.transport:write "!" end
    local factory = rw.Factory:for_protocol(First)
    local client, port = talk(First, recorder(rw.Protocol), factory)
    client.transport:write "x"
    client.more:get():await()
    assert.equal(1, factory:connection_count())
    for protocol in factory:connections() do assert.equal("Second", protocol:class_name()) end
    client.transport:lose_connection()
    port:close():await()
  end)

  it("says what it cannot do", function()
    local client, port = talk(rw.Protocol, recorder(rw.Protocol))
    local transport = client.transport
    assert.error_matches(function() transport:switch_protocol(5) end, "a protocol is expected")
    assert.error_matches(function() transport:switch_protocol(rw.Protocol(), "lose") end, '"refuse"')
    transport:register_producer({ resume_producing = function() end, stop_producing = function() end,
      pause_producing = function() end }, true)
    assert.error_matches(function() transport:switch_protocol(rw.Protocol()) end, "producer")
    transport:unregister_producer()
    transport:lose_connection()
    client.lost:await()
    local done, failure = transport:switch_protocol(rw.Protocol())
    assert.is_nil(done)
    assert.equal("closed", failure.code)
    port:close():await()
  end)
end)

describe("a line protocol", function()
  it("reads again what of the raw bytes was too much, before what follows", function()
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line)
      if line == "raw" then self:set_raw_mode(6) else self.transport:write("[" .. line .. "]") end
    end
    function P:raw_data_received(bytes)
      if #bytes == 6 then self:set_line_mode(bytes:sub(4)) end
    end
    function P:read_connection_lost() self.transport:lose_connection() end
    assert.equal("[ef][gh]", ask(P, { "raw\nabcef\ngh\n" }))
  end)

  it("gives up what it has read", function()
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line)
      if line ~= "clear" then return self.transport:write("[" .. line .. "]") end
      local rest = self:clear_line_buffer()
      self.transport:write("(" .. rest .. ")" .. self:clear_line_buffer())
    end
    function P:read_connection_lost() self.transport:lose_connection() end
    assert.equal("[a](b\nc)", ask(P, { "a\nclear\nb\nc" }))
    assert.equal("[a]()[b]", ask(P, { "a\nclear\n", "b\nc" }))
  end)

  it("stops in the middle of a packet, when paused or closed", function()
    local seen = {}
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line)
      seen[#seen + 1] = line
      if line == "pause" then
        self.transport:pause_producing()
        rw.call_later(0.02, function()
          seen[#seen + 1] = "resume"
          self.transport:resume_producing()
        end)
      elseif line == "close" then
        self.transport:lose_connection()
      end
    end
    ask(P, { "a\npause\nb\nclose\nc\n" })
    assert.same({ "a", "pause", "resume", "b", "close" }, seen)
  end)
end)

describe("half-closing", function()
  it("tells when what was written is sent, and closes when both directions are", function()
    local order, over = {}, rw.Deferred()
    local P = rw.Protocol:extend "P"
    function P:connection_made()
      self.transport:write(("x"):rep(3000000))
      self.transport:lose_write()
      order[#order + 1] = "asked"
    end
    function P:write_connection_lost() order[#order + 1] = "write lost" end
    function P:read_connection_lost() order[#order + 1] = "read lost" end
    function P:connection_lost(reason)
      order[#order + 1] = reason.code
      over:callback()
    end
    local Client, size = rw.Protocol:extend "Client", 0
    function Client:data_received(bytes) size = size + #bytes end
    function Client:read_connection_lost()
      rw.sleep(0.02):await()
      self.transport:lose_write()
    end
    local _, port = talk(P, Client)
    over:await()
    assert.equal(3000000, size)
    assert.same({ "asked", "write lost", "read lost", "done" }, order)
    port:close():await()
  end)
end)

describe("TimeoutMixin", function()
  local function class()
    local P = rw.LineProtocol:extend("P", rw.TimeoutMixin)
    function P:connection_made() self:set_timeout(0.05) end
    function P:line_received() self:reset_timeout() end
    return P
  end

  it("closes a connection that gives no sign of life", function()
    local client, port = talk(class(), recorder(rw.LineProtocol))
    local before = rw.reactor:seconds()
    for _ = 1, 5 do
      rw.sleep(0.03):await()
      client:send_line "x"
    end
    assert.is_true(client.transport.connected)
    client.lost:await()
    assert.is_true(rw.reactor:seconds() - before >= 0.19)
    port:close():await()
  end)

  it("can be told what to do instead, and not to wait", function()
    local P, told = class(), rw.Deferred()
    function P:timeout_connection() told:callback(self) end
    local client, port = talk(P, recorder(rw.LineProtocol))
    local server = told:await()
    assert.is_nil(server:set_timeout(1))
    assert.equal(1, server:set_timeout(nil))
    assert.is_true(client.transport.connected)
    client.transport:lose_connection()
    port:close():await()
  end)

  it("aborts what does not come to an end", function()
    local P, over = class(), rw.Deferred()
    P.timeout_grace = 0.05
    function P:connection_made()
      self.transport:write(("x"):rep(20000000))
      self:set_timeout(0.01)
    end
    function P:connection_lost(reason) over:callback(reason.code) end
    local client, port = talk(P, recorder(rw.Protocol))
    client.transport:pause_producing()
    assert.equal("aborted", over:await())
    client.transport:abort_connection()
    client.lost:await()
    port:close():await()
  end)
end)
