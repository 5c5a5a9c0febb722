-- SPDX-License-Identifier: MIT
-- What specs of UDP and of UNIX datagrams share.
local rw = require "ropewalk"

local datagram = {}

--- Keeps what comes, in a queue, and counts refusals.
local Client = rw.DatagramProtocol:extend "Client"
function Client:init()
  self.more, self.refusals = rw.DeferredQueue(), 0
end
function Client:datagram_received(bytes, address)
  self.from = address
  self.more:put(bytes)
end
function Client:connection_refused() self.refusals = self.refusals + 1 end
datagram.Client = Client

--- Python, behind what makes the socket `s`: 900 datagrams while the script, which says
--- `write("one:" …`, is reloaded three times. Each is answered once, by some generation;
--- a hook that waited by that of its time.
datagram.RELOADS = [[
      s.send(b"wait")
      import re, signal
      got = []
      def read(): # at once: a socket holds few
          while len(got) < 901: got.append(s.recv(1000))
      reader = threading.Thread(target=read)
      reader.start()
      text = open(APP).read()
      for generation in ("two", "three", "four"):
          text = re.sub(r'write\("\w+:', 'write("%s:' % generation, text)
          open(APP, "w").write(text)
          os.kill(PID, signal.SIGHUP)
          for i in range(300):
              s.send(b"%d" % i)
              time.sleep(0.0005)
      reader.join()
      expect(sum(1 for g in got if g == b"one:wait"), 1)
      for i in range(300): expect(sum(1 for g in got if g.endswith(b":%d" % i)), 3)
      s.send(b"end")
      expect(s.recv(100), b"four:end")
]]

return datagram
