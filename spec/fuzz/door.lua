-- SPDX-License-Identifier: MIT
-- The script of fuzz_door.c: reads the input's bytes as calls of the public API
-- and of the core, with arguments of every kind, made when the script is loaded,
-- in its checks, while it serves, in hooks and callbacks, and when it stops. What
-- calls return goes into a pool, whose objects are called in turn.

local core = require "ropewalk.core"
local rw = require "ropewalk"
local web = require "ropewalk.web"

local getmetatable = debug.getmetatable
local pack, unpack = table.pack, table.unpack

local input, at = rw.host.input(), 0
local MAX_CALLS <const>, MAX_DEPTH <const>, MAX_POOL <const> = 120, 6, 48
local calls, depth = 0, 0
local pool, newest = {}, 0
local act

-- The bytes, as choices ------------------------------------------------------

local function byte()
  at = at + 1
  return input:byte(at) or 0
end

local over = false
local function more()
  if at < #input and calls < MAX_CALLS then return true end
  if not over then rw.host.over() end
  over = true
  return false
end
local function pick(list) return list[byte() % #list + 1] end
local function wide(list) return list[(byte() << 8 | byte()) % #list + 1] end

local function keep(value)
  local kind = type(value)
  if kind ~= "table" and kind ~= "userdata" and kind ~= "function" and kind ~= "thread" then return end
  newest = newest + 1
  pool[newest <= MAX_POOL and newest or byte() % MAX_POOL + 1] = value
end

local function keep_all(...)
  for i = 1, select("#", ...) do keep((select(i, ...))) end
  return ...
end

local function object()
  if newest == 0 then return nil end
  local count = #pool
  if byte() % 2 == 0 then return pool[count] end
  return pool[byte() % count + 1]
end

-- What is called: names only, so that a call loads no more than it needs -------

local function sorted(t)
  local names = {}
  for name in next, t do if type(name) == "string" then names[#names + 1] = name end end
  table.sort(names)
  return names
end

local function all_names()
  local seen = {}
  for name in pairs(rw) do seen[name] = true end
  local lazy = {}
  for i = 1, 9 do
    local name, value = debug.getupvalue(getmetatable(rw).__index, i)
    if name == "LAZY" then lazy = value end
  end
  for name in pairs(lazy) do seen[name] = true end
  return sorted(seen)
end

local RW <const>, CORE <const>, WEB <const> = all_names(), sorted(core), sorted(web)

-- What can be read of a value by name: its own fields, its class's, and those of
-- the classes above.
local function fields_of(value)
  local seen, meta = {}, getmetatable(value)
  local function add(t)
    for _ = 1, 4 do
      if type(t) ~= "table" then break end
      for name in next, t do seen[name] = true end
      local above = getmetatable(t)
      t = above and rawget(above, "__index")
    end
  end
  if type(value) == "table" then add(value) end
  if meta then
    add(meta)
    add(rawget(meta, "__index"))
  end
  if type(value) == "userdata" and rawequal(meta, getmetatable(core.limits)) then add(core.limits) end
  return sorted(seen)
end

-- Values ---------------------------------------------------------------------

local circle = {}
circle[1], circle.self, circle.factory = circle, circle, circle

local TEXTS <const> = {
  "", "a", "\0", "tcp:127.0.0.1:0", "unix:door.sock", "udp:127.0.0.1:0", "tcp:127.0.0.1:1",
  "ssl:127.0.0.1:0", "proxy:tcp:127.0.0.1:0", "tcp:localhost:0:max_line=1", "/bin/cat",
  "/bin/true", "cat", ".", "GET", "POST", "/", "/a/:b/*c", "*", "/a/%00", "%", "%s%n%p",
  "before", "during", "after", "startup", "shutdown", "raw", "line", "netstring", "frame", "http1",
  "keep", "discard", "refuse", "crlf", "any", "\r\n", "3:abc,", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "> kind:B length:I4", "TERM", "KILL", "HUP", "127.0.0.1", "::1", "localhost", "A", "AAAA", "PTR",
  "broadcast", "ttl", "nodelay", "info", "error", "debug", "text/plain", "Set-Cookie", "Content-Length",
  "idle_timeout", "script_memory", "max_line", ("x"):rep(70000), ("\xff\xfe"):rep(300), "{\"a\":[1,null]}",
  "bytes=0-5", "k", "rw", "r", "w", "pty", "null", "inherit", "hook", "next_message", "migrate", "finish",
}
local NUMBERS <const> = {
  0, 1, -1, 2, 0.5, -0.0, 0 / 0, 1 / 0, -1 / 0, math.maxinteger, math.mininteger, 1 << 31, (1 << 31) - 1,
  1 << 32, -(1 << 31), 2 ^ 53, 1e308, 1e-300, 255, 256, 65535, 65536, 1000000, 200, 404, 101, 0.001, 16,
}
local KEYS <const> = {
  "kind", "host", "port", "path", "mode", "timeout", "limits", "headers", "status", "body", "files", "argv",
  "env", "fds", "directory", "trust", "version", "proxy", "tls_context", "certificate", "key", "min", "max",
  "queue", "time", "memory", "seed", "engine", "events", "build_protocol", "http", "router", "answer", "failed",
  "frame_format", "reload_policy", "traffic_log", "addresses", "backlog", "user", "group", "fd", "name", "index",
  "bind", "bind_port", "idle", "one_way", "keep_end", "detach", "servers", "search", "hosts_file", "resolv_file",
  "script", "cpath", "args", "child_fds", "pty", "uid", "gid", "cwd", "rows", "columns", "finishes",
  "groups", "own_group", "death_signal", "factory", "protocol", "transport", "wake", "n", "width", "offset",
  "header", "little", "plain", "fixed", "mask", "delimiter", "clock", "faults", "turn_limit", "names",
  "connection_made", "connection_lost", "data_received", "line_received", "make_connection", "init", "__index",
  "__call", "__tostring", "__close", "start_service", "stop_service", "canceller", "code", "message", "cause",
  "kept", "days", "sign", "identity", "identities", "authority", "alpn", "verify", "max_version", "min_version",
}

local function acts(count)
  return function(...)
    keep_all(...)
    for _ = 1, count do if more() and depth < MAX_DEPTH then act() end end
    return object(), ...
  end
end

local function deep() return 1 + deep() end
local function spin() while true do end end
local function sleep_a_bit(...)
  rw.sleep(0.001):await()
  return ...
end

local FUNCTIONS <const> = {
  function() end, function() error "on purpose" end, function() error() end, function() error(circle) end,
  function(...) return coroutine.yield(...) end, acts(1), acts(2), acts(3), acts(6), sleep_a_bit,
  function() return rw.await(object()) end, function() return unpack({}, 1, 200) end, function() return nil, "x" end,
  function(...) return ... end, function() return 1, 2, 3 end, print, next, getmetatable, coroutine.wrap(sleep_a_bit),
  function(...)
    core.spawn(acts(2), ...)
    return core.park()
  end,
}

local FIELDS <const> = { "limits", "peer", "host", "headers", "params", "query", "cookies", "size",
  "connected", "buffered", "transport", "body" }

local value

local function a_table()
  local t = {}
  for _ = 1, byte() % 6 do
    local how = byte()
    if how < 180 then t[wide(KEYS)] = value() else t[#t + 1] = value() end
  end
  if byte() > 200 then setmetatable(t, { __index = pick(FUNCTIONS), __len = pick(FUNCTIONS),
    __newindex = pick(FUNCTIONS), __pairs = pick(FUNCTIONS), __tostring = pick(FUNCTIONS),
    __name = value() }) end
  return t
end

local levels = 0
function value()
  local how = byte() % 32
  if how < 2 then return nil end
  if how < 3 then return byte() > 127 end
  if how < 8 then return pick(NUMBERS) end
  if how < 13 then return pick(TEXTS) end
  if how < 14 then return input:sub(at + 1, at + byte() % 32) end
  if how < 16 then return byte() end
  if how < 17 then return byte() > 230 and pick { deep, spin } or circle end
  if how < 22 then return pick(FUNCTIONS) end
  if how < 25 and levels < 3 then
    levels = levels + 1
    local t = a_table()
    levels = levels - 1
    return t
  end
  if how < 26 then return coroutine.create(pick(FUNCTIONS)) end
  if how < 27 then return rw[wide(RW)] end
  return object()
end

local function arguments()
  local list = { n = byte() % 6 }
  for i = 1, list.n do list[i] = value() end
  return unpack(list, 1, list.n)
end

-- Calls ----------------------------------------------------------------------

local function try(name, fn, ...)
  calls = calls + 1
  rw.host.say("call " .. name)
  local results = pack(pcall(fn, ...))
  rw.host.say((results[1] and "  ok " or "  no ") .. tostring(type(results[2]) == "string" and results[2] or ""))
  for i = 2, results.n < 9 and results.n or 9 do keep(results[i]) end
end

-- Not a cat on the machine's files, nor a descriptor that is libFuzzer's.
local NEVER <const> = { source = true, config = true, say = true, input = true, host = true }

local function call_field(name, of, with_self)
  local found, member = pcall(function() return of[name] end)
  if not found or NEVER[name] then return end
  if type(member) == "table" and not with_self then
    keep(member)
    local inner = fields_of(member)
    if #inner > 0 and byte() > 40 then
      name = pick(inner)
      of, member = member, member[name]
    end
    with_self = byte() % 4 > 0
  end
  if type(member) ~= "function" and not (getmetatable(member) or {}).__call then
    return keep(member)
  end
  if with_self then return try(name, member, of, arguments()) end
  return try(name, member, arguments())
end

local function call_object()
  local it = object()
  local names = fields_of(it)
  if #names > 0 then call_field(pick(names), it, byte() > 20) else try("()", it, arguments()) end
end

local function get_and_set()
  local it, name, new = object(), byte() > 60 and pick(FIELDS) or value(), nil
  if byte() > 200 then new = value() end
  local meta = getmetatable(it)
  if meta and not rawget(meta, "__index") then return end
  try("get", function() return it[name], tostring(it), #it end)
  if new ~= nil then try("set", function() it[name] = new end) end
end

-- Objects that a single call does not make -------------------------------------

local Talk = rw.Protocol:extend "Talk"
for _, hook in ipairs { "connection_made", "data_received", "line_received", "string_received", "connection_lost",
  "write_connection_lost", "line_length_exceeded", "frame_received" } do
  Talk[hook] = function(self, ...)
    keep(self)
    keep(self.transport)
    if more() and depth < MAX_DEPTH then return acts(byte() % 4)(...) end
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
    for _ = 1, byte() % 8 do if more() and depth < MAX_DEPTH then act() end end
    return pick { "text", "later", "value" } == "value" and value() or object()
  end
  for _, method in ipairs { "get", "post" } do s[method](s, "/*rest", handler) end
  return s
end

local REQUESTS <const> = {
  "GET /a?b=c HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
  "GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: talk\r\n\r\nmore",
  "HEAD / HTTP/1.0\r\n\r\n", "line\r\n3:abc,\r\n",
}

local function two_ends(server, client)
  try("pair", core.pair, server, client, function(...)
    keep_all(...)
    local protocol = ...
    if type(protocol) == "table" and protocol.transport then
      keep(protocol.transport)
      pcall(protocol.transport.write, protocol.transport, pick(REQUESTS))
    end
    acts(byte() % 4)()
  end)
end

local SCENES <const> = {
  function() two_ends(factory(), factory()) end,
  function() two_ends(site(), factory()) end,
  function()
    local port = keep_all(rw.listen("tcp:127.0.0.1:0", pick { factory, site }()):await())
    local client = keep_all(rw.connect("tcp:127.0.0.1:" .. port.port, factory()):await())
    client.transport:write(pick(REQUESTS))
    keep(client.transport)
  end,
  function()
    local d = keep_all(rw.Deferred(pick(FUNCTIONS)))
    d:add_both(pick(FUNCTIONS))
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
  function() keep_all(rw.frame(pick(TEXTS)), rw.frame "> kind:B length:I4") end,
  function() keep(core.router()) keep(site()) end,
  function() keep_all(core.dir ".", core.dir "/dev", core.dir "/usr/share/doc") end,
  function() keep_all(core.task(), core.spawn(acts(2)), core.spawn_detached(sleep_a_bit)) end,
  function() keep(core.ship(value(), value())) end,
  function() keep_all(core.names_resolve("localhost", acts(1)), core.names_lookup("example.test", 1, acts(1))) end,
  function() keep_all(rw.testing.Clock(), rw.testing.StringTransport()) end,
  function() keep_all(rw.MultiService(), rw.Service(), rw.TimerService(0.01, acts(1)), rw.LoopingCall(acts(1))) end,
  function() keep_all(rw.DeferredLock(), rw.DeferredSemaphore(1), rw.DeferredQueue()) end,
  function() keep(rw.pipe(object(), object())) end,
  function() keep(rw.limits) keep(core.limits) keep(core.null) end,
  function() core.turn_end(pick(FUNCTIONS)) end,
  function() pool[#pool + 1] = coroutine.running() end,
}

-- One act ----------------------------------------------------------------------

local ACTS <const> = {
  function() call_field(wide(RW), rw, false) end,
  function() call_field(wide(CORE), core, false) end,
  function() call_field(wide(WEB), web, false) end,
  call_object, call_object, call_object, call_object, get_and_set,
  function() try("scene", pick(SCENES)) end,
  function() try("wrap", coroutine.wrap(acts(2)), arguments()) end,
  function() try("spawn", rw.spawn, acts(2), arguments()) end,
  function() try("await", rw.await, object()) end,
  function() try("later", rw.call_later, 0.001, acts(2)) end,
  function() collectgarbage(byte() > 100 and "step" or "collect") end,
  function() pool[byte() % MAX_POOL + 1] = pool[#pool] end,
  function() try("close", function() local _ <close> = object() end) end,
}

function act()
  depth = depth + 1
  local ok, why = pcall(pick(ACTS))
  if not ok then rw.host.say("  act: " .. tostring(type(why) == "string" and why)) end
  depth = depth - 1
end

local function some(count)
  for _ = 1, count do if more() then act() end end
end

-- When ---------------------------------------------------------------------------

local Fuzz = rw.Service:extend "Fuzz"
function Fuzz:start_service() -- luacheck: ignore 212
  some(byte() % 32)
  core.spawn_detached(function()
    while more() do
      some(4)
      rw.sleep(0):await()
    end
  end)
  keep(rw.call_later(0.01, some, 8))
end
function Fuzz:stop_service() some(8) end -- luacheck: ignore 212
function Fuzz:save() return value() end -- luacheck: ignore 212
function Fuzz:restore(saved) -- luacheck: ignore 212
  keep(saved)
  some(4)
end

rw.exports.more = function(...)
  keep_all(...)
  some(4)
  return value()
end
rw.on_check(function() some(4) end)
rw.reactor:add_system_event_trigger("before", "shutdown", some, 8)
rw.reactor:add_system_event_trigger("after", "startup", some, 4)
some(byte() % 16)

local service = Fuzz()
service:set_name "fuzz"
return service
