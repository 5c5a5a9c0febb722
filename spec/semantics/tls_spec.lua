-- SPDX-License-Identifier: MIT
-- What user code depends on, one sentence a test: TLS in mid-stream.
local core = require "ropewalk.core"
local rw = require "ropewalk"
local Peer = require "spec.support.peer"
local eventually, testing = Peer.eventually, rw.testing

local PIECE <const>, PIECES <const> = ("a"):rep(65536), 200

local function write_file(path, text)
  local file <close> = assert(io.open(path, "w"))
  file:write(text)
end

-- A server's context and the options with which a client trusts it.
local function certificate()
  local dir = testing.temp_dir()
  local key = core.tls_make_key "p256"
  local now = core.time() // 1
  write_file(dir .. "/key.pem", key)
  write_file(dir .. "/cert.pem", assert(core.tls_make_certificate { subject = "CN=localhost",
    names = { "localhost" }, key = key, not_before = now - 60, not_after = now + 3600 }))
  return assert(rw.tls.server_context { cert = dir .. "/cert.pem", key = dir .. "/key.pem" }),
    { name = "localhost", ca = dir .. "/cert.pem" }
end

describe("Beginning TLS in mid-stream", function()
  it("moves a producer that is registered already onto TLS: what it makes is encrypted, and it is "
    .. "paused and resumed by what waits there", function()
    local context, trusting = certificate()
    local calls = { pause_producing = 0, resume_producing = 0, stop_producing = 0 }
    local Server = rw.LineProtocol:extend "Server"
    function Server:connection_made()
      local transport, left, paused = self.transport, PIECES, false
      local producer = {}
      function producer.pause_producing()
        calls.pause_producing = calls.pause_producing + 1
        paused = true
      end
      function producer.resume_producing()
        calls.resume_producing = calls.resume_producing + 1
        paused = false
        while left > 0 and not paused do
          left = left - 1
          transport:write(PIECE)
        end
        if left == 0 then transport:unregister_producer() end
      end
      function producer.stop_producing() calls.stop_producing = calls.stop_producing + 1 end
      self.producer = producer
      transport:register_producer(producer, true)
    end
    function Server:line_received()
      self:send_line "go ahead"
      assert(self.transport:start_tls { context = context })
      self.producer.resume_producing()
      self.transport:lose_connection() -- waits for the producer
    end

    local got = 0
    local Client = Peer:extend "Client"
    function Client:data_received(bytes)
      if self.transport.tls then
        got = got + #bytes
      else
        assert.equal("go ahead\r\n", bytes)
        assert(self.transport:start_tls(trusting))
      end
    end
    local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(Server)):await()
    testing.add_cleanup(function() port:close():await() end)
    local client = rw.connect("tcp:127.0.0.1:" .. port.address.port,
      rw.Factory:for_protocol(Client)):await()
    client.transport:write "STARTTLS\r\n"
    eventually(function() return got > 0 end)
    client.transport:pause_producing()
    rw.sleep(0.05):await()
    assert.truthy(calls.pause_producing >= 1, "nobody read, and it was not paused")
    client.transport:resume_producing()
    client.ended:await()
    assert.equal(#PIECE * PIECES, got)
    assert.equal(calls.pause_producing, calls.resume_producing - 1)
    assert.equal(0, calls.stop_producing)
  end)
end)
