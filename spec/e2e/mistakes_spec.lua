-- SPDX-License-Identifier: MIT
-- What authors and operators get wrong, as they get it wrong. Each message names
-- what, where (the line of the script), and what to do.
local e2e = require "spec.support.e2e"

-- Who connects to such a protocol as P.
local CONNECTED <const> = [[
return rw.run(function()
  local port = rw.listen("tcp:127.0.0.1:0", F or rw.Factory:for_protocol(P)):await()
  local at = "tcp:127.0.0.1:" .. port.port
  local client = rw.connect(at, rw.Factory:for_protocol(rw.Protocol)):await()
  rw.sleep(0.05):await()
  client.transport:abort_connection()
end)
]]

local binary = e2e.shell("readlink -f " .. e2e.quote(e2e.binary)):gsub("%s+$", "")

-- A shell command in a folder; $rw is our binary.
local function shell_in(dir, command)
  return e2e.shell(("cd %s && rw=%s && %s"):format(dir, e2e.quote(binary), command))
end

local function run(text)
  local dir = e2e.directory()
  e2e.write(dir .. "/app.lua", e2e.script(text))
  return shell_in(dir, "timeout 10 $rw run app.lua")
end

-- `wanted` are plain texts of the log, in this order.
local function says(name, text, ...)
  local wanted = { ... }
  it(name, function()
    local log = run(text)
    local at = 1
    for _, each in ipairs(wanted) do
      local _, last = log:find(each, at, true)
      assert.truthy(last, each .. " is not in\n" .. log)
      at = last
    end
  end)
end

local function says_of_protocol(name, text, ...)
  says(name, "local F, P\n" .. text .. "\n" .. CONNECTED, ...)
end

