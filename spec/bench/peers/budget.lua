-- SPDX-License-Identifier: MIT
-- What `spec/bench/budget` counts the instructions of, in Lua: one workload, so
-- many times. Where there are connections, both ends are here.
--
--   ropewalk run spec/bench/peers/budget.lua --set workload=hello --set count=1000

local rw = require "ropewalk"
local web = require "ropewalk.web"

local workloads = {}

-- A client that sends `request` again whenever an answer has come, whole: those
-- that are that long. Over TCP, both ends here.
local function ask(factory, request, count)
  local all, Asker, left, size, got = rw.Deferred(), rw.Protocol:extend "Asker", count, nil, 0
  function Asker:connection_made() self.transport:write(request) end
  function Asker:data_received(data)
    size, got = size or #data, got + #data
    if got < size then return end
    left, got = left - 1, 0
    if left > 0 then return self.transport:write(request) end
    self.transport:lose_connection()
  end
  function Asker:connection_lost() all:callback() end
  local port = rw.listen("tcp:127.0.0.1:0", factory):await()
  rw.connect("tcp:127.0.0.1:" .. port.port, rw.Factory:for_protocol(Asker)):await()
  all:await()
  port:stop_listening():await()
end

function workloads.hello(count)
  local site = web.Site()
  site:get("/", function() return "Hello from Ropewalk\n" end)
  ask(site, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", count)
end

function workloads.echo(count)
  local Echo = rw.Protocol:extend "Echo"
  function Echo:data_received(data) self.transport:write(data) end
  ask(rw.Factory:for_protocol(Echo), ("x"):rep(64), count)
end

function workloads.line(count)
  local Lines = rw.LineProtocol:extend "Lines"
  function Lines:line_received(line) self:send_line(line) end
  ask(rw.Factory:for_protocol(Lines), ("x"):rep(40) .. "\r\n", count)
end

local function callback(result) return result end

function workloads.chain(count)
  for _ = 1, count do
    local d = rw.Deferred()
    for _ = 1, 5 do d:add_callback(callback):add_errback(callback) end
    d:callback(1)
  end
end

local function fails() error "no" end
local function mends() return 1 end

function workloads.failure(count)
  for _ = 1, count do
    local d = rw.Deferred()
    d:add_callback(fails):add_errback(mends)
    d:callback(1)
  end
end

function workloads.await(count)
  for _ = 1, count do
    local d = rw.Deferred()
    local task = rw.spawn(function() return d:await() end)
    d:callback(1)
    task:await()
  end
end

function workloads.call_later(count)
  local all, left = rw.Deferred(), count
  local function fire()
    left = left - 1
    if left == 0 then all:callback() end
  end
  for _ = 1, count do rw.call_later(0.001, fire) end
  all:await()
end

return rw.run(function()
  workloads[rw.config.workload](tonumber(rw.config.count))
end)
