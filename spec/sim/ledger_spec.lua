-- SPDX-License-Identifier: MIT
-- A small protocol over datagrams, under faults: the right one holds, and the one
-- with a bug is found out, and replayed from its seed.

local rw = require "ropewalk"
local e2e = require "spec.support.e2e"
local ledger = require "spec.sim.ledger"

local COUNT <const> = tonumber(os.getenv "SIMULATE") or 300

local function elsewhere(seed)
  local directory = e2e.directory()
  e2e.write(directory .. "/elsewhere_spec.lua", ([[
    local rw = require "ropewalk"
    local ledger = require "spec.sim.ledger"
    it("prints the trace", function()
      local ok, result = pcall(rw.testing.simulate, %d, ledger.day { forgetful = 1 }, { faults = ledger.FAULTS })
      print("trace " .. (ok and result.trace_hash or result.result.trace_hash))
    end)
  ]]):format(seed))
  local output = e2e.shell(("timeout 60 %s test %s/elsewhere_spec.lua"):format(e2e.binary, directory))
  return output:match "trace (%x+)" or output
end

local function find_bug(faults)
  local day = ledger.day { forgetful = 1 }
  local ok, found = pcall(rw.testing.simulate_many, { count = 1000, fn = day, faults = faults })
  assert.is_false(ok)
  assert.matches("the ledger has %d+, but %d+ were added", found.why)
  local again
  ok, again = pcall(rw.testing.simulate, found.seed, day, { faults = faults })
  assert.is_false(ok)
  assert.equal(found.message, again.message)
  assert.equal(found.result.trace_hash, again.result.trace_hash)
  return found
end

describe("a ledger over datagrams", function()
  it("counts everything once, whatever is lost or doubled", function()
    local total = rw.testing.simulate_many { count = COUNT, fn = ledger.day(), faults = ledger.FAULTS }
    assert.equal(COUNT, total.count)
    local again = rw.testing.simulate_many { count = COUNT, fn = ledger.day(), faults = ledger.FAULTS }
    assert.equal(total.trace_hash, again.trace_hash)
  end)

  it("that forgets what it has seen is found out by a duplicate", function()
    find_bug { loss = 0, duplicate = 0.05 }
  end)

  it("… and by an acknowledgement that is lost", function()
    local found = find_bug { loss = 0.05, duplicate = 0 }
    assert.matches("lost", found.message)
  end)

  it("… in another process from the same seed, too", function()
    local found = find_bug(ledger.FAULTS)
    assert.equal(found.result.trace_hash, elsewhere(found.seed))
  end)
end)
