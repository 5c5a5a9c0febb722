-- SPDX-License-Identifier: MIT
-- core.listen and core.connect: what becomes of who waits for a connection, and which
-- fields of an endpoint are refused.
local core = require "ropewalk.core"
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local secure = require "spec.support.secure"
local testing = rw.testing
local fails = ends.fails

local function serve(class)
  local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(class or rw.Protocol)):await()
  testing.add_cleanup(function() port:close():await() end)
  return "tcp:127.0.0.1:" .. port.port
end

--- A factory whose build_protocol is this.
local function building(fn)
  local Building = rw.Factory:extend "Building"
  Building.build_protocol = fn
  return Building()
end

local function errors(n) assert.equal(n, #testing.flush_logged_errors()) end

describe("A connection that gets no protocol", function()
  it("fails when the factory refuses it", function()
    local failure = fails(rw.connect(serve(), building(function() return nil end)))
    assert.equal("RW_EABORTED", failure.code)
    assert.matches("the factory refused the connection", failure.message)
  end)

  it("fails when build_protocol raises, or gives something else", function()
    local at = serve()
    assert.equal("RW_ESCRIPT", fails(rw.connect(at, building(function() error "no" end))).code)
    assert.equal("RW_ESCRIPT", fails(rw.connect(at, building(function() return 5 end))).code)
    errors(2)
  end)

  it("fails when connection_made raises, and is closed", function()
    local ended = rw.Deferred()
    local Far = rw.Protocol:extend "Far"
    function Far:connection_made() self.transport:write "hello" end
    function Far:connection_lost() ended:callback() end -- luacheck: ignore 212
    local Bad = rw.Protocol:extend "Bad"
    function Bad:connection_made() error "no" end -- luacheck: ignore 212
    assert.equal("RW_ESCRIPT", fails(rw.connect(serve(Far), rw.Factory:for_protocol(Bad))).code)
    ended:await()
    errors(1)
  end)

  it("fails when the peer goes away before connection_made has returned", function()
    local Far = rw.Protocol:extend "Far"
    function Far:data_received() self.transport:abort_connection() end
    local Slow = rw.Protocol:extend "Slow"
    function Slow:connection_made()
      self.transport:write "x"
      rw.sleep(60):await()
    end
    local at = serve(Far)
    assert.equal("ECONNRESET", fails(rw.connect(at, rw.Factory:for_protocol(Slow))).code)
    local caught = building(function()
      pcall(function() rw.sleep(60):await() end)
      return rw.Protocol()
    end)
    local Rude = rw.Protocol:extend "Rude"
    function Rude:connection_made() rw.call_later(0.05, self.transport.abort_connection, self.transport) end
    assert.equal("ECONNRESET", fails(rw.connect(serve(Rude), caught)).code)
  end)

  it("makes a client service try again", function()
    local _ <close> = rw.log.capture()
    local built, clock = 0, testing.Clock()
    local client = rw.client(serve(), building(function()
      built = built + 1
      return built > 1 and rw.Protocol() or nil
    end), { clock = clock, retry_policy = function() return 1 end })
    client:start_service()
    ends.eventually(function() return client.state == "WAITING" end)
    clock:advance(1)
    client:when_connected():await()
    client:stop_service():await()
  end)

  it("is not asked for again when its handshake is over", function()
    local dir, built = secure.directory(), 0
    local port = rw.listen("tls:tcp:127.0.0.1:0" .. secure.server(dir), building(function()
      built = built + 1
      return nil
    end)):await()
    local client = rw.connect("tls:tcp:127.0.0.1:" .. port.port .. secure.client(dir),
      rw.Factory:for_protocol(ends.Collector)):await()
    client.ended:await()
    assert.equal(1, built)
    port:close():await()
  end)

  it("fails when start_protocol of datagrams raises", function()
    local Bad = rw.DatagramProtocol:extend "Bad"
    function Bad:start_protocol() error "no datagrams today" end -- luacheck: ignore 212
    local failure = fails(rw.connect("udp:127.0.0.1:9", rw.Factory:for_protocol(Bad)))
    assert.matches("no datagrams today", tostring(failure))
  end)
end)

describe("A name for datagrams that is too long for an address", function()
  local where = "udp:" .. ("a"):rep(60) .. "." .. ("b"):rep(60) .. ".test:53"
  local factory = rw.Factory:for_protocol(rw.DatagramProtocol)

  it("is looked up like any other", function()
    assert.equal("name_not_found", fails(rw.connect(where, factory)).code)
    assert.equal("RW_ENONAME", fails(rw.listen(where, factory)).code)
  end)
end)

describe("The fields of an endpoint", function()
  local fields
  setup(function() rw.endpoint.register("fielded", function() return fields end) end)

  local function refuses(field, value, why)
    fields = { kind = "tcp", host = "127.0.0.1", port = 1 }
    fields[field] = value
    local failure = fails(rw.connect("fielded:x", rw.Factory:for_protocol(rw.Protocol)))
    assert.equal("bad_endpoint", failure.code)
    assert.matches(why, failure.message)
    local plain = { kind = "tcp", host = "127.0.0.1", port = 1 }
    plain[field] = value
    local ok, raised = pcall(core.connect, plain, rw.Factory(), print)
    assert.is_false(ok, field)
    assert.matches("endpoint: " .. field, raised)
  end

  it("are not cut to the size of C's", function()
    for _, port in ipairs { 65536, -1, 65536 + 80, 1 << 32, math.mininteger } do
      refuses("port", port, "port")
    end
    refuses("backlog", (1 << 32) + 1, "backlog")
    refuses("mode", 1 << 32, "mode")
    refuses("keepalive", (1 << 32) + 60, "keepalive")
    refuses("bind_port", 65536, "bind_port")
    refuses("timeout", 0 / 0, "timeout")
    refuses("timeout", -1, "timeout")
    refuses("timeout", "soon", "timeout")
    refuses("host", "127.0.0.1\0.example.com", "host")
    refuses("host", ("x"):rep(256), "host")
    refuses("user", ("x"):rep(33), "user")
  end)

  it("keep a path whole", function()
    for _, path in ipairs { "/tmp/a\0b", ("/long"):rep(40) } do
      fields = { kind = "unix", path = path }
      assert.equal("bad_endpoint", fails(rw.connect("fielded:x", rw.Factory:for_protocol(rw.Protocol))).code)
    end
  end)
end)

describe("A factory", function()
  local Counted = rw.Factory:extend "Counted"
  Counted.protocol = rw.Protocol
  function Counted:init() self.calls = {} end
  function Counted:start_factory()
    self.calls[#self.calls + 1] = "start"
    if self.calls.no_start then error "it does not start" end
  end
  function Counted:stop_factory()
    self.calls[#self.calls + 1] = "stop"
    if self.calls.no_stop then error "it does not stop" end
  end

  local function listen(factory) return rw.listen("tcp:127.0.0.1:0", factory) end

  it("that fails to start has no port, and is started for the next one", function()
    local factory = Counted()
    factory.calls.no_start = true
    assert.error_matches(function() listen(factory) end, "it does not start")
    assert.equal(0, factory.ports)
    factory.calls.no_start = nil
    listen(factory):await():close():await()
    assert.same({ "start", "start", "stop" }, factory.calls)
  end)

  it("that is refused is stopped, and the script's line is blamed", function()
    local factory = Counted()
    factory.reload_policy = "never"
    local ok, why = pcall(listen, factory)
    assert.is_false(ok)
    assert.matches("listen_spec.lua:%d+: reload_policy 'never'", why)
    assert.same({ "start", "stop" }, factory.calls)
    assert.equal(0, factory.ports)
  end)

  it("that fails to stop fails who has closed the port, once the port is closed", function()
    local factory = Counted()
    factory.calls.no_stop = true
    local port = listen(factory):await()
    assert.matches("it does not stop", tostring(fails(port:stop_listening())))
    factory.calls.no_stop = nil
    rw.listen("tcp:127.0.0.1:" .. port.port, factory):await():close():await()
  end)
end)