describe("An author's mistake is named with its line:", function()
  after_each(e2e.finish)

  says("waiting in a callback of C", [[
return rw.run(function()
  table.sort({ 3, 1, 2 }, function(a, b) rw.sleep(0):await() return a < b end)
end)]], "app.lua:2: cannot wait here, inside a callback of a C function")

  says("a dot for a colon", [[
local Echo = rw.Protocol.extend "Echo"]], 'app.lua:1: extend: called with a dot; write Class:extend "Name"')

  says("a dot for a colon, again", [[
local Echo = rw.Protocol:extend "Echo"
return rw.server("tcp:127.0.0.1:0", rw.Factory.for_protocol(Echo))]],
    "app.lua:2: for_protocol: called with a dot; write rw.Factory:for_protocol(Class)")

  says("a plain table as a class", [[
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol({}))]],
    'app.lua:1: for_protocol: a class is needed, such as rw.Protocol:extend "Echo"')

  says("a hook in Twisted's spelling", [[
local Echo = rw.Protocol:extend "Echo"
function Echo:dataReceived(bytes) self.transport:write(bytes) end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))]],
    "app.lua:3: for_protocol: class Echo has dataReceived; here it is called data_received")

  says("no callback at all", [[
return rw.run(function() rw.Deferred():add_callbacks() end)]],
    "app.lua:1: add_callbacks: a function is missing")

  says("a number for an endpoint", [[
return rw.server(8080, web.Site())]], "app.lua: ", 'a string is needed, not a number; is "tcp:8080" meant?')

  says("a URL for an endpoint", [[
return rw.server("http://127.0.0.1:8080/", web.Site())]],
    "app.lua: ", "a web site is served at tcp:[HOST:]PORT")

  says("a site over datagrams", [[
return rw.server("udp:127.0.0.1:0", web.Site())]], "a web site is not served by datagrams")

  says("a limit that is no number", [[
rw.limits.max_body = "big"]], "app.lua:1: limit max_body: a number is expected, not a string")

  says("fields of the log that are none", [[
rw.log.info("hello", "world")]], "app.lua:1: bad argument #2 to 'info' (table expected, got string)")

  says("a policy that does not exist", [[
local factory = rw.Factory:for_protocol(rw.Protocol)
factory.reload_policy = "migrat"
return rw.server("tcp:127.0.0.1:0", factory)]],
    "app.lua: reload_policy 'migrat': 'next_message', 'migrate' or 'finish' expected")

  says("an option that does not exist", [[
return rw.run(function() rw.run_process("true", {}, { timout = 1 }):await() end)]],
    "app.lua:1: spawn_process: there is no option timout")

  says("an option of a site that does not exist", [[
web.Site { limit = {} }]], "app.lua:1: Site: there is no option 'limit'")

  says("an option of a client that does not exist", [[
rw.client("tcp:1", rw.Factory:for_protocol(rw.Protocol), { retry = 1 })]],
    "app.lua:1: client: there is no option 'retry'")

  says("a status that is none", [[
rw.reactor:stop "now"]], "app.lua:1: bad argument #1 to 'stop' (number expected, got string)")

  says("a redirect to nowhere", [[
web.redirect()]], "app.lua:1: bad argument #1 to 'redirect' (string expected, got nil)")

  says("a service that does not start", [[
local Db = rw.Service:extend "Db"
function Db:start_service() error "no database" end
return { Db(), rw.run(function() end) }]], "service Db did not start: app.lua:2: no database")

  says_of_protocol("a class where an object is meant", [[
F, P = rw.Factory:extend "F"(), rw.Protocol:extend "P"
function F:build_protocol() return P end]], "app.lua:3: build_protocol returned class P: a class; ")

  says_of_protocol("a protocol that is none", [[
F = rw.Factory:extend "F"()
function F:build_protocol() return "x" end]], "app.lua:3: build_protocol returned x: not a protocol")

  says_of_protocol("a class to switch to", [[
P = rw.Protocol:extend "P"
function P:connection_made() self.transport:switch_protocol(rw.LineProtocol) end]],
    "app.lua:3: switch_protocol: class LineProtocol is a class; an object of it is expected")

  says_of_protocol("an error that is a table", [[
P = rw.Protocol:extend "P"
function P:connection_made() error { code = "busy", message = "too many users" } end]],
    "too many users", "app.lua:3")

  says_of_protocol("a producer that is none", [[
P = rw.Protocol:extend "P"
function P:connection_made() self.transport:register_producer({}, true) end]],
    "app.lua:3: bad argument #1 to 'register_producer' (producer with resume_producing expected")

  says_of_protocol("a line that is no text", [[
P = rw.LineProtocol:extend "P"
function P:connection_made() self:send_line {} end]], "app.lua:3: a line to send must be a string, not table")

  says_of_protocol("a line that would be two", [[
P = rw.LineProtocol:extend "P"
function P:connection_made() self:send_line "a\nb" end]], "app.lua:3: this line cannot be sent: ")

  it("and what the script returns is explained without a traceback", function()
    for text, wanted in pairs {
      ["web.Site()"] = "app.lua returned nothing (is there a `return` at its end?)",
      ["return web.Site()"] = "app.lua returned a Site, which is no service; put it into rw.server",
      ["x x"] = "app.lua:1: syntax error near 'x'",
    } do
      local log, status = run(text)
      assert.equal(1, status)
      assert.truthy(log:find(wanted, 1, true), log)
      assert.falsy(log:find("stack traceback", 1, true), log)
    end
  end)

  it("a handler's failure tells the request, but not its query", function()
    local child = e2e.start [[
local site = web.Site()
site:get("/users/:id", function() return {} end)
return rw.server("tcp:127.0.0.1:0", site)]]
    assert.equal(500, child:get("/users/7?secret=1").status)
    child:await_log "handler failed"
    local log = child:log()
    assert.truthy(log:find("handler failed method=GET path=/users/7 generation=1", 1, true), log)
  end)
end)

describe("What is forgiven:", function()
  after_each(e2e.finish)

  says_of_protocol("a protocol whose factory nobody set", [[
F, P = rw.Factory:extend "F"(), rw.Protocol:extend "P"
F.greeting = "hello"
function F:build_protocol() return P() end
function P:connection_made() print(self.factory.greeting, self.factory:connection_count()) end]],
    "hello\\t1")

  says_of_protocol("closing twice, writing afterwards", [[
P = rw.Protocol:extend "P"
function P:connection_made()
  local t = self.transport
  t:lose_connection() t:lose_connection() t:write "x" t:abort_connection() t:abort_connection()
  t:write "x" t:lose_write()
  print "fine"
end]], "fine")

  says_of_protocol("Twisted's words", [[
P = rw.Protocol:extend "P"
function P:connection_made()
  local t = self.transport
  t:set_tcp_no_delay(true) t:set_tcp_keep_alive(true) t:set_tcp_keep_alive(false)
  print("from " .. t:get_peer() .. " to " .. t:get_host(), t:get_peer() == t.peer)
  t:lose_write_connection()
end]], "from 127.0.0.1:", " to 127.0.0.1:", "\\ttrue")

  says("a failure in a text, and a list of Deferreds by its old name", [[
return rw.run(function()
  local pairs = rw.DeferredList({ rw.succeed(1), rw.fail "no" }, { consume_errors = true }):await()
  print("first: " .. pairs[1][2] .. ", second: " .. pairs[2][2])
end)]], "first: 1, second: no")
end)

