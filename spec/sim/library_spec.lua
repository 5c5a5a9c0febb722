-- SPDX-License-Identifier: MIT
-- The library's own classes over networks that cut, delay and reset.

local rw = require "ropewalk"
local web = require "ropewalk.web"
local random = math.random

local AT <const> = "tcp:127.0.0.1:9000"
-- (with a smaller buffer the limit min_rate ends the slowest, as it should)
local CRUEL <const> = { split = 0.7, partial = 0.7, delay = { 0, 0.1 }, buffer = { 200, 3000 } }
local SEEDS <const> = tonumber(os.getenv "SIMULATE") or 100

local function each_seed(fn, faults)
  return rw.testing.simulate_many { count = SEEDS, fn = fn, faults = faults or CRUEL }
end

-- A text of random bytes that has none of these.
local function text(most, without)
  local bytes = {}
  for i = 1, random(0, most) do
    local c = string.char(random(0, 255))
    bytes[i] = without:find(c, 1, true) and "x" or c
  end
  return table.concat(bytes)
end

describe("LineProtocol, however its bytes come,", function()
  it("gives out the lines that were sent, with raw bytes in between", function()
    each_seed(function(sim)
      local delimiter = ({ "any", "crlf", "||" })[random(3)]
      local sent, got = {}, {}
      local Sender = rw.LineProtocol:extend "Sender"
      Sender.delimiter = delimiter
      function Sender:connection_made()
        for i = 1, random(30) do
          if random() < 0.2 then
            sent[i] = "raw:" .. text(300, "")
            self:send_line("raw " .. #sent[i] - 4)
            self.transport:write(sent[i]:sub(5))
          else
            sent[i] = text(300, "\r\n|")
            self:send_line(sent[i])
          end
          if random() < 0.2 then rw.sleep(random() * 0.1):await() end
        end
        self.transport:lose_connection()
      end
      local Receiver = rw.LineProtocol:extend "Receiver"
      Receiver.delimiter = delimiter
      function Receiver:line_received(line)
        local n = line:match "^raw (%d+)$"
        if n then
          self.raw = "raw:"
          if n == "0" then got[#got + 1] = "raw:" else self:set_raw_mode(tonumber(n)) end
        else
          got[#got + 1] = line
        end
        if random() < 0.1 then rw.sleep(0.05):await() end
      end
      function Receiver:raw_data_received(bytes) self.raw = self.raw .. bytes end
      function Receiver:raw_data_ended() got[#got + 1] = self.raw end
      function Receiver:connection_lost(reason) got.reason = reason end

      sim:run_app(rw.server(AT, rw.Factory:for_protocol(Sender)))
      rw.connect(AT, rw.Factory:for_protocol(Receiver)):await()
      sim:run_until(function() return got.reason end, 600)
      assert(got.reason.clean, tostring(got.reason))
      assert(#got == #sent, #got .. " of " .. #sent)
      for i = 1, #sent do assert(got[i] == sent[i]) end
    end)
  end)
end)

local CYCLE = {}
for i = 0, 250 do CYCLE[i + 1] = string.char(i) end
local PATTERN <const> = table.concat(CYCLE):rep(300) -- a byte says where it belongs

describe("a producer, however much a write takes,", function()
  it("is paused and resumed, and nothing is lost or doubled", function()
    each_seed(function(sim)
      local total = random(200000)
      local most = 0
      local Source = rw.Protocol:extend "Source"
      function Source:connection_made()
        local transport, at, streaming = self.transport, 0, random() < 0.5
        transport.limits.high_water, transport.limits.low_water = 8000, 1000
        local producer = { paused = false }
        local function piece()
          local n = math.min(random(3000), total - at)
          transport:write(PATTERN:sub(at % 251 + 1, at % 251 + n))
          at = at + n
          most = math.max(most, transport.buffered)
          if at < total then return true end
          transport:unregister_producer()
          transport:lose_connection()
          return false
        end
        function producer.pause_producing() producer.paused = true end
        function producer.stop_producing() producer.paused = true end
        function producer.resume_producing()
          producer.paused = false
          if streaming then
            while not producer.paused and piece() do end -- luacheck: ignore 542
          else
            piece()
          end
        end
        transport:register_producer(producer, streaming)
        if streaming then producer:resume_producing() end
      end
      local Sink = rw.Protocol:extend "Sink"
      function Sink:connection_made() self.n = 0 end
      function Sink:data_received(bytes)
        assert(bytes == PATTERN:sub(self.n % 251 + 1, self.n % 251 + #bytes))
        self.n = self.n + #bytes
        if random() < 0.1 then
          self.transport:pause_producing()
          rw.call_later(random(), function() self.transport:resume_producing() end)
        end
      end
      function Sink:connection_lost(reason) self.reason = reason end

      sim:run_app(rw.server(AT, rw.Factory:for_protocol(Source)))
      local sink = rw.connect(AT, rw.Factory:for_protocol(Sink)):await()
      sim:run_until(function() return sink.reason end, 3600)
      assert(sink.reason.clean, tostring(sink.reason))
      assert(sink.n == total, sink.n .. " of " .. total)
      assert(most <= 8000 + 3000 + 64 * 1024, most)
    end, { split = 0.5, partial = 0.5, delay = { 0, 0.02 }, buffer = { 100, 20000 } })
  end)
end)

describe("an HTTP site with pipelined requests", function()
  it("answers each, in their order, however they come", function()
    each_seed(function(sim)
      local site = web.Site()
      site:get("/n/:i", function(request)
        if random() < 0.3 then rw.sleep(random() * 0.2):await() end
        return "got " .. request.params.i
      end)
      site:post("/echo", function(request)
        return request:read()
      end)
      sim:run_app(rw.server(AT, site))

      local requests, answers = {}, {}
      for i = 1, random(20) do
        if random() < 0.5 then
          requests[i] = { ("GET /n/%d HTTP/1.1\r\nHost: a.test\r\n\r\n"):format(i), "got " .. i }
        else
          local body = text(500, "")
          requests[i] = { ("POST /echo HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\n\r\n%s")
            :format(#body, body), body }
        end
      end
      local Client = rw.Protocol:extend "Client"
      function Client:connection_made()
        self.buffer = ""
        for _, request in ipairs(requests) do self.transport:write(request[1]) end
      end
      function Client:data_received(bytes)
        self.buffer = self.buffer .. bytes
        while true do
          local head, last = self.buffer:match "^(.-\r\n\r\n)()"
          if not head then return end
          local status = head:match "^HTTP/1.1 (%d+)"
          local n = tonumber(head:lower():match "content%-length: (%d+)" or 0)
          if #self.buffer < last - 1 + n then return end
          answers[#answers + 1] = { status, self.buffer:sub(last, last - 1 + n) }
          self.buffer = self.buffer:sub(last + n)
        end
      end
      local client = rw.connect(AT, rw.Factory:for_protocol(Client)):await()
      sim:run_until(function() return #answers == #requests end, 600)
      for i, request in ipairs(requests) do
        local expected = #request[2] == 0 and "204" or "200"
        assert(answers[i][1] == "200" or answers[i][1] == expected, answers[i][1])
        assert(answers[i][2] == request[2], answers[i][2])
      end
      client.transport:lose_connection()
    end)
  end)
end)

describe("a ClientService on a bad day", function()
  it("backs off, comes back, and never has two connections", function()
    each_seed(function(sim)
      local open, made = 0, 0
      local Server = rw.LineProtocol:extend "Server"
      function Server:line_received(line) self:send_line(line) end
      local Client = rw.LineProtocol:extend "Client"
      function Client:connection_made()
        open, made = open + 1, made + 1
        assert(open == 1, "two connections")
        self:send_line "ping"
      end
      function Client:connection_lost() open = open - 1 end

      local factory = rw.Factory:for_protocol(Client)
      local service = rw.client(AT, factory)
      local tries, last, waits = 0, nil, {}
      local policy = service.retry_policy
      service.retry_policy = function(failures)
        tries = tries + 1
        last = policy(failures)
        waits[#waits + 1] = { failures, last }
        return last
      end
      service:start_service()
      rw.sleep(random(0, 100)):await() -- nobody is there yet
      local port = rw.listen(AT, rw.Factory:for_protocol(Server)):await()
      service:when_connected():await()
      for _ = 1, random(0, 3) do -- and again it goes away
        port:stop_listening():await()
        if service.protocol then service.protocol.transport:abort_connection() end
        rw.sleep(random(0, 200)):await()
        port = rw.listen(AT, rw.Factory:for_protocol(Server)):await()
        service:when_connected():await()
      end
      for _, wait in ipairs(waits) do
        local least = math.min(60, 1.5 ^ (wait[1] - 1))
        assert(wait[2] >= least and wait[2] <= least * 1.2, "back-off")
      end
      sim:set_faults(false)
      rw.await(service:stop_service())
      port:stop_listening():await()
      assert(open == 0, "it is still connected")
    end, { refuse = 0.2, reset = 0.05, delay = { 0, 0.2 } })
  end)
end)
