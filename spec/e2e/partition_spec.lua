-- SPDX-License-Identifier: MIT
-- A network that falls apart: two namespaces with a cable between them, whose one
-- end is taken down. No packet says so to either side.
local e2e = require "spec.support.e2e"

local HERE <const>, THERE <const> = "198.18.7.1", "198.18.7.2" -- of the range for tests

local function allowed()
  local _, status = e2e.shell "ip -V && unshare -n ip link add rw-test-a type veth peer name rw-test-b"
  return status == 0
end

local SERVER <const> = [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write(bytes) end
function Echo:connection_lost(reason) rw.log.info("lost", { name = reason.name, code = reason.code }) end
return rw.server(rw.config.listen, rw.Factory:for_protocol(Echo))]]

local CLIENT <const> = [[
local Pinger = rw.Protocol:extend "Pinger"
function Pinger:connection_made() rw.log.info "pinger connected" end
function Pinger:data_received() rw.log.info "pinger heard" end
function Pinger:connection_lost(reason) rw.log.info("pinger lost " .. tostring(reason.code)) end
local client = rw.client(rw.config.to, rw.Factory:for_protocol(Pinger), {
  retry_policy = rw.ClientService.backoff_policy { initial_delay = 0.2, max_delay = 1 } })
return { client, rw.TimerService(0.2, function()
  client:when_connected():add_callback(function(protocol) protocol.transport:write "ping" end)
    :add_errback(function(failure) failure:trap "cancelled" end)
end) }]]

describe("A partition #root", function()
  local names

  local function ip(...)
    local out, status = e2e.shell("ip " .. table.concat({ ... }, " "))
    if status ~= 0 then error(out, 2) end
  end

  local function cable(state) ip("-n", names[2], "link set rw-there", state) end

  -- A wrapper that begins in a namespace.
  local function inside(n) return ("exec 3>&-; [ -n \"$RW_IN\" ] || RW_IN=1 exec ip netns exec %s \"$0\" \"$@\"")
    :format(names[n]) end

  local function start(n, text, options)
    options.shell, options.wait = inside(n), false
    return e2e.start(text, options)
  end

  before_each(function()
    if not allowed() then return end
    local id = e2e.shell "echo $$":match "%d+"
    names = { "rw-here-" .. id, "rw-there-" .. id }
    for _, name in ipairs(names) do ip("netns add", name) end
    ip("-n", names[1], "link add rw-here type veth peer name rw-there netns", names[2])
    ip("-n", names[1], "address add", HERE .. "/24 dev rw-here")
    ip("-n", names[2], "address add", THERE .. "/24 dev rw-there")
    ip("-n", names[1], "link set rw-here up")
    cable "up"
  end)

  after_each(function()
    e2e.finish()
    for _, name in ipairs(names or {}) do e2e.shell("ip netns del " .. name) end
    names = nil
  end)

  -- Is anything known of a connection by the kernel there?
  local function sockets(n)
    local out = e2e.shell(("ip netns exec %s cat /proc/net/tcp"):format(names[n]))
    return select(2, out:gsub("\n[^\n]* 01 ", ""))
  end

  local function connected(options, endpoint)
    if not names then return pending "network namespaces need root, ip and unshare" end
    local server = start(2, SERVER, { set = { listen = ("tcp:%s:7000%s"):format(THERE, endpoint or "") },
      args = options })
    server:await_log "listening"
    local client = start(1, CLIENT, { set = { to = ("tcp:%s:7000:timeout=1"):format(THERE) },
      args = { "--limit", "session_timeout=3000" } })
    client:await_log "pinger heard"
    assert.equal(1, sockets(2))
    return server, client
  end

  it("is found by a client that hears nothing; it is back when the network is", function()
    local server, client = connected()
    if not server then return end
    client:mark()
    cable "down"
    client:await_log("pinger lost", 20)
    e2e.shell "sleep 2.5" -- some tries fail
    assert.falsy(client:since():find "pinger connected")
    client:mark()
    cable "up"
    client:await_log("pinger heard", 20)
  end)

  it("is found by the session_timeout of the server", function()
    local server = connected { "--limit", "session_timeout=2000" }
    if not server then return end
    server:mark()
    cable "down"
    server:await_log("lost", 20)
  end)

  it("is found by the keep-alive of a server that was about to say something", function()
    local server, client = connected(nil, ":keepalive=1")
    if not server then return end
    server:mark()
    cable "down"
    server:await_log("lost", 20) -- after six seconds
    assert.truthy(server:since():find "ETIMEDOUT" or server:since():find "EHOSTUNREACH", server:since())
    client:await_log("pinger lost", 20)
  end)

  it("that heals in time loses nothing", function()
    local server, client = connected()
    if not server then return end
    server:mark()
    client:mark()
    cable "down"
    e2e.shell "sleep 0.6"
    cable "up"
    client:await_log("pinger heard", 20)
    assert.falsy(client:since():find "lost" or server:since():find "lost")
  end)
end)
