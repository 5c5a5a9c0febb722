# SPDX-License-Identifier: MIT
"""How a server grows with the connections that it holds: one process, from 1,000
idle connections to 100,000, with a look at each step."""

import json
import subprocess
import time

from .loads import settled, warm_up
from .servers import KINDS, Failed, child, tool

STEPS = [1000, 3000, 10000, 30000, 100000]
INTERVAL_US = 2000  # between two exchanges
IDLE = 2            # seconds in which nobody asks
P99_US = 5000       # the most that an exchange may take beside the crowd

TITLES = {"tcp": "an exchange of 64 bytes", "http": "a request"}


class Crowd:
    """The load program, told line by line."""

    def __init__(self, server, build, core, quiet, share=5000):
        self.name = server.kind.name
        options = ["-h"] * (server.kind.protocol == "http") + ["-q"] * quiet
        self.process = subprocess.Popen(
            [tool(build, "crowd"), "-p", str(server.port), "-a", str(share), *options],
            text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=child(core))

    def do(self, *words):
        try:
            print(*words, file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise Failed("%s: %s: %s" % (self.name, words[0], self.process.stderr.read().strip()))
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def _step(server, crowd, total, seconds):
    used = server.cpu_fine()
    opened = crowd.do("open", total)
    point = {"connections": total, "open_seconds": opened["seconds"],
             "open_cpu": server.cpu_fine() - used}
    point["bytes"] = settled(server)
    used, began = server.cpu_fine(), time.monotonic()
    time.sleep(IDLE)
    point["idle_cpu"] = (server.cpu_fine() - used) / (time.monotonic() - began)
    used = server.cpu_fine()
    times = crowd.do("ask", seconds * 1000, INTERVAL_US)
    asked = times["new"]["n"] + times["old"]["n"]
    point["cpu_us"] = (server.cpu_fine() - used) * 1e6 / asked
    point["new"], point["old"] = times["new"], times["old"]
    return point


def measure(server, build, core, most, seconds, quiet=False):
    """{"base", "points", "close_seconds", "after"}: bytes in memory without a
    connection, a look at each step, and what is left when all have gone."""
    warm_up(server, build, core)
    sockets, base, before = server.sockets(), settled(server), 0
    points = []
    with Crowd(server, build, core, quiet) as crowd:
        for total in [n for n in STEPS if n < most] + [most]:
            point = _step(server, crowd, total, seconds)
            point["open_rate"] = (total - before) / point["open_seconds"]
            before = total
            points.append(point)
        held = server.sockets() - sockets
        if held < before:
            raise Failed("%s holds %d of %d connections" % (server.kind.name, held, before))
        began = time.monotonic()
        crowd.do("close")
        while server.sockets() > sockets:
            if time.monotonic() - began > 120:
                raise Failed("%s does not let go of %d connections" % (
                    server.kind.name, server.sockets() - sockets))
            time.sleep(0.02)
        closed = time.monotonic() - began
    server.check_still()
    return {"base": base, "points": points, "close_seconds": closed, "after": settled(server)}


def silent(*arguments):
    """The crowd never says a word."""
    return measure(*arguments, quiet=True)


def _ms(us):
    return "%.2f" % (us / 1e3)


def table(workload, result, marks):
    lines = ["### " + workload.title, "",
             "Bytes in user space for each connection; %s every %d ms, in turn on a new "
             "connection and on any of the idle ones, times from when it was due." % (
                 TITLES[KINDS[workload.ours].protocol], INTERVAL_US // 1000), "",
             "| server | connections | bytes each | opened/s | new: p50, p99, max ms | "
             "old: p50, p99, max ms | CPU µs each | idle: CPU ms/s |",
             "| --- | ---: | ---: | ---: | --- | --- | ---: | ---: |"]
    for name, run in result["runs"].items():
        for p in run["points"]:
            lines.append("| %s | %s | %s | %s | %s | %s | %.0f | %.2f |" % (
                KINDS[name].title, "{:,}".format(p["connections"]),
                "{:,.0f}".format((p["bytes"] - run["base"]) / p["connections"]),
                "{:,.0f}".format(p["open_rate"]),
                *(", ".join(_ms(p[kind][key]) for key in ("p50_us", "p99_us", "max_us"))
                  for kind in ("new", "old")),
                p["cpu_us"], p["idle_cpu"] * 1e3))
    lines.append("")
    for name, run in result["runs"].items():
        lines.append("- %s: all opened in %.1f s, all closed in %.2f s; %.1f MiB without "
                     "a connection, %.1f with all, %.1f afterwards." % (
                         KINDS[name].title, sum(p["open_seconds"] for p in run["points"]),
                         run["close_seconds"], run["base"] / 2**20,
                         run["points"][-1]["bytes"] / 2**20, run["after"] / 2**20))
    ours = result["runs"][workload.ours]
    last = ours["points"][-1]
    for what, figure, most in (
            ("bytes each", (last["bytes"] - ours["base"]) / last["connections"],
             workload.targets.get(workload.ours)),
            ("µs, p99 on new connections", last["new"]["p99_us"], P99_US),
            ("µs, p99 on old connections", last["old"]["p99_us"], P99_US)):
        if most is None:
            continue
        good = figure <= most
        marks.append((workload.name, workload.ours, good))
        lines.append("- Target: at most {:,} {}: {:,.0f}, {}.".format(
            most, what, figure, "pass" if good else "**short**"))
    return "\n".join(lines) + "\n"
