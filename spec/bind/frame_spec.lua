-- SPDX-License-Identifier: MIT
-- Framed protocols over real sockets.
local rw = require "ropewalk"
local talking = require "spec.support.talk"
local talk, recorder = talking.talk, talking.recorder

local function refusal(...)
  local ok, why = pcall(rw.frame, ...)
  assert.is_false(ok)
  return tostring(why)
end

describe("a string with its length in front", function()
  for name, head in pairs { Int8Protocol = ">s1", Int16Protocol = ">s2", Int32Protocol = ">s4" } do
    it("goes both ways: " .. name, function()
      local Upper = rw[name]:extend "Upper"
      function Upper:string_received(bytes) self:send_string(bytes:upper()) end
      local client, port = talk(Upper, recorder(rw.Protocol))
      for byte in head:pack("hello"):gmatch "." do
        client.transport:write(byte)
        rw.sleep(0):await()
      end
      assert.equal(head:pack "HELLO", client.more:get():await())
      client.transport:write(head:pack "a" .. head:pack "" .. head:pack "b")
      local got = ""
      while #got < 3 * (#head:pack "") + 2 do got = got .. client.more:get():await() end
      assert.equal(head:pack "A" .. head:pack "" .. head:pack "B", got)
      client.transport:lose_connection()
      port:close():await()
    end)
  end

  it("is refused by its length, and the script is told it", function()
    local told = rw.Deferred()
    local P = rw.Int32Protocol:extend "P"
    function P:length_limit_exceeded(length) told:callback(length) end
    local port = rw.listen("tcp:127.0.0.1:0:max_frame=10", rw.Factory:for_protocol(P)):await()
    local client = rw.connect("tcp:127.0.0.1:" .. port.port,
      rw.Factory:for_protocol(recorder(rw.Protocol))):await()
    client.transport:write(string.pack(">I4", 11))
    assert.equal(11, told:await())
    client.lost:await()
    port:close():await()
  end)

  it("that is too long is not sent", function()
    local client, port = talk(rw.Protocol, recorder(rw.Int8Protocol))
    local sent, failure = client:send_string(("x"):rep(256))
    assert.is_nil(sent)
    assert.equal("too_long", failure.code)
    assert.is_true(client:send_string(("x"):rep(255)))
    client.transport:lose_connection()
    port:close():await()
  end)
end)

