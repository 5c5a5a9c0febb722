-- SPDX-License-Identifier: MIT
-- A datagram server of its own: real peers, reloads.
local datagram = require "spec.support.datagram"
local e2e = require "spec.support.e2e"

local APP <const> = [[
local P = rw.DatagramProtocol:extend "P"
function P:datagram_received(bytes, address)
  if bytes:find "^wait" then rw.sleep(0.3):await() end
  self.transport:write("GENERATION:" .. bytes, address)
end
return rw.server("udp:127.0.0.1:" .. (rw.config.udp or 0), rw.Factory:for_protocol(P))]]

local function app(generation) return (APP:gsub("GENERATION", generation)) end

describe("A datagram server", function()
  after_each(e2e.finish)

  local function start(text)
    local port = tonumber((e2e.python [[
      s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
      s.bind(("127.0.0.1", 0))
      print(s.getsockname()[1])
    ]]))
    local child = e2e.start(text, { set = { udp = port }, wait = false })
    child:await_log "listening endpoint=udp:127.0.0.1:"
    return child, port
  end

  it("answers socat", function()
    local _, port = start(app "one")
    local output = e2e.shell(("printf hello | socat -t1 - UDP:127.0.0.1:%d"):format(port))
    assert.equal("one:hello", output)
  end)

  it("loses nothing in reloads, and lets hooks that wait answer", function()
    local child, port = start(app "one")
    local job = ([[
      s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
      s.settimeout(5)
      s.connect(("127.0.0.1", %d))
]]):format(port) .. datagram.RELOADS
    e2e.talk(child, job)
    child:await_log "reloaded generation=4"
  end)

  it("does not mind what nobody reads (ICMP)", function()
    local child, port = start(app "one")
    e2e.talk(child, ([[
      for i in range(50):
          s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
          s.sendto(b"x", ("127.0.0.1", %d))
          s.close()
      s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
      s.settimeout(5)
      s.sendto(b"y", ("127.0.0.1", %d))
      expect(s.recv(10), b"one:y")
    ]]):format(port, port))
  end)
end)
