-- SPDX-License-Identifier: MIT
-- Every public function with arguments of every type, in each phase of a script's
-- life: what is wrong is refused at the caller's line. In processes of their own,
-- for some of the calls are right and do something.

local e2e = require "spec.support.e2e"
local testing = require "ropewalk.testing"

local APP <const> = "spec/support/sweep_app.lua"
local PATIENT <const> = { "--log-level", "none", "--limit", "script_budget=300000", "--limit",
  "load_timeout=300000", "--limit", "thread_time=300000", "--limit", "drain_timeout=60000" }
local SECONDS <const> = e2e.sanitized and 300 or 100
local LEAST_CALLS <const> = 5000

-- What was said: only how many calls there were.
local function assert_clean(output)
  local findings = {}
  for finding in output:gmatch "finding: ([^\n]*)" do findings[#findings + 1] = finding end
  assert.same({}, findings)
  assert.is_true(tonumber(output:match "calls: (%d+)" or 0) > LEAST_CALLS, output)
end

local function sweep(command, phase)
  testing.timeout(SECONDS)
  local words = { "timeout", SECONDS, e2e.quote(e2e.binary), command, APP }
  for _, word in ipairs(PATIENT) do words[#words + 1] = word end
  local output, status = e2e.shell(table.concat(words, " ") .. " -- " .. phase)
  assert_clean(output)
  assert.equal(0, status, output)
end

describe("a wrong argument", function()
  after_each(e2e.finish)

  it("is refused at the caller's line", function() sweep("run", "serving") end)
  it("… while the script is loaded", function() sweep("run", "load") end)
  it("… in a self-test", function() sweep("check", "check") end)
  it("… in a service that stops", function() sweep("run", "shutdown") end)
  it("… when rw.run has ended", function() sweep("run", "ended") end)
  it("… in a thread", function() sweep("run", "thread") end)

  it("… in a simulated world", function()
    testing.timeout(SECONDS)
    testing.simulate(1, function()
      local findings, calls = require "spec.support.sweep".run { brief = true }
      assert(#findings == 0, table.concat(findings, "\n"))
      assert(calls > 5000)
    end, { allow_errors = true, allow_leaks = true })
  end)

  it("… in a generation that newer code has replaced", function()
    testing.timeout(SECONDS)
    local child = e2e.start(nil, { app = APP, args = {
      "--limit", "script_budget=300000", "--limit", "drain_timeout=60000", "--", "retired" } })
    child:reload()
    child:await_log("calls: ", SECONDS)
    assert_clean(child:log())
  end)
end)
