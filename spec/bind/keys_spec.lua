-- SPDX-License-Identifier: MIT
-- Names in order: what allocates may run a finalizer, which may empty the table.
local core = require "ropewalk.core"

local function vanishing()
  local t = {}
  for i = 1, 500 do t[("k%04d-%s"):format(i, ("x"):rep(60))] = 1 end
  setmetatable({}, { __gc = function()
    for name in pairs(t) do t[name] = nil end
  end })
  return t
end

describe("names that go while they are written in order", function()
  local pause, factor
  before_each(function()
    collectgarbage() -- of what is there, there may be much
    pause, factor = collectgarbage("setpause", 10), collectgarbage("setstepmul", 400)
  end)
  after_each(function()
    collectgarbage("setpause", pause)
    collectgarbage("setstepmul", factor)
  end)

  it("have no value any more in JSON", function()
    for _ = 1, 3 do
      local last = ""
      for name, value in core.json_encode(vanishing(), { sorted = true }):gmatch '"([^"]*)":(%w+)' do
        assert.equal(66, #name)
        assert.is_true(name > last)
        assert.is_true(value == "1" or value == "null")
        last = name
      end
    end
  end)

  it("and none in a shipment", function()
    for _ = 1, 3 do
      for name, value in pairs((core.unship(core.ship(vanishing())))) do
        assert.equal(66, #name)
        assert.equal(1, value)
      end
    end
  end)
end)
