-- SPDX-License-Identifier: MIT
-- Objects that a single call does not make: connections with their ends, requests,
-- children, ports. Each scene puts into the pool what it has made.

local core = require "ropewalk.core"
local rw = require "ropewalk"
local web = require "ropewalk.web"
local words = require "door.words"

return function(scenes)
  local byte, pick, keep, keep_all = scenes.byte, scenes.pick, scenes.keep, scenes.keep_all
  local acts, object, value, try = scenes.acts, scenes.object, scenes.value, scenes.try
  local may_act = scenes.may_act

  local Talk = rw.Protocol:extend "Talk"
  for _, hook in ipairs { "connection_made", "data_received", "line_received", "string_received", "connection_lost",
    "write_connection_lost", "line_length_exceeded", "frame_received" } do
    Talk[hook] = function(self, ...)
      keep(self)
      keep(self.transport)
      if may_act() then return acts(byte() % 4)(...) end
    end
  end
  local ENGINES <const> = { "raw", "line", "netstring" }

  local function talk_class()
    local class = Talk:extend("Talk", { engine = pick(ENGINES) })
    if byte() > 127 then class.events = { line = "line_received", string = "string_received" } end
    return class
  end

  local function factory() return rw.Factory:for_protocol(talk_class()) end

  local function site()
    local s = web.Site()
    local function handler(request)
      keep_all(request, request.headers)
      for _ = 1, byte() % 8 do if may_act() then acts(1)() end end
      return pick { "text", "later", "value" } == "value" and value() or object()
    end
    for _, method in ipairs { "get", "post" } do s[method](s, "/*rest", handler) end
    return s
  end

  local function two_ends(server, client)
    try("pair", core.pair, server, client, function(...)
      keep_all(...)
      local protocol = ...
      if type(protocol) == "table" and protocol.transport then
        keep(protocol.transport)
        pcall(protocol.transport.write, protocol.transport, pick(words.requests))
      end
      acts(byte() % 4)()
    end)
  end

  return {
    function() two_ends(factory(), factory()) end,
    function() two_ends(site(), factory()) end,
    function()
      local port = keep_all(rw.listen("tcp:127.0.0.1:0", pick { factory, site }()):await())
      local client = keep_all(rw.connect("tcp:127.0.0.1:" .. port.port, factory()):await())
      client.transport:write(pick(words.requests))
      keep(client.transport)
    end,
    function()
      local d = keep_all(rw.Deferred(pick(scenes.functions)))
      d:add_both(pick(scenes.functions))
      if byte() > 127 then d:add_callback(function() return object() end) end
    end,
    function()
      keep(rw.spawn_process(rw.ProcessProtocol(), "/bin/cat", {}, { child_fds = { [0] = "w", "r", "r" } }))
    end,
    function()
      local class = rw.DatagramProtocol:extend("Datagrams", { datagram_received = acts(2) })
      local port = keep_all(rw.listen("udp:127.0.0.1:0", class()):await())
      keep(port.protocol.transport)
      port.protocol.transport:write("to itself", port.address)
    end,
    function() keep(rw.ThreadPool { max = 1 }) end,
    function() keep(rw.defer_to_thread(function(...) return require "ropewalk.core".now(...) end, value())) end,
    function() keep_all(rw.call_later(0.002, acts(2)), core.timer(0.001, acts(1))) end,
    function() keep(core.tls_make_key()) end,
    function() keep(core.simulator()) end,
    function() keep_all(rw.frame(pick(words.texts)), rw.frame "> kind:B length:I4") end,
    function() keep(core.router()) keep(site()) end,
    function() keep_all(core.dir ".", core.dir "/dev", core.dir "/usr/share/doc") end,
    function() keep_all(core.task(), core.spawn(acts(2)), core.spawn_detached(pick(scenes.functions))) end,
    function() keep(core.ship(value(), value())) end,
    function() keep_all(core.names_resolve("localhost", acts(1)), core.names_lookup("example.test", 1, acts(1))) end,
    function() keep_all(rw.testing.Clock(), rw.testing.StringTransport()) end,
    function() keep_all(rw.MultiService(), rw.Service(), rw.TimerService(0.01, acts(1)), rw.LoopingCall(acts(1))) end,
    function() keep_all(rw.DeferredLock(), rw.DeferredSemaphore(1), rw.DeferredQueue()) end,
    function() keep(rw.pipe(object(), object())) end,
    function() keep(rw.limits) keep(core.limits) keep(core.null) end,
    function() core.turn_end(pick(scenes.functions)) end,
    function() keep(coroutine.running()) end,
  }
end
