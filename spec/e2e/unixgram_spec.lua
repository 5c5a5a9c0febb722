-- SPDX-License-Identifier: MIT
-- UNIX datagrams: sockets in this process.
local eventually = require("spec.support.core").eventually
local rw = require "ropewalk"
local unixgram = require "spec.support.unixgram"

local Client, Echo = unixgram.Client, unixgram.Echo
local connect, listen = unixgram.connect, unixgram.listen

local function code_of(fn, ...)
  local ok, failure = pcall(fn, ...)
  return not ok and failure.code
end
local function exists(path) return os.rename(path, path) ~= nil end
local function shell(command)
  local pipe <close> = io.popen(command)
  return (pipe:read "a")
end

describe("A UNIX datagram socket", function()
  local dir, path
  before_each(function()
    dir = rw.testing.temp_dir()
    path = dir .. "/s"
  end)

  it("gets datagrams, answers, and knows who is there", function()
    local port = listen(Echo, path)
    assert.equal("unix", port.address.kind)
    assert.equal(path, port.address.path)
    local client = connect(path)
    for _, bytes in ipairs { "hello", "", ("x"):rep(8192) } do
      assert.is_true(client.transport:write(bytes))
      assert.equal(bytes, client.more:get():await())
    end
    assert.equal("unix:" .. path, tostring(client.from))
    assert.equal(client.from, client.transport.peer)
    assert.equal(client.from, port.address)
    assert.matches("^@%x+$", client.transport.host.path) -- of the system's choice
    assert.equal(client.transport.host, port.protocol.from)
    client.transport:lose_connection():await()
    port:stop_listening():await()
    assert.is_false(exists(path))
  end)

  it("may have a name of its own as a client, which goes with it", function()
    local port = listen(Echo, path .. ":mode=600")
    assert.equal("600 socket\n", shell("stat -c '%a %F' " .. path))
    local client = connect(path .. ":mode=620:bind=" .. dir .. "/c")
    assert.equal("620\n", shell("stat -c %a " .. dir .. "/c"))
    client.transport:write "x"
    assert.equal("x", client.more:get():await())
    assert.equal(dir .. "/c", port.protocol.from.path)
    client.transport:lose_connection()
    assert.is_false(exists(dir .. "/c"))
    port:stop_listening():await()
  end)

  it("may be abstract", function()
    local name = "@ropewalk-" .. dir:gsub("/", "-")
    local port = listen(Echo, name)
    assert.equal(name, port.address.path)
    assert.equal("EADDRINUSE", code_of(listen, Echo, name))
    local client = connect(name .. ":bind=" .. name .. "-client")
    client.transport:write "x"
    assert.equal("x", client.more:get():await())
    assert.equal(name .. "-client", port.protocol.from.path)
    client.transport:lose_connection()
    port:stop_listening():await()
    port = listen(Echo, name)
    port:stop_listening():await()
  end)

  it("sends to addresses as text, as table, as received; not to those of another kind", function()
    local port, other = listen(Echo, path), listen(Client, dir .. "/other")
    local transport = other.protocol.transport
    for _, address in ipairs { "unix:" .. path, port.address, { path = path } } do
      assert.is_true(transport:write("x", address))
      assert.equal("x", other.protocol.more:get():await())
    end
    assert.is_true(transport:write("y", other.protocol.from))
    assert.equal("y", other.protocol.more:get():await())
    for _, address in ipairs { "127.0.0.1:53", "unix:", path, 5, { path = ("x"):rep(108) }, { path = "" } } do
      assert.error_matches(function() transport:write("x", address) end, "an address is expected")
    end
    local sent, failure = transport:write("x", "unix:" .. dir .. "/nobody")
    assert.is_nil(sent)
    assert.equal("ENOENT", failure.code)
    sent, failure = transport:write "x"
    assert.is_nil(sent)
    assert.equal("ENOTCONN", failure.code)
    assert.equal(0, other.protocol.refusals)
    local udp = rw.listen("udp:127.0.0.1:0", rw.Factory:for_protocol(Client)):await()
    assert.error_matches(function() udp.protocol.transport:write("x", port.address) end, "an address is expected")
    assert.error_matches(function() udp.protocol.transport:connect "unix:/x" end, "an address is expected")
    udp:close():await()
    assert.is_true(transport:connect("unix:" .. path))
    assert.is_true(transport:write "z")
    assert.equal("z", other.protocol.more:get():await())
    port:close():await()
    other:close():await()
  end)

  it("cannot answer a sender without a name, and says so", function()
    local port = listen(Echo, path)
    rw.run_process("/usr/bin/env", { "socat", "-u", "EXEC:printf hello", "UNIX-SENDTO:" .. path }):await()
    eventually(function() return port.protocol.from end)
    assert.equal("unix", port.protocol.from.kind)
    assert.equal("", port.protocol.from.path)
    assert.is_nil(port.protocol.sent)
    assert.equal("EDESTADDRREQ", port.protocol.failure.code)
    port:close():await()
  end)

  it("finds its server again when that was started anew", function()
    local port = listen(Echo, path)
    local client = connect(path)
    port:close():await()
    for n = 1, 2 do
      local sent, failure = client.transport:write "x"
      assert.is_nil(sent)
      assert.equal("ENOENT", failure.code)
      eventually(function() return client.refusals == n end)
    end
    port = listen(Echo, path)
    assert.is_true(client.transport:write "again")
    assert.equal("again", client.more:get():await())
    client.transport:lose_connection()
    port:close():await()
  end)

  it("drops what is too long", function()
    local port = listen(Echo, path .. ":max_datagram=100")
    local client = connect(path)
    local sent, failure = client.transport:write(("x"):rep(1 << 23))
    assert.is_nil(sent)
    assert.equal("EMSGSIZE", failure.code)
    client.transport:write(("x"):rep(101))
    client.transport:write(("x"):rep(100))
    assert.equal(100, #client.more:get():await())
    client.transport:lose_connection()
    port:close():await()
  end)

  it("refuses what cannot be", function()
    assert(io.open(dir .. "/file", "w")):close()
    local port = listen(Echo, path)
    local streams = rw.listen("unix:" .. dir .. "/streams", rw.Factory:for_protocol(rw.Protocol)):await()
    assert.equal("EADDRINUSE", code_of(listen, Echo, path))
    assert.equal("EADDRINUSE", code_of(listen, Echo, dir .. "/streams"))
    assert.equal("EADDRINUSE", code_of(listen, Echo, dir .. "/file"))
    assert.equal("ENOENT", code_of(listen, Echo, dir .. "/none/s"))
    assert.equal("RW_ENONAME", code_of(listen, Echo, dir .. "/t:user=no_such_user"))
    assert.is_false(exists(dir .. "/t"))
    assert.equal("ENOENT", code_of(connect, dir .. "/none"))
    assert.equal("EPROTOTYPE", code_of(connect, dir .. "/streams"))
    assert.equal("ECONNREFUSED", code_of(connect, dir .. "/file"))
    assert.equal("EADDRINUSE", code_of(connect, path .. ":bind=" .. path))
    local ok, failure = pcall(listen, rw.Protocol, dir .. "/t")
    assert.is_false(ok)
    assert.matches("rw.DatagramProtocol", tostring(failure))
    assert.is_nil((port.protocol.transport:join_group "239.1.2.3"))
    assert.is_true(exists(path) and exists(dir .. "/file") and exists(dir .. "/streams"))
    streams:close():await()
    port:close():await()
  end)

  it("leaves no descriptor and no file behind, whatever goes wrong", function()
    assert(io.open(dir .. "/file", "w")):close()
    local function descriptors()
      rw.sleep(0.1):await() -- the last ones are being closed
      return tonumber(shell "ls /proc/$PPID/fd | wc -l")
    end
    local function all()
      for _, what in ipairs { "none/s", "none/s:lockfile=1", "file", "file:lockfile=1", "t:user=no_such_user",
        "t:user=no_such_user:lockfile=1" } do
        assert.truthy(code_of(listen, Echo, dir .. "/" .. what))
      end
      for _, what in ipairs { "none", "none:lockfile=1", "file", "file:bind=" .. dir .. "/own",
        "file:bind=" .. dir .. "/file" } do
        assert.truthy(code_of(connect, dir .. "/" .. what))
      end
    end
    all()
    local before, after = descriptors(), nil
    for _ = 1, 20 do all() end
    for _ = 1, 20 do -- what earlier tests have closed may still be on its way
      after = descriptors()
      if after <= before then break end
    end
    assert.is_true(after <= before, after .. " descriptors, not " .. before)
    assert.equal("file\nfile.lock\n", shell("ls " .. dir))
  end)
end)
