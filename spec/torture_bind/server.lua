-- SPDX-License-Identifier: MIT
-- What torture_bind serves while memory fails: a port of each kind, and a path for
-- each thing that a script may begin and wait for. Whatever is given up in the
-- middle has to end: the request that waits for it is answered, or cut.

local rw, web = require "ropewalk", require "ropewalk.web"
local core = require "ropewalk.core"

local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write(bytes) end

local Lines = rw.LineProtocol:extend "Lines"
local lost = 0 -- made, and not told that they are lost
function Lines:connection_made()
  self.counted = true
  lost = lost + 1
end
function Lines:connection_lost()
  if self.counted then lost = lost - 1 end
end
function Lines:line_received(line)
  if lost > 1 then line = "connection_lost was not told" end
  if line == "wait" then rw.sleep(0.002):await() end
  if line == "forever" then rw.sleep(1000):await() end
  self:send_line(line:upper())
end

local Datagrams = rw.DatagramProtocol:extend "Datagrams"
function Datagrams:datagram_received(bytes, address) self.transport:write(bytes, address) end

local echoes = rw.Factory:for_protocol(Echo)
echoes.reload_policy = "migrate"

local echo = rw.server("tcp:127.0.0.2:0", echoes)
local lines = rw.server("tcp:127.0.0.3:0", rw.Factory:for_protocol(Lines))
local datagrams = rw.server("udp:127.0.0.4:0", rw.Factory:for_protocol(Datagrams))

local site = web.Site()
site:get("/plain/:name", function(request) return "hello " .. request.params.name end)
site:get("/wait", function()
  rw.sleep(0.001):await()
  return "waited"
end)
site:get("/forever", function(request)
  request:on_finish(function() end)
  rw.sleep(1000):await()
end)
site:get("/json", function(request) return web.json { query = request.query.q, list = { 1, 2, 3 } } end)
site:get("/stream", function()
  return web.stream(function(write)
    for i = 1, 3 do
      write(("piece %d, "):format(i))
      rw.sleep(0.001):await()
    end
    write "the end"
  end)
end)
site:post("/read", function(request) return request:read():reverse() end)
site:post("/upload", function(request)
  local bytes = 0
  for piece in request:chunks() do bytes = bytes + #piece end
  return ("%d bytes"):format(bytes)
end)
site:get("/upgrade", function(request) request:upgrade("lines", {}, rw.Factory:for_protocol(Lines)) end)
local unfinished = 0
site:get("/finish", function(request)
  if unfinished > 0 then return "on_finish was not told" end
  request:on_finish(function() unfinished = unfinished - 1 end)
  unfinished = unfinished + 1
  for _ = 1, 4 do core.spawn_detached(error, "on purpose: its task is not used again") end
  return "finishing"
end)

-- Connections that are made -----------------------------------------------------

local Asker = rw.LineProtocol:extend "Asker"
function Asker:init() self.answer = rw.Deferred() end
function Asker:connection_made() self:send_line "question" end
function Asker:line_received(line)
  self.answer:callback(line)
  self.transport:lose_connection()
end
function Asker:connection_lost(reason)
  if not self.answer:called() then self.answer:errback(reason) end
end

site:get("/connect", function()
  local asker = rw.connect("tcp:127.0.0.3:" .. lines.port, rw.Factory:for_protocol(Asker)):await()
  return asker.answer:await()
end)
site:get("/refused", function()
  local ok, failure = pcall(function()
    rw.connect("tcp:127.0.0.5:1", rw.Factory:for_protocol(Asker)):await()
  end)
  return ok and "connected" or failure.code
end)

local Pinger = rw.DatagramProtocol:extend "Pinger"
function Pinger:init() self.answer = rw.Deferred() end
function Pinger:start_protocol() self.transport:write "ping" end
function Pinger:datagram_received(bytes) self.answer:callback(bytes) end

site:get("/datagram", function()
  local pinger = rw.connect("udp:127.0.0.4:" .. datagrams.port, rw.Factory:for_protocol(Pinger)):await()
  local answer = pinger.answer:add_timeout(0.05):await()
  pinger.transport:lose_connection()
  return answer
end)

-- Deferreds and time --------------------------------------------------------------

site:get("/chain", function()
  local first = rw.Deferred()
  rw.call_later(0.001, first.callback, first, 1)
  return first:add_callback(function(n) return rw.succeed(n + 1) end)
    :add_callback(function(n) error("number " .. n) end)
    :add_errback(function(failure) return failure.message:match "number %d" end)
end)
site:get("/unhandled", function()
  rw.fail(rw.Failure.new("nobody", "nobody takes this"))
  return "left"
end)
site:get("/later", function()
  local done = rw.Deferred()
  local never = rw.call_later(100, done.callback, done, "never")
  rw.call_later(0.001, function()
    never:cancel()
    done:callback "later"
  end)
  return done
end)
site:get("/loop", function()
  local turns = 0
  local loop
  loop = rw.LoopingCall(function()
    turns = turns + 1
    if turns == 3 then loop:stop() end
  end)
  loop:start(0.001):await()
  return turns .. " turns"
end)
site:get("/gather", function()
  local function work(n)
    rw.sleep(n / 1000):await()
    return n
  end
  local results = rw.gather { rw.spawn(work, 1), rw.spawn(work, 2), rw.spawn(work, 0) }:await()
  return table.concat(results, " ")
end)

-- Threads, children -----------------------------------------------------------------

site:get("/thread", function()
  return rw.defer_to_thread(function(text) return text:rep(3) end, "ab"):await()
end)
site:get("/child", function()
  return rw.run_process("sh", { "-c", "echo output; echo more >&2" }):await().stdout
end)

local pool = rw.ThreadPool { max = 1 }
site:get("/post", function()
  local told = rw.Deferred()
  local function message(n)
    if n == 2 then told:callback "2 messages" end
  end
  pool:call({ on_message = message }, function()
    for n = 1, 2 do rw.thread.post(n) end
  end):await()
  return told
end)

local Job = rw.ProcessProtocol:extend "Job"
function Job:init() self.done = rw.Deferred() end
function Job:process_ended(reason) self.done:callback("status " .. reason.status) end
site:get("/spawn", function()
  local job = Job()
  assert(rw.spawn_process(job, "sh", { "-c", "exit 3" }))
  return job.done
end)

local services = require "carriers"(site, { Lines = Lines, Asker = Asker, Pinger = Pinger,
  Datagrams = Datagrams, echo = echo, lines = lines })
for _, each in ipairs { echo, lines, datagrams, rw.server("tcp:127.0.0.1:0", site) } do
  table.insert(services, each)
end
return services
