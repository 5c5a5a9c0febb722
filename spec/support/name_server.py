# SPDX-License-Identifier: MIT
"""A name server for specs, on UDP and TCP of one free port of 127.0.0.1, which
it prints. It answers well or badly, as the first label of the name says:

    (anything)            good: records of every type, TTL 60
    v4 v6                 good, of one family only
    zero short            TTL 0, TTL 1
    nodata missing gone   nothing there: with an SOA of TTL 60, the last without
    hostN                 127.0.0.N
    list                  127.0.0.201, .202, .1, and ::1
    slowN latesixN        good, after N ms; the latter: AAAA only
    silent                no answer
    servfail refused notimp
    truncated             UDP: TC and nothing; TCP: 100 records
    huge                  UDP: TC; TCP: 2000 records
    wrongid wrongname     the answer to another question, and never the right one
    garbage empty cut     bytes, none, a part of the header
    pointer chain         a name that points to itself; one of 300 pointers
    counts                more records announced than there are
    alias aliasloop aliaslong   CNAMEs: two, in a circle, forty
    alien                 records of somebody else before the right one
    countN.NAME.asked     TXT: how many questions there were for NAME

`--dead`: answers nothing at all."""
import re
import socket
import struct
import sys
import threading
import time

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, NAPTR, CAA = 1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 257
counts = {}
lock = threading.Lock()


def name(text):
    labels = [part for part in text.split(".") if part]
    return b"".join(bytes([len(part)]) + part.encode("latin-1") for part in labels) + b"\0"


def read_name(packet, at):
    labels = []
    while packet[at]:
        labels.append(packet[at + 1:at + 1 + packet[at]].decode("latin-1"))
        at += 1 + packet[at]
    return ".".join(labels), at + 1


def record(owner, kind, data, ttl=60):
    return name(owner) + struct.pack(">HHIH", kind, 1, ttl, len(data)) + data


def texts(*parts):
    return b"".join(bytes([len(part)]) + part for part in parts)


def address(last):
    return bytes([127, 0, 0, last])


SIX = bytes(15) + b"\1"
ZONE = record("test", SOA, name("ns.test") + name("root.test") + struct.pack(">5I", 1, 2, 3, 4, 60))


def data_of(kind, asked):
    """The records of a good name: list of data."""
    return {
        A: [address(1)], AAAA: [SIX],
        MX: [struct.pack(">H", 20) + name("b.mx.test"), struct.pack(">H", 10) + name("a.mx.test")],
        TXT: [texts(b"v=spf1", b" -all"), texts(b"two\0")],
        SRV: [struct.pack(">HHH", 2, 0, 99) + name("z.test"),
              struct.pack(">HHH", 1, 10, 80) + name("x.test"),
              struct.pack(">HHH", 1, 0, 81) + name("y.test")],
        PTR: [name("host.test")], NS: [name("ns.test")], CNAME: [name("target.test")],
        SOA: [name("ns.test") + name("root.test") + struct.pack(">5I", 7, 2, 3, 4, 60)],
        NAPTR: [struct.pack(">HH", 1, 2) + texts(b"u", b"E2U+sip", b"!^.*$!sip:x@test!") + name(".")],
        CAA: [b"\0\5issueca.test"], 65280: [b"raw\0bytes"],
    }.get(kind, [])


