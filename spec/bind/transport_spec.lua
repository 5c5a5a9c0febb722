-- SPDX-License-Identifier: MIT
-- Transports over real sockets: server and client live in this process.
local eventually = require("spec.support.core").eventually
local rw = require "ropewalk"

local function serve(class, policy)
  local factory = rw.Factory:for_protocol(class)
  factory.reload_policy = policy or "finish"
  return rw.listen("tcp:127.0.0.1:0", factory):await()
end

--- A client that collects what it gets until the end.
local Collector = rw.Protocol:extend "Collector"
function Collector:init()
  self.pieces, self.size, self.ended = {}, 0, rw.Deferred()
end
function Collector:data_received(bytes)
  self.pieces[#self.pieces + 1] = bytes
  self.size = self.size + #bytes
end
function Collector:connection_lost(reason) self.ended:callback { reason = reason } end
function Collector:text() return table.concat(self.pieces) end

local function connect(port, class)
  local at = "tcp:127.0.0.1:" .. port.address.port
  return rw.connect(at, rw.Factory:for_protocol(class or Collector)):await()
end

--- What the server answers to these bytes, up to its close.
local function ask(port, bytes)
  local client = connect(port)
  client.transport:write(bytes)
  client.ended:await()
  return client:text()
end

describe("a transport", function()
  local port
  after_each(function()
    if port then port:close():await() end
    port = nil
  end)

  it("knows both ends, also after the end", function()
    local seen = rw.Deferred()
    local P = rw.Protocol:extend "P"
    function P:connection_made()
      self.before = tostring(self.transport.peer)
      self.transport:lose_connection()
    end
    function P:connection_lost() seen:callback { self.before, tostring(self.transport.peer) } end
    port = serve(P)
    local client = connect(port)
    local host = tostring(client.transport.host)
    assert.same({ host, host }, seen:await())
    assert.equal(port.address.port, client.transport.peer.port)
  end)

  it("flushes all before it closes", function()
    local P = rw.Protocol:extend "P"
    function P:connection_made()
      for _ = 1, 100 do self.transport:write(("x"):rep(50000)) end
      self.transport:lose_connection()
    end
    port = serve(P)
    local client = connect(port)
    assert.is_true(client.ended:await().reason.clean)
    assert.equal(5000000, client.size)
  end)

  it("ignores what is written after the end", function()
    local P = rw.Protocol:extend "P"
    function P:connection_made() self.transport:lose_connection() end
    port = serve(P)
    local client = connect(port)
    client.ended:await()
    client.transport:write "x"
    client.transport:lose_connection()
    assert.is_false(client.transport.connected)
  end)

  it("tells a reader that is slow, and drained() waits for it", function()
    local told, waited = false, false
    local P = rw.Protocol:extend "P"
    function P:data_received()
      for _ = 1, 400 do
        if not self.transport:write(("x"):rep(20000)) then
          told = true
          waited = self.transport:drained()
        end
      end
      self.transport:lose_connection()
    end
    port = serve(P)
    local client = connect(port)
    client.transport:pause_producing()
    client.transport:write "go"
    eventually(function() return told end)
    client.transport:resume_producing()
    client.ended:await()
    assert.is_true(waited)
    assert.equal(8000000, client.size)
  end)

  it("says so to drained() when the peer goes away meanwhile", function()
    local result, full = rw.Deferred(), false
    local P = rw.Protocol:extend "P"
    function P:data_received()
      while self.transport:write(("x"):rep(100000)) do end -- luacheck: ignore 542
      full = true
      result:callback(self.transport:drained())
    end
    port = serve(P)
    local client = connect(port)
    client.transport:pause_producing()
    client.transport:write "go"
    eventually(function() return full end)
    client.transport:abort_connection()
    assert.is_false(result:await())
  end)

  it("asks a pull producer for as much as the peer takes", function()
    local P = rw.Protocol:extend "P"
    function P:connection_made()
      local left, transport = 200, self.transport
      transport:register_producer({
        resume_producing = function()
          left = left - 1
          transport:write(("p"):rep(10000))
          if left == 0 then transport:unregister_producer() end
        end,
        stop_producing = function() end,
      }, false)
      transport:lose_connection() -- waits for the producer
    end
    port = serve(P)
    local client = connect(port)
    client.transport:pause_producing()
    rw.sleep(0.05):await()
    client.transport:resume_producing()
    client.ended:await()
    assert.equal(2000000, client.size)
  end)

  it("pauses a push producer and lets it go on", function()
    local calls = {}
    local P = rw.Protocol:extend "P"
    function P:data_received()
      local transport, running, left = self.transport, true, 300
      local function push()
        while running and left > 0 do
          left = left - 1
          transport:write(("q"):rep(20000))
        end
        if left == 0 then
          left = -1
          transport:unregister_producer()
          transport:lose_connection()
        end
      end
      transport:register_producer({
        pause_producing = function() running = false calls[#calls + 1] = "pause" end,
        resume_producing = function() running = true calls[#calls + 1] = "resume" push() end,
        stop_producing = function() calls[#calls + 1] = "stop" end,
      }, true)
      push()
    end
    port = serve(P)
    local client = connect(port)
    client.transport:write "go"
    client.transport:pause_producing()
    eventually(function() return calls[1] end)
    client.transport:resume_producing()
    client.ended:await()
    assert.equal(6000000, client.size)
    assert.equal("pause", calls[1])
    assert.equal("resume", calls[2])
  end)

  it("closes an idle connection after set_timeout", function()
    local P = rw.Protocol:extend "P"
    function P:connection_made() self.transport:set_timeout(0.05) end
    port = serve(P)
    local client = connect(port)
    local start = rw.reactor:seconds()
    client.ended:await()
    local took = rw.reactor:seconds() - start
    assert.is_true(took >= 0.035 and took < 2, took)
  end)

  it("sends all pieces of a table or none", function()
    local P, why = rw.Protocol:extend "P", nil
    function P:connection_made()
      why = select(2, pcall(self.transport.write, self.transport, { "lost ", { "too ", false } }))
      self.transport:write { "kept ", { 1, { " also" } } }
      self.transport:lose_connection()
    end
    port = serve(P)
    assert.equal("kept 1 also", ask(port, ""))
    assert.matches("the pieces in a table are strings, not a boolean", why, 1, true)
  end)

  it("takes any number of seconds for a time-out, but nothing else", function()
    local P, done = rw.Protocol:extend "P", rw.Deferred()
    function P:connection_made()
      for _, seconds in ipairs { 0, 1.5, 1e300, math.huge, -1 } do self.transport:set_timeout(seconds) end
      done:callback { pcall(self.transport.set_timeout, self.transport, 0 / 0) }
    end
    port = serve(P)
    local client = connect(port)
    assert.is_false((done:await())[1])
    client.transport:lose_connection()
    client.ended:await()
  end)

  it("delivers nothing while a hook waits, and all of it after, in order", function()
    local seen = {}
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line)
      seen[#seen + 1] = line .. "("
      if line == "wait" then rw.sleep(0.02):await() end
      seen[#seen + 1] = ")"
      if line == "end" then self.transport:lose_connection() end
    end
    port = serve(P)
    ask(port, "a\nwait\nb\nwait\nend\n")
    assert.equal("a()wait()b()wait()end()", table.concat(seen))
  end)

  it("cancels a waiting hook when the connection is lost", function()
    local outcome = rw.Deferred()
    local P = rw.Protocol:extend "P"
    function P:data_received()
      local ok, failure = pcall(function() rw.Deferred():await() end)
      outcome:callback { ok, failure.code }
    end
    port = serve(P)
    local client = connect(port)
    client.transport:write "x"
    rw.sleep(0.02):await()
    client.transport:abort_connection()
    assert.same({ false, "cancelled" }, outcome:await())
  end)
end)

describe("a line protocol", function()
  local port
  after_each(function() port:close():await() end)

  it("reads a literal between lines, in one packet too", function()
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line)
      local n = line:match "^literal (%d+)$"
      if n then self:set_raw_mode(tonumber(n)) else self:send_line("line " .. line) end
      if line == "end" then self.transport:lose_connection() end
    end
    function P:raw_data_received(bytes) self:send_line("raw " .. bytes) end
    port = serve(P)
    assert.equal("line a\r\nraw bbb\r\nline d\r\nline end\r\n",
      ask(port, "a\nliteral 3\nbbbd\nend\n"))
  end)

  it("takes back what of the raw bytes was too much", function()
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line)
      self:send_line("line " .. line)
      if line == "raw" then self:set_raw_mode() end
      if line == "end" then self.transport:lose_connection() end
    end
    function P:raw_data_received(bytes)
      local body, rest = bytes:match "^(.-)%.(.*)$"
      self:send_line("body " .. (body or bytes))
      if body then self:set_line_mode(rest) end
    end
    port = serve(P)
    assert.equal("line raw\r\nbody xyz\r\nline back\r\nline end\r\n",
      ask(port, "raw\nxyz.back\nend\n"))
  end)

  it("hears of a line that is too long, may answer, and is closed", function()
    local P = rw.LineProtocol:extend "P"
    P.max_length = 20
    function P:line_received(line) self:send_line(line) end
    function P:line_length_exceeded() self:send_line "500 too long" end
    port = serve(P)
    assert.equal("ok\r\n500 too long\r\n", ask(port, "ok\n" .. ("x"):rep(100)))
  end)

  it("cannot be made to send two lines for one", function()
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line)
      local ok = pcall(self.send_line, self, line .. "\r\nQUIT")
      self:send_line(tostring(ok))
      self.transport:lose_connection()
    end
    port = serve(P)
    assert.equal("false\r\n", ask(port, "x\n"))
  end)
end)