describe("rw.frame", function()
  -- What a server of this class answers to these bytes.
  local function ask(class, bytes, wanted)
    local client, port = talk(class, recorder(rw.Protocol))
    for byte in bytes:gmatch "." do
      client.transport:write(byte)
      rw.sleep(0):await()
    end
    local got = ""
    while #got < wanted do got = got .. client.more:get():await() end
    client.transport:lose_connection()
    client.lost:await()
    port:close():await()
    return got
  end

  local function echo(...)
    local Class = rw.frame(...)
    function Class:frame_received(frame) self:send_frame(frame) end
    return Class
  end

  it("makes tables with named fields of frames, and back", function()
    local P, seen = rw.frame "> kind:B id:I2 length:I4", nil
    function P:frame_received(frame)
      seen = frame
      self:send_frame { kind = 2, id = frame.id + 1, payload = frame.payload:reverse() }
    end
    local wire = string.pack(">BI2s4", 1, 513, "abc")
    assert.equal(string.pack(">BI2s4", 2, 514, "cba"), ask(P, wire, #wire))
    assert.same({ kind = 1, id = 513, length = 3, payload = "abc" }, seen)
  end)

  it("reads string.pack's formats, names or not", function()
    local P, seen = echo ">I2 I1 s4", nil
    local received = P.frame_received
    function P:frame_received(frame)
      seen = frame
      received(self, frame)
    end
    local wire = string.pack(">I2I1s4", 7, 8, "hello")
    assert.equal(wire, ask(P, wire, #wire))
    assert.same({ 7, 8, length = 5, payload = "hello" }, seen)
  end)

  it("has formats of all kinds of sizes", function()
    local wire = string.pack("<c3 i8 d I3 bs2", "abc", -5, 1.5, 70000, -1, "x")
    assert.equal(wire, ask(echo "< tag:c3 a:i8 b:d c:I3 d:b s2", wire, #wire))
  end)

  it("has fields between the length and the payload, and behind it", function()
    local P = echo "< length:I2 kind:B payload sum:I4"
    local wire = string.pack("<I2Bc3I4", 3, 9, "abc", 77)
    assert.equal(wire, ask(P, wire, #wire))
  end)

  it("counts what it is told to", function()
    local wire = string.pack(">BI2BI1", 1, 6, 2, 3) .. "x"
    assert.equal(wire, ask(echo("> B length:I2 B B", { counts = "all" }), wire, #wire))
    wire = string.pack(">BI2BI1", 1, 4, 2, 3) .. "xy"
    assert.equal(wire, ask(echo("> B length:I2 B B", { counts = "rest" }), wire, #wire))
  end)

  it("demands and sends constants", function()
    local P = echo "> magic:I2=0xCAFE version:B=1 tag:c2=ok s2"
    local wire = string.pack(">I2Bc2s2", 0xCAFE, 1, "ok", "x")
    assert.equal(wire, ask(P, wire, #wire))
    local client, port = talk(P, recorder(rw.Protocol))
    client.transport:write "\xCA\xFF"
    client.lost:await()
    assert.same({}, client.seen)
    port:close():await()
  end)

  it("checks and makes checksums", function()
    local function sum(header, payload)
      local total = 0
      for byte in (header .. payload):gmatch "." do total = total + byte:byte() end
      return total & 0xffff
    end
    local P = rw.frame("> kind:B length:I2 payload sum:I2", { checksum = sum })
    function P:frame_received(frame) self:send_frame { kind = 1, payload = frame.payload } end
    local wire = "\1\0\2hi" .. string.pack(">I2", sum("\1\0\2", "hi"))
    assert.equal(wire, ask(P, wire, #wire))
    local failed = rw.Deferred()
    function P:checksum_failed(frame)
      failed:callback(frame.payload)
      self.transport:lose_connection()
    end
    local client, port = talk(P, recorder(rw.Protocol))
    client.transport:write(wire:sub(1, -2) .. "?")
    assert.equal("hi", failed:await())
    client.lost:await()
    port:close():await()
  end)

  it("says which field of a frame is missing or does not fit", function()
    local client, port = talk(rw.Protocol, recorder(rw.frame "> kind:B id:I2 length:I1"))
    assert.error_matches(function() client:send_frame { kind = 1 } end, "the field id is missing")
    assert.error_matches(function() client:send_frame { kind = 300, id = 1 } end, "the field kind:")
    assert.error_matches(function() client:send_frame { kind = 1, id = 1, payload = 5 } end, "payload")
    local sent, failure = client:send_frame { kind = 1, id = 1, payload = ("x"):rep(256) }
    assert.is_nil(sent)
    assert.equal("too_long", failure.code)
    client.transport:lose_connection()
    port:close():await()
  end)

  it("has a maximum of its own", function()
    local client, port = talk(echo("> s2", { max = 4 }), recorder(rw.Protocol))
    client.transport:write "\0\4abcd\0\5"
    assert.equal("\0\4abcd", client.more:get():await())
    client.lost:await()
    port:close():await()
  end)

  it("refuses options that make no sense", function()
    for _, options in ipairs { { count = "all" }, { max = -1 }, { max = 1.5 }, { max = "9" } } do
      local ok, why = pcall(rw.frame, "length:I4", options)
      assert.falsy(ok)
      assert.truthy(tostring(why):find("frame_spec.lua:%d+: frame:"), why)
    end
  end)

  it("refuses patterns that make no sense, and says why", function()
    assert.matches("no length", refusal "> kind:B")
    assert.matches("two fields \"a\"", refusal "> a:B a:B s1")
    assert.matches("two fields \"length\"", refusal "> s1 s1")
    assert.matches("two payloads", refusal "> length:B payload payload")
    assert.matches("behind the payload", refusal "> payload length:B")
    assert.matches("\"z\" is no format", refusal "> z s1")
    assert.matches("\"s\" is no format", refusal "> s")
    assert.matches("unsigned", refusal "> length:i4")
    assert.matches("no number", refusal "> B=x s1")
    assert.matches("does not fit", refusal "> B=256 s1")
    assert.matches("more than 64 bytes", refusal "> c65 s1")
    assert.matches("cannot be called", refusal "> header:B s1")
    assert.matches("counts", refusal("> s1", { counts = "none" }))
    assert.matches("checksum", refusal("> s1", { checksum = print }))
    assert.matches("must be a string", refusal(5))
  end)
end)
