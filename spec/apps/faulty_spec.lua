-- SPDX-License-Identifier: MIT
local e2e = require "spec.support.e2e"

local ECHO <const> = [[
local Echo = rw.Protocol:extend "Echo"
function Echo:data_received(bytes) self.transport:write(bytes) end
function Echo:read_connection_lost() self.transport:lose_connection() end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))
]]

describe("apps/faulty.lua", function()
  local behind
  before_each(function() behind = e2e.start(ECHO) end)
  after_each(e2e.finish)

  local function faulty(...)
    local args = { "--set", "to=tcp:127.0.0.1:" .. behind.port }
    for _, setting in ipairs { ... } do
      args[#args + 1] = "--set"
      args[#args + 1] = setting
    end
    return e2e.start(nil, { app = "apps/faulty.lua", args = args })
  end

  it("loses nothing while it only splits and delays", function()
    e2e.talk(faulty("split=7", "delay=0.0005"), [[
      data = os.urandom(3000)
      c = Client()
      c.send(data).finish()
      expect(c.rest() == data, True)
    ]])
  end)

  it("keeps to a rate", function()
    e2e.talk(faulty "rate=40000", [[
      began = time.monotonic()
      c = Client()
      c.send(b"x" * 120000).finish()
      expect(len(c.rest()), 120000)
      expect(time.monotonic() - began > 1, True)
    ]])
  end)

  it("cuts connections off within the bytes that were said", function()
    e2e.talk(faulty("fault=cut", "after=1000", "split=100"), [[
      for _ in range(10):
          c = Client()
          c.send(b"x" * 800)
          expect(len(c.rest()) <= 999, True)
    ]])
  end)

  it("resets, and stalls", function()
    local child = faulty("fault=reset", "after=50")
    e2e.talk(child, [[
      c = Client()
      c.send(b"x" * 800)
      try: c.rest(); expect("an end", "a reset")
      except ConnectionResetError: pass
    ]])
    e2e.talk(faulty("fault=stall", "after=50"), [[
      c = Client()
      c.send(b"x" * 800)
      c.socket.settimeout(0.5)
      try:
          while c.socket.recv(1000): pass
          expect("an end", "silence")
      except TimeoutError: pass
    ]])
  end)

  it("does the same again with the same seed, and something else with another", function()
    local function run(seed)
      local child = faulty("fault=reset,cut,stall", "odds=0.5", "after=100", "seed=" .. seed)
      e2e.talk(child, [[
        for _ in range(30):
            c = Client()
            c.socket.settimeout(0.05)
            try:
                c.send(b"x" * 200)
                while c.socket.recv(1000): pass
            except OSError: pass
      ]])
      local said = {}
      for fault, number in child:log():gmatch "(%a+) of connection (%d+)" do
        said[#said + 1] = number .. fault
      end
      table.sort(said)
      return table.concat(said, " ")
    end
    local first = run(5)
    assert.truthy(#first > 20)
    assert.equal(first, run(5))
    assert.not_equal(first, run(6))
  end)
end)
