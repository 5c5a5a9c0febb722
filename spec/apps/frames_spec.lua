-- SPDX-License-Identifier: MIT
local e2e = require "spec.support.e2e"

describe("apps/frames.lua", function()
  after_each(e2e.finish)

  it("keeps values, and refuses what makes no sense", function()
    e2e.talk(e2e.start(nil, { app = "apps/frames.lua" }), [[
      import struct
      def frame(kind, payload): return struct.pack(">HBI", 0xCAFE, kind, len(payload)) + payload
      def key(k): return struct.pack(">H", len(k)) + k
      def ask(*frames):
          c = Client()
          c.send(b"".join(frames))
          c.finish()
          return c.rest()
      put = frame(2, key(b"k") + struct.pack(">I", 5) + b"value")
      expect(ask(frame(1, key(b"k"))), frame(4, b""))
      expect(ask(put, frame(1, key(b"k"))), frame(3, b"value") * 2)
      expect(ask(frame(9, key(b"k"))), b"")
      expect(ask(frame(2, key(b"k"))), b"")
      expect(ask(b"GET / HTTP/1.0\r\n\r\n"), b"")
    ]])
  end)
end)
