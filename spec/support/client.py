# SPDX-License-Identifier: MIT
"""Raw sockets for the end-to-end specs (see e2e.lua): a client that does not
share a line with what it tests. Everything raises when it waits too long."""
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

PORT = int(os.environ.get("PORT") or 0)
PID = int(os.environ.get("PID") or 0)
LOG = os.environ.get("LOG", "")
APP = os.environ.get("APP", "")
SLOW = float(os.environ.get("SLOW", "1"))  # how much patience more than usual
PATIENCE = 10 * SLOW


def octets(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


class Response:
    """status, version, headers (a list of pairs), body (bytes)"""

    def __init__(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.version, status, *_ = lines[0].split(" ", 2)
        self.status = int(status)
        self.headers = [tuple(line.split(": ", 1)) for line in lines[1:] if line]
        self.body = b""

    def get(self, name):
        for key, value in self.headers:
            if key.lower() == name.lower():
                return value
        return None


class Client:
    """One connection; PORT of this machine unless told otherwise."""

    def __init__(self, port=None, receive=None):
        self.socket = socket.socket()
        if receive:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        self.socket.settimeout(PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", port or PORT))
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, text):
        self.socket.sendall(octets(text))
        return self

    def get(self, path="/", *fields, method="GET", body=None):
        """A whole request; more header lines as arguments."""
        lines = ["%s %s HTTP/1.1" % (method, path), "Host: x", *fields]
        if body is not None:
            lines.append("Content-Length: %d" % len(body))
        return self.send("\r\n".join(lines) + "\r\n\r\n").send(body or "")

    def more(self):
        """Reads once; False at the end."""
        data = self.socket.recv(262144)
        self.buffer += data
        return data != b""

    def take(self, n):
        data = bytes(self.buffer[:n])
        del self.buffer[:n]
        return data

    def exactly(self, n):
        while len(self.buffer) < n:
            if not self.more():
                raise EOFError("end after %r" % bytes(self.buffer[:200]))
        return self.take(n)

    def until(self, mark):
        """What comes up to and with the mark."""
        mark = octets(mark)
        while mark not in self.buffer:
            if not self.more():
                raise EOFError("end after %r" % bytes(self.buffer[:200]))
        return self.take(self.buffer.index(mark) + len(mark))

    def line(self):
        return self.until("\n").decode("latin-1").rstrip("\r\n")

    def rest(self):
        """All up to the end of the stream."""
        while self.more():
            pass
        return self.take(len(self.buffer))

    def response(self, method="GET"):
        r = Response(self.until("\r\n\r\n")[:-4])
        length = r.get("Content-Length")
        if method == "HEAD" or r.status < 200 or r.status in (204, 304):
            pass
        elif r.get("Transfer-Encoding") == "chunked":
            pieces = []
            while size := int(self.line(), 16):
                pieces.append(self.exactly(size))
                expect(self.exactly(2), b"\r\n")
            r.body = b"".join(pieces)
            expect(self.line(), "")
        elif length is not None:
            r.body = self.exactly(int(length))
        else:
            r.body = self.rest()
        return r

    def ask(self, path="/", *fields, **more):
        return self.get(path, *fields, **more).response(more.get("method", "GET"))

    def ended(self):
        """Waits for the end, or a reset; fails if anything else comes."""
        try:
            expect(self.rest(), b"")
            return "closed"
        except ConnectionError:
            return "reset"

    def finish(self):
        """No more from this side."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


def expect(value, wanted, what=""):
    if value != wanted:
        raise AssertionError("%s expected %.300r, got %.300r" % (what, wanted, value))


def expect_in(text, wanted):
    if wanted not in text:
        raise AssertionError("expected %.300r in %.3000r" % (wanted, text))


def expect_below(value, bound, what=""):
    if not value < bound:
        raise AssertionError("%s %r is not below %r" % (what, value, bound))


def expect_end(seconds, within, what="it"):
    """An end after about so long: neither at once nor far too late."""
    if not within * 0.6 <= seconds <= within * 2 + 1.5 * SLOW:
        raise AssertionError("%s took %.2f s, not about %.2f" % (what, seconds, within))


def wait(fn, seconds=PATIENCE):
    """Waits until fn() is true, and returns its value."""
    end = time.time() + seconds
    while True:
        value = fn()
        if value:
            return value
        if time.time() > end:
            raise AssertionError("waited %d s for nothing" % seconds)
        time.sleep(0.01)


# The server's process

def log():
    with open(LOG, "rb") as f:
        return f.read().decode("utf-8", "replace")


def resident():
    """Resident memory in bytes."""
    with open("/proc/%d/statm" % PID) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor():
    """Processor time in seconds."""
    with open("/proc/%d/stat" % PID) as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def edit(text, path=APP):
    """Replaces the script in one step, as most editors do."""
    with open(path + "~", "w") as f:
        f.write(text)
    os.rename(path + "~", path)


def reload():
    """SIGHUP, and waits for the verdict: True when the new code is live."""
    def verdicts():
        return re.findall(r"reloaded|reload failed", log())
    before = len(verdicts())
    os.kill(PID, signal.SIGHUP)
    wait(lambda: len(verdicts()) > before)
    return verdicts()[before] == "reloaded"


def parallel(count, fn):
    """fn(i) in so many threads; their results, or the first error."""
    results, errors = [None] * count, []

    def work(i):
        try:
            results[i] = fn(i)
        except BaseException as e:
            errors.append(e)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return results