class Answer:
    def __init__(self, packet, tcp):
        self.id, self.flags = struct.unpack(">HH", packet[:4])
        self.asked, at = read_name(packet, 12)
        self.kind, = struct.unpack(">H", packet[at:at + 2])
        self.question = packet[12:at + 4]
        self.tcp = tcp

    def make(self, records=(), rcode=0, tc=False, authority=(), number=None, id=None, question=None):
        flags = 0x8180 | rcode | (0x200 if tc else 0)
        head = struct.pack(">6H", self.id if id is None else id, flags, 1,
                           len(records) if number is None else number, len(authority), 0)
        return head + (question or self.question) + b"".join(records) + b"".join(authority)

    def good(self, ttl=60, kinds=None):
        found = data_of(self.kind, self.asked) if not kinds or self.kind in kinds else []
        return self.make([record(self.asked, self.kind, data, ttl) for data in found],
                         authority=[] if found else [ZONE])

    def many(self, n):
        return self.make([record(self.asked, A, bytes([127, 1, i >> 8, i & 255])) for i in range(n)])

    def write(self):
        """bytes, or None, or a list of them; and after how many seconds."""
        word = self.asked.split(".")[0].lower()
        n = re.search(r"\d+$", word)
        n = int(n.group()) if n else 0
        bare = word.rstrip("0123456789")
        own = record(self.asked, A, address(1))
        if bare == "slow":
            return self.good(), n / 1000
        if bare == "count":
            asked = counts.get(self.asked.split(".", 1)[1].lower()[:-len(".asked")], 0)
            return self.make([record(self.asked, TXT, texts(b"%d" % asked), 0)]), 0
        loop = self.make(number=1) + struct.pack(">H", 0xC000 | (12 + len(self.question)))
        chain = b"".join(struct.pack(">H", 0xC000 | (14 + len(self.question) + 2 * i))
                         for i in range(300)) + b"\0"
        answers = {
            "v": lambda: self.good(kinds=[AAAA if n == 6 else A]),
            "zero": lambda: self.good(0), "short": lambda: self.good(1),
            "nodata": lambda: self.make(authority=[ZONE]),
            "missing": lambda: self.make(rcode=3, authority=[ZONE]),
            "gone": lambda: self.make(rcode=3),
            "silent": lambda: None,
            "servfail": lambda: self.make(rcode=2), "notimp": lambda: self.make(rcode=4),
            "refused": lambda: self.make(rcode=5),
            "truncated": lambda: self.many(100) if self.tcp else self.make(tc=True),
            "huge": lambda: self.many(2000) if self.tcp else self.make(tc=True),
            "wrongid": lambda: self.make([own], id=self.id ^ 0x5555),
            "wrongname": lambda: self.make([own], question=name("other.test") + struct.pack(">HH", A, 1)),
            "garbage": lambda: bytes(range(200)), "empty": lambda: b"",
            "cut": lambda: self.make([own])[:15],
            "pointer": lambda: loop + struct.pack(">HHIH", A, 1, 60, 4) + address(1),
            "chain": lambda: self.make(number=1) + chain + struct.pack(">HHIH", A, 1, 60, 4) + address(1),
            "counts": lambda: self.make([own], number=9),
            "alias": lambda: self.make([record(self.asked, CNAME, name("b.test")),
                                        record("b.test", CNAME, name("C.test")),
                                        record("c.test", A, address(2))] if self.kind == A else [],
                                       authority=[ZONE]),
            "aliasloop": lambda: self.make([record(self.asked, CNAME, name("l.test")),
                                            record("l.test", CNAME, name(self.asked))]),
            "aliaslong": lambda: self.make(
                [record(self.asked if i == 0 else "l%d.test" % i, CNAME, name("l%d.test" % (i + 1)))
                 for i in range(40)] + [record("l40.test", A, address(1))]),
            "alien": lambda: self.make([record("bank.test", A, address(66)), own]),
            "host": lambda: self.make([record(self.asked, A, address(n))] if self.kind == A else [],
                                      authority=[ZONE]),
            "list": lambda: self.make(
                [record(self.asked, A, address(i)) for i in (201, 202, 1)] if self.kind == A else
                [record(self.asked, AAAA, SIX)] if self.kind == AAAA else []),
        }
        late = n / 1000 if bare == "latesix" and self.kind == AAAA else 0
        return answers.get(bare, self.good)(), late


def handle(packet, tcp, send, dead):
    answer = Answer(packet, tcp)
    with lock:
        key = answer.asked.lower()
        counts[key] = counts.get(key, 0) + 1
    if dead:
        return
    reply, seconds = answer.write()
    if reply is None:
        return
    if seconds:
        threading.Timer(seconds, send, [reply]).start()
    else:
        send(reply)


def serve_stream(connection, dead):
    with connection, connection.makefile("rb") as incoming:
        while len(head := incoming.read(2)) == 2:
            packet = incoming.read(struct.unpack(">H", head)[0])

            def send(reply):
                connection.sendall(struct.pack(">H", len(reply)) + reply)
            handle(packet, True, send, dead)


def serve_streams(listener, dead):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve_stream, args=(connection, dead), daemon=True).start()


def both_sockets():
    """On one port, which may take some tries."""
    while True:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        try:
            return datagrams, socket.create_server(datagrams.getsockname(), backlog=100)
        except OSError:
            datagrams.close()


def main():
    dead = "--dead" in sys.argv
    datagrams, listener = both_sockets()
    datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    threading.Thread(target=serve_streams, args=(listener, dead), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    while True:
        packet, peer = datagrams.recvfrom(4096)
        try:
            handle(packet, False, lambda reply, to=peer: datagrams.sendto(reply, to), dead)
        except (IndexError, struct.error):
            print("cannot read %r" % packet, file=sys.stderr)


main()
