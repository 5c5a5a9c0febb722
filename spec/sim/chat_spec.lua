-- SPDX-License-Identifier: MIT
-- apps/chat.lua under random faults. `make simulate N=10000` runs more seeds of
-- it: they come in the environment.

local rw = require "ropewalk"
local chat = require "spec.sim.chat"
local e2e = require "spec.support.e2e"
local core = require "ropewalk.core"

local BUGGY <const> = "spec/sim/fixtures/chat_overtaking.lua"
local FROM <const> = tonumber(os.getenv "SIMULATE_FROM") or 1
local COUNT <const> = tonumber(os.getenv "SIMULATE") or 300

-- The hash of the trace that another process gets.
local function elsewhere(app, from, count)
  local output = e2e.shell(("SIM_APP=%s SIM_FROM=%d SIM_COUNT=%d timeout 60 %s test %s"):format(
    app, from, count, e2e.binary, "spec/sim/fixtures/elsewhere.lua"))
  return output:match "trace (%x+)" or output
end

describe("a chat over a bad network", function()
  it("keeps its promises", function()
    local began = core.hrtime()
    local total = rw.testing.simulate_many { from = FROM, count = COUNT,
      fn = chat.day "apps/chat.lua", faults = chat.FAULTS }
    local seconds = core.hrtime() - began
    assert.equal(COUNT, total.count)
    if os.getenv "SIMULATE" then
      print(("%d runs from seed %d: %.1f s, %.2f ms each; %d events, %.1f virtual hours, trace %s")
        :format(COUNT, FROM, seconds, seconds / COUNT * 1000, total.events,
          total.virtual_seconds / 3600, total.trace_hash))
    end
  end)

  it("keeps them while its code is exchanged", function()
    rw.testing.simulate_many { count = 50, faults = chat.FAULTS,
      fn = chat.day("apps/chat.lua", true) }
  end)

  it("replays exactly in another process", function()
    local here = rw.testing.simulate_many { from = 7, count = 20,
      fn = chat.day "apps/chat.lua", faults = chat.FAULTS }
    assert.equal(here.trace_hash, elsewhere("apps/chat.lua", 7, 20))
  end)
end)

describe("a planted bug", function()
  it("is found, and replayed from its seed, here and in another process", function()
    local day = chat.day(BUGGY)
    local ok, found = pcall(rw.testing.simulate_many,
      { count = 2000, fn = day, faults = chat.FAULTS })
    assert.is_false(ok)
    assert.matches("in another order", found.message)
    assert.matches("seed " .. found.seed .. " ", found.message)
    assert.matches("deliver", found.message)

    local again
    ok, again = pcall(rw.testing.simulate, found.seed, day, { faults = chat.FAULTS })
    assert.is_false(ok)
    assert.equal(found.result.trace_hash, again.result.trace_hash)
    assert.equal(found.message, again.message)
    assert.equal(found.result.trace_hash, elsewhere(BUGGY, found.seed, 1))
  end)
end)