describe("An operator's mistake is named:", function()
  local SITE <const> = [[
local site = web.Site()
return rw.server(rw.config.listen or "tcp:127.0.0.1:0", site)]]

  local dir
  before_each(function()
    dir = e2e.directory()
    e2e.write(dir .. "/app.lua", e2e.script(SITE))
  end)
  after_each(e2e.finish)

  local function shell(command) return shell_in(dir, command) end

  local function refused(status, arguments, wanted)
    local output, got = shell("timeout 10 $rw " .. arguments)
    assert.equal(status, got, output)
    assert.truthy(output:find(wanted, 1, true), output)
  end

  it("options", function()
    refused(2, "run app.lua --fast", "unknown option '--fast'")
    refused(2, "run app.lua --set", "a value is missing behind '--set'")
    refused(2, "run app.lua" .. (" --set a=b"):rep(65), "64 of --set at most, not also 'a=b'")
    refused(2, "run ''", "which script?")
    refused(2, "run app.lua --limit max_bdy=1", "there is no limit 'max_bdy' (ropewalk limits lists them)")
    refused(2, "run app.lua --limit max_body=10k", "limit max_body: a positive number is expected, not '10k'")
    refused(2, "run app.lua --log-level loud", "unknown log level 'loud': debug, info, warn, error or none")
    refused(2, "run app.lua --log-format xml", "unknown log format 'xml': text or json")
  end)

  it("files that are not there", function()
    refused(1, "run none.lua", "cannot open none.lua: No such file or directory")
    refused(1, "run .", "cannot read .: is it a directory?")
    refused(1, "run app.lua --set listen=tls:0:cert=none.pem:key=none.key",
      "app.lua: cannot open none.pem: No such file or directory")
    local output, status = shell "ROPEWALK_LUA_PATH=/nowhere $rw check app.lua"
    assert.equal(2, status)
    assert.truthy(output:find("ROPEWALK_LUA_PATH: cannot read /nowhere/ropewalk/init.lua", 1, true), output)
  end)

  it("an address that cannot be had", function()
    local child = e2e.start(SITE)
    refused(1, "run app.lua --set listen=tcp:127.0.0.1:" .. child.port, "Address already in use")
    refused(1, "run app.lua --set listen=unix:x.sock:group=no_such_group", "no such user or group")
    if e2e.shell("id -u"):match "^0" then
      e2e.shell("chmod 755 " .. dir)
      local output = shell("setpriv --reuid 65534 --regid 65534 --clear-groups "
        .. "timeout 10 $rw run app.lua --set listen=tcp:127.0.0.1:81")
      assert.truthy(output:find("Permission denied (EACCES); ports below 1024 need root", 1, true), output)
    end
  end)

  it("a disk that is full, where the output should go", function()
    local output, status = shell "$rw limits >/dev/full"
    assert.equal(1, status)
    assert.truthy(output:find("standard output: No space left on device", 1, true), output)
  end)
end)

describe("ropewalk", function()
  after_each(e2e.finish)

  it("runs with its standard descriptors closed, through links, from elsewhere", function()
    local dir = e2e.directory()
    shell_in(dir, "mkdir deep && ln -s app.lua link.lua && ln -s $rw deep/rw")
    e2e.write(dir .. "/other.lua", "return 'beside'")
    e2e.write(dir .. "/app.lua", e2e.script [[
assert(require "other" == "beside")
rw.call_later(0.2, function() rw.reactor:stop(7) end)
return rw.server("tcp:127.0.0.1:0", web.Site())]])
    for _, command in ipairs {
      "./deep/rw run app.lua", "cd deep && ./rw run ../link.lua", "cd / && %s/deep/rw run %s/app.lua",
      "./deep/rw run app.lua <&-", "./deep/rw run app.lua <&- >&- 2>&-", "./deep/rw run app.lua 2>/dev/full",
    } do
      local _, status = shell_in(dir, (command:gsub("%%s", dir)))
      assert.equal(7, status, command)
    end
  end)

  it("explains each command", function()
    for _, command in ipairs { "run", "check", "test", "cert", "limits", "version", "help" } do
      local output, status = e2e.ropewalk(command, "--help")
      assert.equal(0, status)
      assert.truthy(output:find("usage: ropewalk " .. command, 1, true), output)
    end
  end)
end)
