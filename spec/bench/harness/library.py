# SPDX-License-Identifier: MIT
"""The library beside Twisted's, without sockets: Deferreds, await, delayed
calls. Each round runs both programs, one after the other, in changing order;
they measure their own processor time and print it as JSON."""

import json
import os
import statistics
import subprocess

from .servers import ROOT

PEERS = os.path.join(ROOT, "spec", "bench", "peers")
TIMERS = 1000000

# what, the least that Twisted's figure divided by ours may be, the most that
# ours may be
ROWS = [
    ("chain of 10 add_callbacks", 20, None),
    ("chain of 5 add_callback and 5 add_errback", 20, None),
    ("chain of 5 callbacks that fail, 5 errbacks that mend it", None, None),
    ("one callback", None, None),
    ("await of a fired Deferred", None, 1),
    ("await of a pending one, in a task of its own", None, None),
    ("delayed call: insert", None, 1),
    ("delayed call: cancel", None, 1),
    ("delayed call: fire", None, 1),
    ("bytes of a pending Deferred with one callback", None, None),
    ("bytes of a delayed call", None, None),
]


def _run(command, core):
    out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         check=True, timeout=300,
                         preexec_fn=lambda: os.sched_setaffinity(0, {core})).stdout
    return json.loads(out)


def _ours(build, core):
    return _run([os.path.join(build, "ropewalk"), "run", os.path.join(PEERS, "library.lua"),
                 "--set", "timers=%d" % TIMERS, "--limit", "script_budget=600000",
                 "--limit", "script_memory=4000000000"], core)


def _twisted(core):
    return _run(["/usr/bin/python3", os.path.join(PEERS, "twisted_library.py"),
                 str(TIMERS), "50000"], core)


def measure(build, core, rounds, with_twisted):
    """By row: ours and, if it is there, Twisted's figure of each round."""
    ours, peer = [], []
    for turn in range(rounds):
        if with_twisted and turn % 2:
            peer.append(_twisted(core))
        ours.append(_ours(build, core))
        if with_twisted and not turn % 2:
            peer.append(_twisted(core))
    return {row[0]: ([run[row[0]] for run in ours], [run[row[0]] for run in peer])
            for row in ROWS}


def table(figures, marks):
    lines = ["### library: Deferreds and delayed calls, beside Twisted", "",
             "Processor time of one, in µs, with %s delayed calls pending; bytes of resident "
             "memory." % "{:,}".format(TIMERS), "",
             "| what | Ropewalk | Twisted | it ÷ ours (lowest–highest) | target |  |",
             "| --- | ---: | ---: | --- | --- | --- |"]
    for name, least, most in ROWS:
        ours, peer = figures[name]
        shape = "{:,.0f}" if name.startswith("bytes") else "{:.2f}"
        middle = statistics.median(ours)
        ratios = sorted(p / o for p, o in zip(peer, ours))
        good, target = None, ""
        if least and ratios:
            good, target = statistics.median(ratios) >= least, "≥ %d×" % least
        elif most:
            good, target = middle < most, "< %d µs" % most
        if good is not None:
            marks.append(("library", "twisted", good))
        lines.append("| %s | %s | %s | %s | %s | %s |" % (
            name, shape.format(middle), shape.format(statistics.median(peer)) if peer else "",
            "**%.1f×** (%.1f–%.1f)" % (statistics.median(ratios), ratios[0], ratios[-1])
            if ratios else "", target, {None: "", True: "pass", False: "**short**"}[good]))
    return "\n".join(lines) + "\n"
