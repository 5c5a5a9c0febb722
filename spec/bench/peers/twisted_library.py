#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What library.lua measures, with Twisted."""

import gc
import json
import sys
import time

from twisted.internet import epollreactor

epollreactor.install()
from twisted.internet import reactor  # noqa: E402
from twisted.internet.defer import Deferred, ensureDeferred, succeed  # noqa: E402

TIMERS, CHAINS, KEPT = int(sys.argv[1]), int(sys.argv[2]), 200000
results = {}


def callback(result):
    return result


def errback(failure):
    return failure


def fails(_result):
    raise RuntimeError("no")


def mends(_failure):
    return 1


def nothing():
    pass


def measure(name, n, fn):
    gc.collect()
    began = time.process_time()
    fn(n)
    results[name] = (time.process_time() - began) / n * 1e6


def resident():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096


def weigh(name, fn):
    kept = [None] * KEPT
    gc.collect()
    before = resident()
    for i in range(KEPT):
        kept[i] = fn()
    results[name] = (resident() - before) / KEPT
    return kept


def ten(n):
    for _ in range(n):
        d = Deferred()
        for _ in range(10):
            d.addCallbacks(callback, errback)
        d.callback(1)


def five_and_five(n):
    for _ in range(n):
        d = Deferred()
        for _ in range(5):
            d.addCallback(callback).addErrback(errback)
        d.callback(1)


def failing(n):
    for _ in range(n):
        d = Deferred()
        for _ in range(5):
            d.addCallback(fails).addErrback(mends)
        d.callback(1)


def one(n):
    for _ in range(n):
        d = Deferred()
        d.addCallback(callback)
        d.callback(1)


def await_fired(n):
    async def run():
        for _ in range(n):
            await succeed(1)
    ensureDeferred(run())


def await_pending(n):
    async def wait(d):
        return await d

    async def run():
        for _ in range(n):
            d = Deferred()
            task = ensureDeferred(wait(d))
            d.callback(1)
            await task
    ensureDeferred(run())


def insert(n):
    for i in range(n):
        calls[i] = reactor.callLater(1000 + i % 1000, nothing)


def cancel(n):
    for i in range(n):
        calls[i].cancel()


def finish():
    print(json.dumps(results))
    reactor.stop()


left, fire_began = TIMERS, None


def fire():
    global left, fire_began
    fire_began = fire_began or time.process_time()
    left -= 1
    if left == 0:
        results["delayed call: fire"] = (time.process_time() - fire_began) / TIMERS * 1e6
        finish()


kept = weigh("bytes of a pending Deferred with one callback",
             lambda: Deferred().addCallback(callback))
calls = weigh("bytes of a delayed call", lambda: reactor.callLater(1000, nothing))
for call in calls:
    call.cancel()
del kept
measure("chain of 10 add_callbacks", CHAINS, ten)
measure("chain of 5 add_callback and 5 add_errback", CHAINS, five_and_five)
measure("chain of 5 callbacks that fail, 5 errbacks that mend it", CHAINS // 4, failing)
measure("one callback", CHAINS, one)
measure("await of a fired Deferred", CHAINS, await_fired)
measure("await of a pending one, in a task of its own", CHAINS // 4, await_pending)
calls = [None] * TIMERS
measure("delayed call: insert", TIMERS, insert)
measure("delayed call: cancel", TIMERS, cancel)
del calls
for _ in range(TIMERS):
    reactor.callLater(0.001, fire)
reactor.run()
