-- SPDX-License-Identifier: MIT
-- The part of server.lua that is about what carries bytes: TLS, the PROXY protocol,
-- files, pipes, pairs in memory, datagrams; and names, and files that change.

local rw = require "ropewalk"
local core = require "ropewalk.core"

local directory = assert(os.getenv "TORTURE_BIND")
local certificate, key = directory .. "/site.pem", directory .. "/site.key"
local download, watched = directory .. "/download", directory .. "/watched"

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

if not io.open(certificate) then -- the first of many loads
  local text, now = core.tls_make_key "p256", core.time() // 1
  write(key, text)
  write(download, ("0123456789"):rep(20000))
  write(watched, "")
  write(certificate, core.tls_make_certificate { names = { "localhost" }, key = text,
    not_before = now - 60, not_after = now + 86400 })
end

---@param site table gets a path for each
---@param known table what server.lua has made
---@return table services
return function(site, known)
  local lines = rw.Factory:for_protocol(known.Lines)
  local asking = rw.Factory:for_protocol(known.Asker)

  local function ask(where)
    return rw.connect(where, asking):await().answer:await()
  end

  -- TLS ---------------------------------------------------------------------------

  local files = (":cert=%s:key=%s"):format(certificate, key)
  local trusting = ":name=localhost:ca=" .. certificate
  local secure = rw.server("tls:tcp:127.0.0.11:0" .. files, lines)
  site:get("/tls", function() return ask("tls:tcp:127.0.0.11:" .. secure.port .. trusting) end)

  local identity = assert(rw.tls.identity(read(certificate), read(key)))
  local chosen = rw.server(rw.tls.over("tcp:127.0.0.12:0", { choose = function(hello)
    rw.sleep(0.001):await()
    return hello.server_name == "localhost" and identity or nil
  end }), lines)
  site:get("/choose", function() return ask("tls:tcp:127.0.0.12:" .. chosen.port .. trusting) end)

  local context = assert(rw.tls.server_context { cert = certificate, key = key })
  local trust = assert(rw.tls.client_context { ca = certificate })
  local Upgrading = known.Lines:extend "Upgrading"
  function Upgrading:line_received(line)
    if line ~= "secure" then return known.Lines.line_received(self, line) end
    self:send_line "go on"
    self.transport:start_tls { context = context }
  end
  local Following = known.Asker:extend "Following"
  function Following:connection_made() self:send_line "secure" end
  function Following:line_received(line)
    if line ~= "go on" then return known.Asker.line_received(self, line) end
    assert(self.transport:start_tls { context = trust, name = "localhost" })
  end
  function Following:handshake_completed() self:send_line "question" end
  local upgrading = rw.server("tcp:127.0.0.13:0", rw.Factory:for_protocol(Upgrading))
  site:get("/start_tls", function()
    return rw.connect("tcp:127.0.0.13:" .. upgrading.port, rw.Factory:for_protocol(Following)):await()
      .answer:await()
  end)

  -- Others around it ----------------------------------------------------------------

  local introduced = rw.server("proxy:tcp:127.0.0.5:0", lines)
  site:get("/introduce", function() return ask("proxy:tcp:127.0.0.5:" .. introduced.port) end)

  local forwarding = rw.server("tcp:127.0.0.6:0", rw.Forwarder(function()
    return "tcp:127.0.0.3:" .. known.lines.port
  end))

  site:get("/pair", function()
    local pair = rw.testing.pair(lines, asking):await()
    return pair.client.answer:await()
  end)

  -- Files ---------------------------------------------------------------------------

  local Counter = rw.Protocol:extend "Counter"
  function Counter:init() self.done, self.size = rw.Deferred(), 0 end
  function Counter:data_received(bytes)
    self.size = self.size + #bytes
    if self.size == 200000 then self.transport:lose_connection() end
  end
  function Counter:connection_lost() self.done:callback(self.size .. " bytes") end
  function Counter:__close() self.transport:abort_connection() end
  local function send_file(where)
    local counter <close> = rw.connect(where, rw.Factory:for_protocol(Counter)):await()
    rw.FileSender():begin_file_transfer(download, counter.transport):await()
    return counter.done:await()
  end
  site:get("/send_file", function() return send_file("tcp:127.0.0.2:" .. known.echo.port) end)
  site:get("/send_slices", function()
    return send_file("tcp:127.0.0.2:" .. known.echo.port .. ":write_rate=100000000")
  end)

  local changed -- Deferred of who waits for a change
  assert(rw.INotify { delay = 0 }:watch(watched, { mask = { "close_write" }, callbacks = { function()
    if changed and not changed:called() then changed:callback "changed" end
  end } }))
  site:get("/change", function()
    changed = rw.Deferred()
    write(watched, "again")
    return changed
  end)

  -- Datagrams, names ------------------------------------------------------------------

  local socket = ("unixgram:%s/%.0f"):format(directory, core.hrtime() * 1e9) -- of this load
  local unixgrams = rw.server(socket, rw.Factory:for_protocol(known.Datagrams))
  site:get("/unixgram", function()
    local pinger = rw.connect(socket, rw.Factory:for_protocol(known.Pinger)):await()
    local answer = pinger.answer:add_timeout(0.05):await()
    pinger.transport:lose_connection()
    return answer
  end)

  -- Whatever it is asked for is 192.0.2.1, or has no other address.
  local Names = rw.DatagramProtocol:extend "Names"
  function Names:datagram_received(query, from)
    local id, question = query:sub(1, 2), query:match("^[^\0]*\0....", 13)
    local is_a = question:sub(-4, -3) == "\0\1"
    local record = is_a and "\xc0\x0c\0\1\0\1\0\0\0\0\0\4\xc0\0\2\1" or ""
    self.transport:write(id .. "\x81\x80\0\1\0" .. (is_a and "\1" or "\0") .. "\0\0\0\0" .. question
      .. record, from)
  end
  local names = rw.server("udp:127.0.0.14:0", rw.Factory:for_protocol(Names))
  local configured = false
  local function configure()
    if configured then return end
    rw.names.configure { servers = { "127.0.0.14:" .. names.port }, hosts_file = "/dev/null",
      limits = { names_try_timeout = 20, names_tries = 3, names_timeout = 1000 } }
    configured = true
  end
  site:get("/lookup", function()
    configure()
    return rw.names.lookup("www.example.com", "A"):await()[1].address
  end)
  site:get("/resolve", function()
    configure()
    return rw.names.resolve("www.example.com"):await()[1]
  end)

  return { secure, chosen, upgrading, introduced, forwarding, unixgrams, names }
end
