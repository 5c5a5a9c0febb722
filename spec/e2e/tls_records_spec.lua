-- SPDX-License-Identifier: MIT
-- What TLS looks like on the wire: how large records are, how many there are, and
-- what is in front of them. The peer is Python's ssl, with the bytes in its hands.
local e2e = require "spec.support.e2e"
local tls = require "spec.support.tls"

describe("TLS on the wire", function()
  local dir

  before_each(function() dir = tls.directory() end)
  after_each(tls.finish)

  local SITE <const> = "cert=DIR/site.pem:key=DIR/site.key"

  -- Wire: a connection whose records are counted: `sizes` of those with data that
  -- came. Plain text is what read() returns.
  local PYTHON <const> = [[
import ssl
DIR = %q
class Wire:
    def __init__(self, version, ahead=b"", port=PORT):
        context = ssl.create_default_context(cafile=DIR + "/ca.pem")
        context.minimum_version = context.maximum_version = version
        self.version = version
        self.raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.i, self.o = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.s = context.wrap_bio(self.i, self.o, server_hostname="localhost")
        self.all, self.sizes, self.ended = b"", [], False
        self.raw.sendall(ahead)
        self.run(self.s.do_handshake)
    def run(self, fn, *args):
        while True:
            try:
                value = fn(*args)
                self.flush()
                return value
            except ssl.SSLWantReadError:
                self.flush()
                self.take()
    def flush(self):
        if self.o.pending: self.raw.sendall(self.o.read())
    def take(self):
        got = self.raw.recv(1 << 20)
        if got: self.i.write(got)
        else: self.i.write_eof(); self.ended = True
        self.all += got
        while len(self.all) >= 5 and len(self.all) >= 5 + int.from_bytes(self.all[3:5], "big"):
            n = int.from_bytes(self.all[3:5], "big")
            if self.all[0] == 23: self.sizes.append(n)
            self.all = self.all[5 + n:]
    def write(self, text): self.run(self.s.write, text)
    def read(self, n):
        """So many bytes of plain text, and the sizes of the records that they came in."""
        text = b""
        self.sizes.clear()
        while len(text) < n:
            more = self.run(self.s.read, 1 << 20)
            assert more, "the end after %%d bytes" %% len(text)
            text += more
        return text, list(self.sizes)
versions = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
]]

  local function python(child, code)
    return e2e.python(PYTHON:format(dir) .. ("\n" .. code):gsub("\n      ", "\n"), child)
  end

  local SENDS <const> = [[
local Sends = rw.LineProtocol:extend "Sends"
function Sends:handshake_completed() self:send_line "ready" end
function Sends:line_received(line)
  local what, n, size = line:match "^(%a+) (%d+) (%d+)$"
  if what == "pieces" then
    for _ = 1, n do
      self.transport:write(("p"):rep(size))
      self.transport:drained()
    end
  elseif what == "tasks" then -- each a hook of its own, all in one turn
    for _ = 1, n do
      rw.call_later(0, function() self.transport:write(("t"):rep(size)) end)
    end
  else
    self.transport:write(("w"):rep(n * size))
  end
end
return rw.server(rw.config.at, rw.Factory:for_protocol(Sends))]]

  it("has small records first and large ones then, however much is written at a time", function()
    local child = tls.server(SITE, { listen = SENDS })
    python(child, [[
      MOST = 1300 + 64 # and what a record has of its own
      def check(sizes, pieces, size):
          largest = min(16384, size)
          turn = next(i for i, n in enumerate(sizes) if n > MOST)
          before = sum(sizes[:turn])
          assert 90000 < before < 110000, (turn, before)
          assert sum(1 for n in sizes[turn:] if n >= largest) >= (pieces * size - before) // largest * 0.7, sizes
          expect_below(len(sizes), 90 + 2 * pieces + pieces * size // largest)
      for version in versions:
          for how in ("pieces 40 10000", "whole 40 10000", "whole 1 1000000", "pieces 8 50000"):
              w = Wire(version)
              w.read(7)
              w.write(how.encode() + b"\n")
              _, n, size = how.split()
              total = int(n) * int(size)
              text, sizes = w.read(total)
              expect(len(text), total)
              check(sizes, *((int(n), int(size)) if how[0] == "p" else (1, total)))
              # at once again: large from the first one
              w.write(b"whole 1 50000\n")
              _, sizes = w.read(50000)
              expect(max(sizes) > 16000, True)
              expect_below(len(sizes), 6)
              if how != "whole 40 10000": continue
              time.sleep(1.2) # a pause: the next one shall be quick again
              w.write(b"whole 1 50000\n")
              _, sizes = w.read(50000)
              expect_below(max(sizes), MOST)
    ]])
  end)

  it("puts the small writes of a turn together", function()
    local child = tls.server(SITE, { listen = SENDS })
    python(child, [[
      for version in versions:
          w = Wire(version)
          w.read(7)
          for n, size in ((50, 10), (3, 1), (100, 3)):
              w.write(b"tasks %d %d\n" % (n, size))
              text, sizes = w.read(n * size)
              expect(text, b"t" * n * size)
              expect_below(len(sizes), 4, "records for %d writes" % n)
          w.write(b"pieces 20 5\n") # one hook
          _, sizes = w.read(100)
          expect_below(len(sizes), 3)
    ]])
  end)

  it("reads records of any size, empty ones and those of many packets", function()
    local child = tls.server(SITE)
    python(child, [[
      for version in versions:
          w = Wire(version)
          w.run(w.s.read, 1000)
          line = b"y" * 16000 + b"\n"
          w.s.write(line)
          record = w.o.read()
          for at in range(0, len(record), 501):
              w.raw.sendall(record[at:at + 501])
              if at < 2000: time.sleep(0.01)
          expect(w.read(len(line) + 6)[0], b"echo " + line[:-1] + b"\r\n")
          for c in b"a b\n": w.write(bytes([c]))
          expect(w.read(10)[0], b"echo a b\r\n")
    ]])
  end)

  it("tells a reset in mid-record from an end, and a cut behind a record", function()
    local child = tls.server(SITE)
    python(child, [[
      def lost(): return re.findall(r"lost: \S+ .*?code=(\S+)(?: name=(\S+))?", log())
      for version in versions:
          for how, wanted in (("reset in mid-record", "ECONNRESET"), ("cut in mid-record", "truncated"),
                              ("cut", "truncated"), ("ended", "done")):
              before = len(lost())
              w = Wire(version)
              w.run(w.s.read, 1000)
              w.s.write(b"a line that is whole\n")
              record = w.o.read()
              if "record" in how:
                  w.raw.sendall(record[:-3])
                  time.sleep(0.05)
              else:
                  w.raw.sendall(record)
                  w.read(27)
              if how == "ended":
                  try: w.s.unwrap()
                  except ssl.SSLWantReadError: pass
                  w.flush()
                  w.raw.shutdown(socket.SHUT_WR)
              if "reset" in how: w.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
              w.raw.close()
              wait(lambda: len(lost()) > before)
              expect_in(" ".join(lost()[-1]), wanted)
    ]])
  end)

  it("goes on in one direction when the other has ended, as long as it takes", function()
    local child = tls.server(SITE, { listen = [[
local Half = rw.LineProtocol:extend "Half"
function Half:handshake_completed() self:send_line "ready" end
function Half:line_received(line)
  if line == "your turn" then -- we say no more, and listen on
    self:send_line "good bye"
    return self.transport:lose_write()
  end
  rw.log.info("heard {line}", { line = line })
end
function Half:read_connection_lost()
  rw.log.info "the peer has ended"
  for i = 1, 3 do
    rw.sleep(0.05):await()
    self:send_line("still " .. i)
  end
  self.transport:lose_connection()
end
function Half:connection_lost(reason) rw.log.info("lost: {code}", { code = reason.code }) end
return rw.server(rw.config.at, rw.Factory:for_protocol(Half))]] })
    python(child, [[
      for version in versions:
          # theirs ends, ours goes on: the records come, and our close_notify is the last
          w = Wire(version)
          w.read(7)
          try: w.s.unwrap()
          except ssl.SSLWantReadError: pass
          w.flush()
          w.sizes.clear()
          while not w.ended: w.take()
          expect(len([n for n in w.sizes if n > 20]) >= 3, True)
          wait(lambda: log().count("lost: done") == log().count("the peer has ended") > 0)
          # ours ends, theirs goes on
          w = Wire(version)
          w.read(7)
          w.write(b"your turn\n")
          expect(w.read(10)[0], b"good bye\r\n")
          try:
              expect(w.run(w.s.read, 100), b"")
          except ssl.SSLZeroReturnError: pass # close_notify, and no ragged end
          before = log().count("heard more")
          w.write(b"more 1\n")
          w.write(b"more 2\n")
          wait(lambda: log().count("heard more") == before + 2)
          ended = log().count("lost: done")
          w.raw.close()
          wait(lambda: re.findall(r"lost: ", log()))
    ]])
  end)
end)
