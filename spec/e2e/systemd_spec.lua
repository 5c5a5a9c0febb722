-- SPDX-License-Identifier: MIT
-- Sockets that the process is started with: systemd: (by systemd's own
-- systemd-socket-activate, or a launcher that does the same) and fd:.
local e2e = require "spec.support.e2e"

-- usage: launch.py SPEC… -- COMMAND…; SPEC: listen, unix, connected, datagram, unixgram
-- or talking (a connected datagram socket), maybe with =NAME. The addresses go to the
-- file beside this one.
local LAUNCHER <const> = [[
import fcntl, os, socket, sys
at = sys.argv.index("--")
here, env, names, keep = os.path.dirname(sys.argv[0]), dict(os.environ), [], []
with open(here + "/sockets", "w") as out:
    for spec in sys.argv[1:at]:
        kind, _, name = spec.partition("=")
        if kind == "unix":
            s = socket.socket(socket.AF_UNIX)
            s.bind(here + "/" + name)
            s.listen()
        elif kind == "connected":
            s, other = socket.socketpair()
            if os.fork() == 0: # the other end: says hello, writes down what comes
                s.close()
                other.sendall(b"hello\n")
                with open(here + "/heard", "wb") as f:
                    while data := other.recv(100): f.write(data); f.flush()
                    f.write(b"end\n")
                os._exit(0)
            other.close()
        elif kind == "datagram":
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            s.bind(("127.0.0.1", 0))
            out.write("%s %d\n" % (name, s.getsockname()[1]))
        elif kind == "unixgram":
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            s.bind(here + "/" + name)
        elif kind == "talking":
            s, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            if os.fork() == 0:
                s.close()
                other.send(b"hello")
                with open(here + "/heard", "wb") as f: f.write(other.recv(100))
                os._exit(0)
            other.close()
        else:
            s = socket.create_server(("127.0.0.1", 0))
            out.write("%s %d\n" % (name, s.getsockname()[1]))
        names.append(name)
        keep.append(s)
high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 100) for s in keep]
for i, fd in enumerate(high): os.dup2(fd, 3 + i, inheritable=True)
for fd in high: os.close(fd)
env.setdefault("LISTEN_PID", str(os.getpid()))
env.setdefault("LISTEN_FDS", str(len(high)))
if "=" in " ".join(sys.argv[1:at]): env.setdefault("LISTEN_FDNAMES", ":".join(names))
os.execvpe(sys.argv[at + 1], sys.argv[at + 1:], env)
]]

local SITE <const> = [[
local site = web.Site()
site:get("/", function() return rw.config.word or rw.generation .. "\n" end)
]]

