# SPDX-License-Identifier: MIT
"""The figures of a run as two drawings, SVG written by hand: how many times faster
ours is than each peer, and how servers grow with the connections they hold."""

import math
import os
import re
from xml.sax.saxutils import escape

from .servers import KINDS

STYLE = """<style>
text { font: 12px sans-serif; fill: #24292f }
.head { font-weight: bold }
.quiet, .scale { fill: #57606a }
.scale { font-size: 11px }
.grid { stroke: #d0d7de }
.even { stroke: #57606a; stroke-width: 1.5 }
.good { fill: #2da44e } .short { fill: #d4731c } .plain { fill: #6e8cb8 }
.whisker { stroke: #24292f; stroke-width: 1.2 }
.target { stroke: #cf222e; stroke-width: 2.5 }
.line { fill: none; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .quiet, .scale { fill: #9198a1 }
  .grid { stroke: #3d444d } .even { stroke: #9198a1 } .whisker { stroke: #e6edf3 }
  .target { stroke: #ff7b72 }
}
</style>"""
COLOURS = ["#2da44e", "#3b82d6", "#d4731c", "#a259c4"]


def _text(x, y, text, anchor="start", kind="", more=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" class="%s"%s>%s</text>' % (
        x, y, anchor, kind, more, escape(text))


def _line(x1, y1, x2, y2, kind):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>' % (x1, y1, x2, y2, kind)


def _svg(width, height, parts):
    return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
            'viewBox="0 0 %d %d">\n%s\n%s\n</svg>\n' % (
                width, height, width, height, STYLE, "\n".join(parts)))


def _plain(title):
    return title.replace("`", "")


# ---------------------------------------------------------------- ratios

LEFT, RIGHT, ROW, TOP = 290, 70, 20, 46


def _heading(workload):
    """The title without its details, but for the version of TLS."""
    return re.match(r"[^,]*(, TLS 1\.\d)?", workload.get("title", workload["workload"]))[0]


def ratios(workloads):
    """One bar for each peer, from 1 on a logarithmic axis; None: nothing to show."""
    groups = [w for w in workloads if w.get("ratios")]
    if not groups:
        return None
    every = [r for w in groups for r in w["ratios"].values()]
    low = min([0.5] + [r["min"] for r in every])
    high = max([2] + [r["max"] for r in every]
               + [t for w in groups for t in w.get("targets", {}).values()])
    width, span = 860, 860 - LEFT - RIGHT

    def x(value):
        return LEFT + span * math.log(value / low) / math.log(high / low)

    parts, y = [_text(LEFT, 16, "Ropewalk ÷ peer: to the right of 1, Ropewalk is faster",
                      kind="head")], TOP
    bars = []
    for w in groups:
        bars.append(_text(8, y + 13, _heading(w), kind="head"))
        y += ROW
        for name, r in w["ratios"].items():
            target, value = w.get("targets", {}).get(name), r["median"]
            kind = "plain" if target is None else \
                "good" if round(value, 2) >= target else "short"
            a, b = sorted((x(1), x(value)))
            bars += [_text(LEFT - 8, y + 14, _plain(KINDS[name].title), "end"),
                     '<rect x="%.1f" y="%d" width="%.1f" height="%d" class="%s"/>' % (
                         a, y + 4, max(b - a, 1), ROW - 8, kind),
                     _line(x(r["min"]), y + ROW / 2, x(r["max"]), y + ROW / 2, "whisker")]
            bars += [_line(x(r[end]), y + 7, x(r[end]), y + ROW - 7, "whisker")
                     for end in ("min", "max")]
            if target is not None:
                bars.append(_line(x(target), y + 1, x(target), y + ROW - 1, "target"))
            bars.append(_text(width - 8, y + 14, "%.2f×" % value, "end"))
            y += ROW
        y += 6
    for value in (0.25, 0.5, 1, 2, 5, 10, 20, 50):
        if low <= value <= high:
            parts += [_line(x(value), TOP - 8, x(value), y, "even" if value == 1 else "grid"),
                      _text(x(value), TOP - 14, "%g×" % value, "middle", "scale")]
    parts += bars
    parts.append(_text(8, y + 18, "Bar: median of the rounds. Whisker: lowest to highest. Red tick: "
                       "target; green reaches it, orange does not.", kind="quiet"))
    return _svg(width, y + 30, parts)


