# SPDX-License-Identifier: MIT
"""The loads: each runs against one server once and returns what it saw."""

import json
import re
import resource
import subprocess
import time

from .servers import Failed, child, tool


def _timed(server, core, argv, patience):
    """Runs a load; its output, and who used how much processor time."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    before, begin = server.cpu(), time.monotonic()
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=child(core), timeout=patience)
    except subprocess.TimeoutExpired:
        raise Failed("%s: the load did not end" % server.kind.name)
    wall, cpu = time.monotonic() - begin, server.cpu() - before
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    load = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    if done.returncode:
        raise Failed("%s: %s" % (server.kind.name, done.stderr.strip() or argv[0]))
    if not server.alive():
        raise Failed("%s ended under load:\n%s" % (server.kind.name, server.said()))
    return done.stdout, {"wall": wall, "server_cpu": cpu, "server_busy": cpu / wall,
                         "load_busy": load / wall}


_UNITS = {"us": 1, "ms": 1e3, "s": 1e6, "m": 60e6}


def _microseconds(text):
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    if not found:  # wrk says "-nanus" when it has no figure
        return 0
    number, unit = found.groups()
    return float(number) * _UNITS[unit]


def wrk(server, build, core, seconds, connections=100):
    out, run = _timed(server, core, [
        "wrk", "-t1", "-c%d" % connections, "-d%ds" % seconds, "--latency",
        "%s://127.0.0.1:%d/" % (server.kind.protocol, server.port)], seconds + 30)
    for trouble in ("Socket errors", "Non-2xx"):
        if trouble in out:
            line = out[out.index(trouble):].splitlines()[0]
            raise Failed("%s: %s" % (server.kind.name, line))
    number, length = re.search(r"(\d+) requests in ([\d.]+\w+),", out).groups()
    number = int(number)
    run["count"] = number
    run["rate"] = number / (_microseconds(length) / 1e6)
    run["p50_us"] = _microseconds(re.search(r"50%\s+(\S+)", out).group(1))
    run["p99_us"] = _microseconds(re.search(r"99%\s+(\S+)", out).group(1))
    run["cpu_us"] = run["server_cpu"] * 1e6 / max(number, 1)
    return run


def _pingpong(server, build, core, seconds, *options):
    out, run = _timed(server, core, [
        tool(build, "pingpong"), "-p", str(server.port), "-t", str(seconds * 1000),
        *options], seconds + 30)
    return json.loads(out), run


WARM = 0.1  # pingpong's own run-up, which the processor time includes


def echo(server, build, core, seconds):
    seen, run = _pingpong(server, build, core, seconds, "-c", "50", "-s", "64",
                          "-w", str(int(WARM * 1000)))
    run["count"] = seen["messages"]
    run["rate"] = seen["messages"] / seen["seconds"]
    run["p50_us"], run["p99_us"] = seen["p50_us"], seen["p99_us"]
    run["cpu_us"] = run["server_busy"] * 1e6 / max(run["rate"], 1)
    return run


def bulk(server, build, core, seconds):
    """One direction's MB/s; all of it comes back as well."""
    seen, run = _pingpong(server, build, core, seconds, "-c", "8", "-b", "262144",
                          "-w", str(int(WARM * 1000)))
    run["count"] = seen["bytes"]
    run["rate"] = seen["bytes"] / seen["seconds"] / 1e6
    run["cpu_us"] = run["server_busy"] * 1e6 / max(run["rate"], 0.001)
    return run


def _tls(server, build, core, seconds, *options):
    out, run = _timed(server, core, [
        tool(build, "tls_load"), "-p", str(server.port), "-t", str(seconds * 1000),
        *options], seconds + 30)
    return json.loads(out), run


TLS_LOADS = 16  # connections at a time, of which each has to shake hands in full once


def handshakes(*options):
    """By the server's processor time: a client has more to do in a handshake
    than the server, so no client on one core keeps a server's core busy."""
    def load(server, build, core, seconds):
        seen, run = _tls(server, build, core, seconds, "-c", str(TLS_LOADS), *options)
        if seen["resumed"] + TLS_LOADS < seen["connections"] * 0.95 and "-r" in options:
            raise Failed("%s resumes %d of %d sessions" % (
                server.kind.name, seen["resumed"], seen["connections"]))
        run["count"] = seen["connections"]
        run["rate"] = seen["connections"] / max(run["server_cpu"], 0.01)
        run["cpu_us"] = run["server_cpu"] * 1e6 / max(seen["connections"], 1)
        return run
    return load


def download(server, build, core, seconds):
    seen, run = _tls(server, build, core, seconds, "-k", "-c", "4", "-u", "/files/big")
    run["count"] = seen["bytes"]
    run["rate"] = seen["bytes"] / seen["seconds"] / 1e6
    run["cpu_us"] = run["server_cpu"] * 1e12 / max(seen["bytes"], 1)
    return run


def settled(server):
    """Memory when it no longer moves: the lowest of a few quiet looks."""
    last, looks = server.memory(), 0
    while looks < 10:
        time.sleep(0.2)
        now = server.memory()
        if now == last:
            return now
        last, looks = now, looks + 1
    return last


def holder(server, build, connections, requests):
    """The program that opens connections and holds them: with so many requests
    on each, unless the server speaks TCP only."""
    protocol = server.kind.protocol
    return [tool(build, "tls_idle" if protocol == "https" else "idle"), "-p", str(server.port),
            "-n", str(connections), *([] if protocol == "tcp" else ["-r", str(requests)])]


def warm_up(server, build, core):
    """Code and heap are touched before the first look: what is counted is
    connections, not the first request's page faults."""
    for _ in range(2):
        if subprocess.run(holder(server, build, 16, 500),
                          stdin=subprocess.DEVNULL, preexec_fn=child(core),
                          stdout=subprocess.DEVNULL, timeout=60).returncode:
            raise Failed("%s: the warm-up failed" % server.kind.name)
    time.sleep(0.3)


def memory(server, build, core, connections):
    """Bytes per idle connection: after one request each (HTTP, HTTPS) or after none."""
    warm_up(server, build, core)
    sockets, before = server.sockets(), settled(server)
    process = subprocess.Popen(holder(server, build, connections, 1),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               preexec_fn=child(core))
    try:
        if process.stdout.readline() != b"ready\n":
            raise Failed("%s: not all connections came about" % server.kind.name)
        end = time.monotonic() + 15
        while server.sockets() < sockets + connections:
            if time.monotonic() > end:
                raise Failed("%s holds %d of %d connections" % (
                    server.kind.name, server.sockets() - sockets, connections))
            time.sleep(0.1)
        after = settled(server)
        server.check_still()  # it still answers
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()
    return {"before": before, "after": after, "connections": connections,
            "rate": (after - before) / connections}


def raise_files(wanted):
    """The limit of open files, as high as needed; what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((max(soft, wanted), max(hard, wanted)), (hard, hard)):
        if soft >= wanted:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            soft = limits[0]
        except (ValueError, OSError):
            pass
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