describe("A systemd: endpoint", function()
  after_each(e2e.finish)

  -- The script, started by the launcher with these sockets; {name = port}.
  local function launch(script, sockets, environment)
    local dir = e2e.directory()
    e2e.write(dir .. "/launch.py", LAUNCHER)
    local child = e2e.start(script, { wait = false, shell = ([[
%s
exec /usr/bin/env python3 %s/launch.py %s -- %s "$@"]]):format(environment or "", dir, sockets,
      e2e.quote(e2e.binary)) })
    local ports = {}
    e2e.wait(function() return child:log():find "generation=1" or child:log():find "failed" end)
    for name, port in e2e.read(dir .. "/sockets"):gmatch "(%S*) (%d+)\n" do ports[name] = port end
    child.sockets = dir
    return child, ports
  end
  local function ask(port) return (e2e.curl("http://127.0.0.1:" .. port .. "/")) end

  it("serves what systemd-socket-activate passes, several sockets by name", function()
    if select(2, e2e.shell "command -v systemd-socket-activate") ~= 0 then
      return pending "there is no systemd-socket-activate"
    end
    local one, two = e2e.free_port(), e2e.free_port()
    local path = e2e.directory() .. "/s"
    local child = e2e.start(SITE .. [[
      local other = web.Site()
      other:get("/", function(request) return "other " .. request.peer.kind .. "\n" end)
      return { rw.server("systemd:web", site), rw.server("systemd:name=admin", other) }]], { wait = false,
      shell = ("exec systemd-socket-activate -l 127.0.0.1:%d -l 127.0.0.1:%d -l %s --fdname=web:admin:admin %s \"$@\"")
        :format(one, two, path, e2e.quote(e2e.binary)) })
    child:await_log "Listening on"
    assert.equal("1\n", ask(one))
    assert.equal("other tcp\n", ask(two))
    assert.equal("other unix\n", (e2e.curl("--unix-socket", path, "http://x/")))
    assert.is_true((child:reload()))
    assert.equal("2\n", ask(one))
    assert.equal("other tcp\n", ask(two))
  end)

  it("finds sockets by name or number, all of one name, whatever their kind", function()
    local child, ports = launch(SITE .. [[
      local function named(name)
        local each = web.Site()
        each:get("/", function() return name .. "\n" end)
        return each
      end
      return { rw.server("systemd:a", named "a"), rw.server("systemd:index=1", named "second"),
        rw.server("systemd:s", named "unix") }]], "listen=a listen=b unix=s")
    assert.equal("a\n", ask(ports.a))
    assert.equal("second\n", ask(ports.b))
    assert.equal("unix\n", (e2e.curl("--unix-socket", child.sockets .. "/s", "http://x/")))
    local log = child:log()
    assert.truthy(log:find("listening endpoint=tcp:127.0.0.1:" .. ports.a, 1, true), log)
  end)

  it("may come and go in reloads: the socket stays, who waits is served later", function()
    local text = SITE .. 'return rw.server("systemd:a", site)'
    local child, ports = launch(text, "listen=a")
    assert.equal("1\n", ask(ports.a))
    assert.is_true((child:reload(SITE .. 'return rw.server("tcp:127.0.0.1:0", site)')))
    assert.is_false((child:reload(SITE .. 'return { rw.server("systemd:a", site), rw.server("systemd:b", site) }')))
    child.port = ports.a
    e2e.talk(child, [[
      c = Client().get()
      time.sleep(0.1)
      edit(open(APP).read().replace(', rw.server("systemd:b", site)', ''))
      expect(reload(), True)
      expect(c.response().body, b"4\n")
    ]])
  end)

  it("is refused by a name for what is wrong", function()
    local function refused(endpoint, sockets, environment, word)
      local child = launch(SITE .. ('return rw.server("%s", site)'):format(endpoint), sockets, environment)
      assert.truthy(e2e.wait(function() return child:log():find(word, 1, true) end, 5),
        endpoint .. " " .. (environment or "") .. "\n" .. child:log())
      e2e.wait(function() return not child:alive() end)
      e2e.finish()
    end
    refused("systemd:nobody", "listen=a", nil, "no socket of that name")
    refused("systemd:index=1", "listen=a", nil, "no socket of that name")
    refused("systemd:a", "listen=a", "export LISTEN_PID=1", "passed no sockets")
    refused("systemd:a", "listen=a", "export LISTEN_PID=x1", "malformed")
    refused("systemd:a", "listen=a", "export LISTEN_FDS=", "malformed")
    refused("systemd:a", "listen=a", "export LISTEN_FDS=2000", "malformed")
    refused("systemd:a", "listen=a", "export LISTEN_FDS=0", "passed no sockets")
    refused("systemd:a", "listen=a listen=b", "export LISTEN_FDNAMES=a", "malformed")
    refused("systemd:a", "datagram=a", nil, "it is a datagram socket, which datagram=1 is for (RW_EDATAGRAM)")
    refused("fd:3", "unixgram=a", nil, "it is a datagram socket")
    local out, status = e2e.ropewalk("run", (function()
      local path = e2e.directory() .. "/app.lua"
      e2e.write(path, e2e.script(SITE .. 'return rw.server("systemd:a", site)'))
      return path
    end)())
    assert.equal(1, status)
    assert.truthy(out:find("passed no sockets", 1, true), out)
  end)

  it("keeps its sockets from children", function()
    local _, ports = launch(SITE .. [[
      site:get("/open", function()
        local pipe = io.popen "ls -l /proc/self/fd"
        local out = pipe:read "a"
        pipe:close()
        return select(2, out:gsub("socket:", "")) .. "\n"
      end)
      return rw.server("systemd:a", site)]], "listen=a listen=b")
    local out = e2e.curl("http://127.0.0.1:" .. ports.a .. "/open")
    if not out:find "Error" then assert.equal("0\n", out) end
  end)

  it("gives a connected socket as one connection", function()
    local child = launch([[
      local Talk = rw.LineProtocol:extend "Talk"
      function Talk:line_received(line)
        self:send_line("got " .. line)
        self.transport:lose_connection()
      end
      return rw.server("systemd:c", rw.Factory:for_protocol(Talk))]], "connected=c")
    local heard = e2e.wait(function()
      local text = e2e.read(child.sockets .. "/heard")
      return text:find "end" and text
    end, 5)
    assert.equal("got hello\r\nend\n", heard)
  end)

  it("fd:N listens on, or talks over, what was inherited", function()
    local child, ports = launch(SITE .. [[
      local Talk = rw.LineProtocol:extend "Talk"
      function Talk:line_received(line)
        self:send_line(self.transport.peer.kind .. " " .. line)
        self.transport:lose_connection()
      end
      return { rw.server("fd:3", site), rw.server("fd:4", rw.Factory:for_protocol(Talk)) }]],
      "listen=a connected=c")
    assert.equal("1\n", ask(ports.a))
    assert.equal("unix hello\r\nend\n", e2e.wait(function()
      local text = e2e.read(child.sockets .. "/heard")
      return text:find "end" and text
    end, 5))
    assert.is_true((child:reload(SITE .. 'return rw.server("tcp:127.0.0.1:0", site)')))
    assert.is_true((child:reload(SITE .. 'return rw.server("fd:3", site)')))
    assert.equal("3\n", ask(ports.a))
    assert.is_false((child:reload(SITE .. 'return rw.server("fd:77", site)')))
    assert.equal("3\n", ask(ports.a))
  end)

  local ECHO <const> = [[
    local Echo = rw.DatagramProtocol:extend "Echo"
    function Echo:datagram_received(bytes, address)
      self.transport:write(rw.generation .. " " .. bytes, address)
    end
    local echo = rw.Factory:for_protocol(Echo)
  ]]
  local function say(text, where)
    return (e2e.shell(("printf %s | socat -t0.5 - %s"):format(text, where)))
  end

  it("serves the datagrams for which systemd-socket-activate starts it, the first one too", function()
    if select(2, e2e.shell "command -v systemd-socket-activate") ~= 0 then
      return pending "there is no systemd-socket-activate"
    end
    local port = e2e.free_port()
    local child = e2e.start(ECHO .. 'return rw.server("systemd:dns:datagram=1", echo)', { wait = false,
      shell = ("exec systemd-socket-activate --datagram -l 127.0.0.1:%d --fdname=dns %s \"$@\"")
        :format(port, e2e.quote(e2e.binary)) })
    child:await_log "Listening on"
    assert.equal("1 first", (e2e.shell(("printf first | socat -t2 - UDP:127.0.0.1:%d"):format(port))))
    assert.equal("1 hello", say("hello", "UDP:127.0.0.1:" .. port))
    assert.is_true((child:reload()))
    assert.equal("2 hello", say("hello", "UDP:127.0.0.1:" .. port))
  end)

  it("gives datagram sockets, of a name that streams have, too", function()
    local child, ports = launch(SITE .. ECHO .. [[
      return { rw.server("systemd:a", site), rw.server("systemd:a:datagram=1", echo),
        rw.server("systemd:u:datagram=1", echo), rw.server("systemd:index=3:datagram=1", echo) }]],
      "listen=a datagram=a unixgram=u datagram=b")
    local web
    for line in e2e.read(child.sockets .. "/sockets"):gmatch "a (%d+)" do web = web or line end
    assert.equal("1\n", ask(web))
    assert.equal("1 hello", say("hello", "UDP:127.0.0.1:" .. ports.a))
    assert.equal("1 hello", say("hello", "UDP:127.0.0.1:" .. ports.b))
    local path = child.sockets .. "/u"
    local from = ("UNIX-SENDTO:%s,bind=%s-client"):format(path, path)
    assert.equal("1 hello", say("hello", from))
    assert.is_true((child:reload(SITE .. 'return rw.server("systemd:a", site)')))
    assert.is_true((child:reload(ECHO .. 'return rw.server("systemd:u:datagram=1", echo)')))
    assert.equal("3 hello", say("hello", from))
    assert.equal(0, (child:stop()))
    assert.equal(0, select(2, e2e.shell("test -S " .. path))) -- systemd's, not ours
  end)

  it("fd:N is a datagram socket as well, bound or connected", function()
    local child, ports = launch(ECHO .. [[
      local Talk = rw.DatagramProtocol:extend "Talk"
      function Talk:datagram_received(bytes) self.transport:write("got " .. bytes) end
      rw.call_later(0, function()
        rw.connect("fd:4:datagram=1", rw.Factory:for_protocol(Talk)):await()
        local _, failure = pcall(function() rw.connect("fd:3:datagram=1", echo):await() end)
        rw.log.info("not connected", { code = failure.code })
      end)
      return rw.server("fd:3:datagram=1", echo)]], "datagram=a talking=c")
    assert.equal("1 hello", say("hello", "UDP:127.0.0.1:" .. ports.a))
    assert.equal("got hello", e2e.wait(function()
      local _, text = pcall(e2e.read, child.sockets .. "/heard")
      return text:find "got" and text
    end, 5))
    child:await_log "code=ENOTCONN"
  end)

  it("is refused, as datagrams, for what is a stream, or several", function()
    local function refused(endpoint, sockets, word)
      local child = launch(ECHO .. ('return rw.server("%s", echo)'):format(endpoint), sockets)
      assert.truthy(e2e.wait(function() return child:log():find(word, 1, true) end, 5), child:log())
      e2e.wait(function() return not child:alive() end)
      e2e.finish()
    end
    refused("systemd:a:datagram=1", "listen=a", "it is a stream socket, not one for datagrams (RW_ESTREAM)")
    refused("fd:3:datagram=1", "unix=a", "it is a stream socket")
    refused("systemd:a:datagram=1", "datagram=a datagram=a", "several datagram sockets have that name")
    refused("fd:77:datagram=1", "datagram=a", "EBADF")
    refused("fd:0:datagram=1", "datagram=a", "ENOTSOCK")
  end)
end)