# ---------------------------------------------------------------- growth

PANEL_W, PANEL_H = 280, 190


def _short(value):
    for size, word in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return "%g%s" % (value / size, word)
    return "%g" % value


def _panel(left, top, title, series):
    """series: (colour, [(x, y), …]) each; both axes logarithmic."""
    xs = [p[0] for _, points in series for p in points]
    ys = [max(p[1], 0.01) for _, points in series for p in points]
    x0, x1 = min(xs), max(max(xs), min(xs) * 10)
    y0 = 10 ** math.floor(math.log10(min(ys)))
    y1 = 10 ** math.ceil(math.log10(max(ys) * 1.01))
    left += 44
    width = PANEL_W - 64

    def x(value):
        return left + width * math.log(value / x0) / math.log(x1 / x0)

    def y(value):
        return top + PANEL_H * (1 - math.log(max(value, 0.01) / y0) / math.log(y1 / y0))

    parts = [_text(left, top - 10, title, kind="head")]
    tick = y0
    while tick <= y1 * 1.01:
        parts += [_line(left, y(tick), left + width, y(tick), "grid"),
                  _text(left - 5, y(tick) + 4, _short(tick), "end", "scale")]
        tick *= 10
    for tick in (1000, 10000, 100000):
        if x0 <= tick <= x1:
            parts += [_line(x(tick), top, x(tick), top + PANEL_H, "grid"),
                      _text(x(tick), top + PANEL_H + 15, _short(tick), "middle", "scale")]
    for colour, points in series:
        parts.append('<polyline class="line" stroke="%s" points="%s"/>' % (
            colour, " ".join("%.1f,%.1f" % (x(a), y(b)) for a, b in points)))
        parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>' % (x(a), y(b), colour)
                  for a, b in points]
    return parts


LOOKS = [
    ("MiB in user space", lambda run, p: (p["bytes"] - run["base"]) / 2**20),
    ("p99 of a new connection, ms", lambda run, p: p["new"]["p99_us"] / 1e3),
    ("CPU of an exchange, µs", lambda run, p: p["cpu_us"]),
]


def growth(workloads):
    """A row for each kind of crowd, over the number of connections."""
    groups = [w for w in workloads if w["workload"].startswith("scale")]
    if not groups:
        return None
    parts, top = [], 0
    for w in groups:
        parts.append(_text(8, top + 18, w.get("title", w["workload"]), kind="head"))
        where = 8
        for name, colour in zip(w["runs"], COLOURS):
            title = _plain(KINDS[name].title)
            parts += ['<rect x="%d" y="%d" width="14" height="4" fill="%s"/>' % (
                where, top + 31, colour), _text(where + 19, top + 37, title)]
            where += 40 + 7 * len(title)
        for n, (title, look) in enumerate(LOOKS):
            parts += _panel(n * PANEL_W, top + 74, title, [
                (colour, [(p["connections"], look(run, p)) for p in run["points"]])
                for colour, run in zip(COLOURS, w["runs"].values())])
        top += PANEL_H + 110
    parts.append(_text(8, top + 6, "Over the number of idle connections; all axes logarithmic.",
                       kind="quiet"))
    return _svg(3 * PANEL_W + 10, top + 18, parts)


def write(workloads, directory):
    """ratios.svg and growth.svg; returns the paths of those there is anything for."""
    os.makedirs(directory, exist_ok=True)
    paths = []
    for name, drawing in (("ratios", ratios(workloads)), ("growth", growth(workloads))):
        if drawing:
            paths.append(os.path.join(directory, name + ".svg"))
            with open(paths[-1], "w") as f:
                f.write(drawing)
    return paths
