-- SPDX-License-Identifier: MIT
-- Protocols that are made without rw's classes.
local rw = require "ropewalk"
local core = require "ropewalk.core"

describe("A protocol with a metatable of its own", function()
  it("leaves nothing behind", function()
    local P = rw.LineProtocol:extend "P"
    function P:line_received(line) self:send_line(line) end
    local function build()
      return setmetatable({}, { __index = P, ballast = ("x"):rep(10000) .. tostring({}) })
    end
    local factory = rw.Factory:for_protocol(P)
    factory.build_protocol = build
    local function rounds(n)
      for _ = 1, n do
        local pair = rw.testing.pair(factory, rw.Factory:for_protocol(rw.Protocol)):await()
        pair:close()
      end
      collectgarbage()
      collectgarbage()
      return core.stats().script_memory
    end
    local before = rounds(50)
    assert.is_true(rounds(200) < before + 1000000)
  end)
end)
