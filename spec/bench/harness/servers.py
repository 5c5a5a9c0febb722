# SPDX-License-Identifier: MIT
"""The servers that are measured: how each is started, checked and ended."""

import ctypes
import glob
import http.client
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEERS = os.path.join(HERE, "peers")
BODY = b"Hello from Ropewalk\n"
PYTHON = "/usr/bin/python3"  # the one Debian's python3-twisted belongs to

os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


class Failed(Exception):
    """A server or a load did not do what it has to do."""


def which(*commands):
    """The packages are known by their commands: what of these is missing?"""
    return [c for c in commands if not shutil.which(c)]


def nginx_modules():
    found = glob.glob("/usr/lib/nginx/modules/ngx_http_lua_module.so") \
        + glob.glob("/usr/lib64/nginx/modules/ngx_http_lua_module.so")
    return os.path.dirname(found[0]) if found else None


def has_twisted():
    return os.path.exists(PYTHON) and subprocess.run(
        [PYTHON, "-c", "import twisted.web.server"],
        stderr=subprocess.DEVNULL).returncode == 0


def fill(name, place, port, behind=0):
    """A configuration from peers/ with its @WORDS@ filled in."""
    with open(os.path.join(PEERS, name)) as f:
        text = f.read()
    words = {"PORT": str(port), "BEHIND": str(behind), "DIR": place, "PEERS": PEERS,
             "MODULES": nginx_modules() or ""}
    for word, value in words.items():
        text = text.replace("@%s@" % word, value)
    path = os.path.join(place, name)
    with open(path, "w") as f:
        f.write(text)
    return path


FILE = 16 << 20  # bytes of files/big


def secured(place):
    """A certificate and a file to send in `place`; arguments for a server."""
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext",
         "subjectAltName=DNS:localhost", "-keyout", os.path.join(place, "key.pem"),
         "-out", os.path.join(place, "cert.pem")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Failed("openssl makes no certificate:\n" + done.stdout)
    os.chmod(os.path.join(place, "key.pem"), 0o644)
    os.makedirs(os.path.join(place, "files"), mode=0o755, exist_ok=True)
    with open(os.path.join(place, "files", "big"), "wb") as f:
        f.write(os.urandom(FILE))


class Kind:
    """One way to serve. `command` takes (build, place, port); `missing` says
    what is not there, None when all is; `version` prints which one it is;
    `patient` are arguments for a run that is 50 times slower; `behind` is the
    kind that it forwards to, whose port `command` takes as well."""

    def __init__(self, name, title, protocol, command, package,
                 missing=lambda build: None, version=None, patient=(), behind=None):
        self.name, self.title, self.protocol = name, title, protocol
        self.command, self.package, self.behind = command, package, behind
        self.missing, self.version, self.patient = missing, version, list(patient)

    def lacks(self, build):
        return self.missing(build)

    def version_text(self, build):
        argv = self.version(build) if self.version else None
        if not argv:
            return ""
        try:
            done = subprocess.run(argv, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.STDOUT, timeout=20)
            return done.stdout.strip().splitlines()[0]
        except (OSError, IndexError, subprocess.TimeoutExpired):
            return ""


def command_missing(command):
    return lambda build: command if which(command) else None


def tool(build, name):
    return os.path.join(build, "release", "bench", name)


def tool_missing(name):
    return lambda build: None if os.path.exists(tool(build, name)) \
        else tool(build, name)


# the load is one peer, with more connections than anybody has, kept as long as nginx's are
RAISED = ["max_connections_per_peer=100000", "max_connections=110000",
          "max_port_connections=110000", "idle_timeout=600000"]


def ropewalk(app):
    def command(build, place, port):
        return [os.path.join(build, "ropewalk"), "run",
                os.path.join(ROOT, "apps", app), "--log-level", "warn",
                *(word for limit in RAISED for word in ("--limit", limit)),
                "--set", "listen=tcp:127.0.0.1:%d" % port]
    return command


def ropewalk_missing(build):
    path = os.path.join(build, "ropewalk")
    return None if os.path.exists(path) else path


def ropewalk_tls(app):
    def command(build, place, port):
        secured(place)
        return ropewalk(app)(build, place, port)[:-1] + [
            "listen=tls:127.0.0.1:%d:cert=%s/cert.pem:key=%s/key.pem" % (port, place, place),
            "--set", "root=" + place]
    return command


def nginx_tls(config):
    def command(build, place, port):
        secured(place)
        return nginx(config)(build, place, port)
    return command


def nginx(config):
    return lambda build, place, port: [
        "nginx", "-p", place, "-e", "stderr", "-c", fill(config, place, port)]


def peer(interpreter, script):
    return lambda build, place, port: [
        interpreter, os.path.join(PEERS, script), str(port)]


def own(name):
    return lambda build, place, port: [tool(build, name), str(port)]


def version_of(*argv):
    return lambda build: argv


