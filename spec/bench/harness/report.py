# SPDX-License-Identifier: MIT
"""Medians, ratios and the Markdown that they are shown in."""

import os
import platform
import statistics
import subprocess
import time

from .servers import KINDS, ROOT


def spread(values):
    """Half of what lies between the extremes, as a share of the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0


def summary(values):
    return {"median": statistics.median(values), "min": min(values),
            "max": max(values), "spread": spread(values)}


def summarise(workload, runs, pairs):
    """runs: server → its runs. pairs: peer → list of (our run, its run)."""
    servers = {}
    for name, list_ in runs.items():
        servers[name] = {key: summary([run[key] for run in list_])
                         for key in list_[0] if key not in ("count",)}
    ratios = {}
    for name, list_ in pairs.items():
        ratio = summary([a["rate"] / b["rate"] for a, b in list_])
        ratio["by_cpu"] = statistics.median(
            b["cpu_us"] / a["cpu_us"] if a["cpu_us"] else 0.0 for a, b in list_)
        ratios[name] = ratio
    return {"workload": workload.name, "title": workload.title, "unit": workload.unit,
            "targets": workload.targets, "runs": runs,
            "servers": servers, "ratios": ratios}


def _row(*cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def _number(value):
    return "{:,.0f}".format(value) if value >= 100 else "{:.2f}".format(value)


def _target(workload, name, value):
    """The target, and whether it is reached: to two digits, as it is shown."""
    want = workload.targets.get(name)
    if want is None:
        return "", "", None
    if workload.most:
        return "≤ %s" % _number(want), *_mark(value <= want)
    return "≥ %g×" % want, *_mark(round(value, 2) >= want)


def _mark(good):
    return "pass" if good else "**short**", good


def speed_table(workload, result, marks):
    lines = ["### " + workload.title, "",
             _row("server", workload.unit, "±", "p99", "CPU µs/" + workload.per,
                  "busy: server, load", "ours ÷ it (lowest–highest)",
                  "by CPU time", "target", ""),
             _row("---", *["---:"] * 4, "---", "---", "---:", "---:", "---")]
    for name, figures in result["servers"].items():
        rate = figures["rate"]
        p99 = figures.get("p99_us")
        cells = [KINDS[name].title, _number(rate["median"]),
                 "%.0f %%" % (100 * rate["spread"]),
                 "%.2f ms" % (p99["median"] / 1e3) if p99 else "",
                 "%.2f" % figures["cpu_us"]["median"],
                 "%.0f %%, %.0f %%" % (100 * figures["server_busy"]["median"],
                                       100 * figures["load_busy"]["median"])]
        ratio = result["ratios"].get(name)
        if ratio:
            target, mark, good = _target(workload, name, ratio["median"])
            if good is not None:
                marks.append((workload.name, name, good))
            cells += ["**%.2f×** (%.2f–%.2f)" % (ratio["median"], ratio["min"],
                                                 ratio["max"]),
                      "%.2f×" % ratio["by_cpu"], target, mark]
        else:
            cells += ["", "", "", ""]
        lines.append(_row(*cells))
    return "\n".join(lines) + "\n"


def memory_table(workload, result, marks):
    lines = ["### " + workload.title, "",
             _row("server", "bytes per connection", "±", "target", ""),
             _row("---", "---:", "---:", "---:", "---")]
    for name, figures in result["servers"].items():
        rate = figures["rate"]
        target, mark, good = _target(workload, name, rate["median"])
        if good is not None:
            marks.append((workload.name, name, good))
        half = (rate["max"] - rate["min"]) / 2
        lines.append(_row(KINDS[name].title, _number(rate["median"]),
                          _number(half) if half else "", target, mark))
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------- the machine

def _first(path, prefix):
    try:
        with open(path) as f:
            for line in f:
                if line.startswith(prefix):
                    return line.split(":", 1)[-1].strip()
    except OSError:
        pass
    return ""


def stolen():
    """Seconds that the hypervisor gave to others, over all cores."""
    words = _first("/proc/stat", "cpu ").split()
    return int(words[8]) / os.sysconf("SC_CLK_TCK") if len(words) > 8 else 0.0


def revision():
    try:
        return subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              text=True).stdout.strip()
    except OSError:
        return ""


def machine():
    return {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "cpu": _first("/proc/cpuinfo", "model name"), "cores": os.cpu_count(),
            "kernel": platform.release(), "revision": revision(),
            "load_average": os.getloadavg()[0]}
