-- SPDX-License-Identifier: MIT
-- `ropewalk test` says that all is well only if it is: what could hide a failure.
local e2e = require "spec.support.e2e"

describe("ropewalk test is not green", function()
  after_each(e2e.finish)

  local dir
  local binary = e2e.binary:match "^/" and e2e.binary or (e2e.shell "pwd"):match "[^\n]+" .. "/" .. e2e.binary

  -- One spec of this text, by itself and beside another one.
  local function run(text, words, jobs)
    dir = e2e.directory()
    e2e.write(dir .. "/a_spec.lua", 'local rw = require "ropewalk"\n' .. text)
    e2e.write(dir .. "/b_spec.lua", 'it("passes", function() end)')
    return e2e.shell(("cd %s && timeout 60 %s test %s %s"):format(dir, e2e.quote(binary), words or "",
      jobs and "-j 2 a_spec.lua b_spec.lua" or "a_spec.lua"))
  end

  local function fails(text, expected, words)
    for _, jobs in ipairs { false, true } do
      local output, status = run(text, words, jobs)
      assert.equal(1, status, output)
      assert.matches(expected, output)
    end
  end

  it("when a test catches what ends it in time", function()
    fails('it("t", function() pcall(function() rw.Deferred():await() end) end)',
      "a_spec.lua:2: t\n  the test took longer than 0.3 s", "--timeout=0.3")
  end)

  it("when a cleanup or a finally takes for ever", function()
    fails('it("t", function() rw.testing.add_cleanup(function() rw.Deferred():await() end) end)',
      "a_spec.lua:2: t\n  the test took longer than 0.3 s", "--timeout=0.3")
    fails('it("t", function() finally(function() rw.Deferred():await() end) end)',
      "a_spec.lua:2: t\n  the test took longer than 0.3 s", "--timeout=0.3")
  end)

  it("when it waits, outside of a test, for what never happens", function()
    local text = 'it("t", function() end) after_each(function() rw.Deferred():await() end)'
    local output, status = run(text)
    assert.equal(1, status, output)
    assert.matches("what it waits for will never happen", output)
    output, status = run(text, "", true)
    assert.equal(1, status, output)
    assert.matches("a_spec.lua: %(the process%)\n  it ended with status 1 before its tests did", output)
  end)

  it("when a spec stops the process between its tests", function()
    fails([[it("one", function() end)
      it("two", function() rw.reactor:stop() rw.sleep(1):await() end)
      it("three", function() error "not reached" end)]], "")
  end)

  it("when a cleanup fails that an after_each has added", function()
    fails([[after_each(function() rw.testing.add_cleanup(error, "it is not clean") end)
      it("t", function() end)]], "a_spec.lua:3: t\n  .*it is not clean")
  end)

  it("when an error is logged after the last test of a file", function()
    local text = 'teardown(function() rw.Deferred.fail "it did not end well" end) it("t", function() end)'
    fails(text, "a_spec.lua: %(after its tests%)\n  errors were logged:\n.*it did not end well")
    local output, status = run(text, "--allow-errors")
    assert.equal(0, status, output)
  end)

  it("when the only test fails in bytes that are no text", function()
    fails('it("\\xc3( \\xe2\\x82\\xac", function() error "\\xff" end)',
      "a_spec.lua:2: \\xc3%( €\n  a_spec.lua:2: \\xff\n")
    local _, status = run('it("\\xc3(", function() error "\\xff" end)', "--junit=out.xml")
    assert.equal(1, status)
    local output
    output, status = e2e.shell(("python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' %s/out.xml")
      :format(dir))
    assert.equal(0, status, output)
  end)

  it("when a capture of the log is forgotten, which would hide what comes", function()
    fails([[it("one", function() rw.log.capture() end)
      it("two", function() rw.Deferred.fail "it is hidden" end)]],
      "a_spec.lua:2: one\n.*a capture of the log.*a_spec.lua:3: two\n.*it is hidden")
  end)

  it("when a report cannot be written", function()
    fails('it("t", function() end)', "/dev/full: No space left on device", "--tap=/dev/full")
  end)

  it("when a switch is given a value", function()
    local output, status = run('it("t", function() rw.log.error "bad" end)', "--allow-errors=no")
    assert.equal(2, status, output)
    assert.matches("%-%-allow%-errors takes no value", output)
  end)
end)