TWISTED = dict(package="python3-twisted",
               missing=lambda build: None if has_twisted() else "twisted.web",
               version=version_of(PYTHON, "-c",
                                  "import twisted; print('Twisted', twisted.__version__)"))
NODE = dict(package="nodejs", missing=command_missing("node"),
            version=version_of("node", "--version"))
OURS = dict(package=None, missing=ropewalk_missing,
            version=lambda build: [os.path.join(build, "ropewalk"), "version"],
            patient=["--limit", "script_slice=10000", "--limit", "script_budget=60000",
                     "--limit", "load_timeout=60000"])
def forwarder(build, place, port, behind):
    return ropewalk("forward.lua")(build, place, port) + [
        "--set", "to=tcp:127.0.0.1:%d" % behind]


def haproxy_tcp(config):
    return lambda build, place, port, behind: [
        "haproxy", "-db", "-f", fill(config, place, port, behind)]


HAPROXY = dict(package="haproxy", missing=command_missing("haproxy"),
               version=version_of("haproxy", "-v"))
NGINX = dict(package="nginx", missing=command_missing("nginx"),
             version=version_of("nginx", "-v"))

NGINX_LUA = dict(package="libnginx-mod-http-lua",
                 missing=lambda build: command_missing("nginx")(build)
                 or (None if nginx_modules() else "ngx_http_lua_module.so"),
                 version=version_of("nginx", "-v"))


def bare(name):
    return dict(package=None, missing=tool_missing(name))


KINDS = {kind.name: kind for kind in (
    Kind("ropewalk-http", "Ropewalk, apps/hello.lua", "http", ropewalk("hello.lua"), **OURS),
    Kind("ropewalk-echo", "Ropewalk, apps/echo.lua", "tcp", ropewalk("echo.lua"), **OURS),
    Kind("nginx-return", "nginx, `return 200`", "http", nginx("nginx-return.conf"), **NGINX),
    Kind("nginx-lua", "nginx + Lua, `content_by_lua`", "http", nginx("nginx-lua.conf"),
         **NGINX_LUA),
    Kind("ropewalk-tls", "Ropewalk, apps/hello.lua", "https", ropewalk_tls("hello.lua"), **OURS),
    Kind("ropewalk-tls-files", "Ropewalk, apps/static.lua", "files", ropewalk_tls("static.lua"),
         **OURS),
    Kind("nginx-tls", "nginx, `return 200`", "https", nginx_tls("nginx-tls.conf"), **NGINX),
    Kind("nginx-tls-files", "nginx, a file", "files", nginx_tls("nginx-tls.conf"), **NGINX),
    Kind("nginx-tls-lua", "nginx + Lua, `content_by_lua`", "https",
         nginx_tls("nginx-tls-lua.conf"), **NGINX_LUA),
    Kind("haproxy", "HAProxy, Lua service", "http",
         lambda build, place, port: ["haproxy", "-db", "-f", fill("haproxy.cfg", place, port)],
         **HAPROXY),
    Kind("node", "Node, `http`", "http", peer("node", "node-http.js"), **NODE),
    Kind("twisted", "Twisted, `web`", "http", peer(PYTHON, "twisted_http.py"), **TWISTED),
    Kind("uv-http", "libuv + Lua call, toy parser", "http", own("uv_http"), **bare("uv_http")),
    Kind("uv-echo", "libuv in C", "tcp", own("uv_echo"), **bare("uv_echo")),
    Kind("ropewalk-forward", "Ropewalk, apps/forward.lua", "tcp", forwarder,
         behind="uv-echo", **OURS),
    Kind("haproxy-tcp", "HAProxy, `mode tcp`", "tcp", haproxy_tcp("haproxy-tcp.cfg"),
         behind="uv-echo", **HAPROXY),
    Kind("haproxy-splice", "HAProxy, `option splice-auto`", "tcp",
         haproxy_tcp("haproxy-splice.cfg"), behind="uv-echo", **HAPROXY),
    Kind("node-echo", "Node, `net`", "tcp", peer("node", "node-echo.js"), **NODE),
    Kind("twisted-echo", "Twisted", "tcp", peer(PYTHON, "twisted_echo.py"), **TWISTED),
)}


# ---------------------------------------------------------------- processes

_libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def child(core):
    """What a child does before exec: its core, and to go when we go."""
    def prepare():
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.setsid()  # a Ctrl-C is for us: we end the children ourselves
        if core is not None:
            os.sched_setaffinity(0, {core})
    return prepare


def free_port():
    """Below the range that connections take theirs from."""
    for _ in range(200):
        port = random.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise Failed("no free port")


def tree(pid):
    """pid and all below it."""
    pids = [pid]
    for p in pids:
        try:
            for task in os.listdir("/proc/%d/task" % p):
                with open("/proc/%d/task/%s/children" % (p, task)) as f:
                    pids += [int(c) for c in f.read().split()]
        except OSError:
            pass
    return pids


TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """One running server; `with Server(…)` ends it whatever happens."""

    running = []

    def __init__(self, kind, build, core, wrapper=(), load_core=None, port=None):
        self.kind, self.behind, self.port = kind, None, port or free_port()
        self.place = tempfile.mkdtemp(prefix="rw-bench-")
        os.chmod(self.place, 0o777)  # nginx' worker is another user
        self.process = None
        Server.running.append(self)
        try:
            if kind.behind:
                self.behind = Server(KINDS[kind.behind], build, load_core)
            self._start(build, core, list(wrapper))
        except BaseException:
            self.stop()
            raise

    def _start(self, build, core, wrapper):
        self.output = os.path.join(self.place, "output")
        behind = [self.behind.port] if self.behind else []
        argv = wrapper + self.kind.command(build, self.place, self.port, *behind)
        if wrapper:
            argv += self.kind.patient
        with open(self.output, "wb") as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, cwd=self.place,
                stderr=subprocess.STDOUT, preexec_fn=child(core))
        self.pid = self.process.pid
        end = time.monotonic() + (60 if wrapper else 15)
        while True:
            try:
                self.check()
                return
            except (OSError, http.client.HTTPException):
                if self.process.poll() is not None or time.monotonic() > end:
                    raise Failed("%s does not answer:\n%s" % (
                        self.kind.name, self.said()))
                time.sleep(0.05)

    def said(self):
        with open(self.output, errors="replace") as f:
            return f.read()[-2000:]

    def check(self):
        """Is the answer what all the others answer?"""
        check = {"http": check_http, "https": check_https, "files": check_files}
        check.get(self.kind.protocol, check_echo)(self.kind.name, self.port)

    def check_still(self):
        """The same after a load."""
        try:
            self.check()
        except (OSError, http.client.HTTPException) as error:
            raise Failed("%s does not answer any more: %s\n%s" % (
                self.kind.name, error, self.said()))

    def alive(self):
        return self.process.poll() is None

    def cpu(self):
        """Processor seconds of all its processes until now."""
        ticks = 0
        for pid in tree(self.pid):
            try:
                with open("/proc/%d/stat" % pid) as f:
                    fields = f.read().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
            except OSError:
                pass
        return ticks / TICK

    def cpu_fine(self):
        """The same by the scheduler's clock, which knows nanoseconds."""
        total = 0
        for pid in tree(self.pid):
            for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
                try:
                    with open(path) as f:
                        total += int(f.read().split()[0])
                except OSError:
                    pass
        return total / 1e9

    def memory(self):
        """Bytes in memory (RSS) of all its processes."""
        total = 0
        for pid in tree(self.pid):
            with open("/proc/%d/smaps_rollup" % pid) as f:
                for line in f:
                    if line.startswith("Rss:"):
                        total += int(line.split()[1]) * 1024
        return total

    def sockets(self):
        return sum(len(os.listdir("/proc/%d/fd" % pid)) for pid in tree(self.pid))

    def stop(self):
        if self in Server.running:
            Server.running.remove(self)
        if self.process and self.process.poll() is None:
            pids = tree(self.pid)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                for pid in reversed(pids):
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait()
        shutil.rmtree(self.place, ignore_errors=True)
        if self.behind:
            self.behind.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def stop_all():
    for server in list(Server.running):
        server.stop()


# ---------------------------------------------------------------- answers

def check_http(name, port):
    ask_thrice(name, http.client.HTTPConnection("127.0.0.1", port, timeout=10))


def over_tls(port):
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=10,
                                       context=ssl._create_unverified_context())


def check_https(name, port):
    ask_thrice(name, over_tls(port))


def check_files(name, port):
    connection = over_tls(port)
    try:
        connection.request("GET", "/files/big")
        if len(connection.getresponse().read()) != FILE:
            raise Failed("%s does not send the file" % name)
    finally:
        connection.close()


def ask_thrice(name, connection):
    try:
        connection.connect()
        kept = connection.sock
        for _ in range(3):  # keep-alive has to work, or the load measures connects
            connection.request("GET", "/")
            response = connection.getresponse()
            body = response.read()
            if response.status != 200 or body != BODY:
                raise Failed("%s answers %d %r" % (name, response.status, body))
            if connection.sock is not kept:
                raise Failed("%s does not keep the connection" % name)
    finally:
        connection.close()


def check_echo(name, port):
    for size in (64, 300000):
        want = os.urandom(size)
        with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
            got, sent = bytearray(), 0
            s.setblocking(False)
            end = time.monotonic() + 10
            while len(got) < size:
                if time.monotonic() > end:
                    raise Failed("%s: %d of %d bytes came back" % (name, len(got), size))
                try:
                    if sent < size:
                        sent += s.send(want[sent:sent + 65536])
                except BlockingIOError:
                    pass
                try:
                    piece = s.recv(65536)
                    if not piece:
                        raise Failed("%s closed the connection" % name)
                    got += piece
                except BlockingIOError:
                    time.sleep(0.0005)
            if bytes(got) != want:
                raise Failed("%s sends other bytes back" % name)
