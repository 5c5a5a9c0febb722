-- SPDX-License-Identifier: MIT
-- `ropewalk test -j N`: files of specs at the same time, each in a process.
local e2e = require "spec.support.e2e"

describe("ropewalk test with several processes", function()
  after_each(e2e.finish)

  local dir
  local binary = e2e.binary:match "^/" and e2e.binary or (e2e.shell "pwd"):match "[^\n]+" .. "/" .. e2e.binary

  -- Runs these files, { name = text }, with these words.
  local function run_files(files, words)
    dir = e2e.directory()
    for name, text in pairs(files) do e2e.write(dir .. "/" .. name, text) end
    return e2e.shell(("cd %s && timeout 60 %s test %s ."):format(dir, e2e.quote(binary), words))
  end
  local PASSES <const> = 'it("passes", function() end)'

  it("adds up the files' tests, and files without any do not matter", function()
    local output, status = run_files({ ["a_spec.lua"] = PASSES, ["b_spec.lua"] = PASSES,
      ["c_spec.lua"] = "local _ = 1", ["other.lua"] = "error 'not a spec'" }, "-j 3")
    assert.equal(0, status, output)
    assert.matches("\n2 passed, 0 failed, 0 skipped\n$", output)
  end)

  it("says once that it does not know an option, and ends with 2", function()
    for _, words in ipairs { "", "-j 2", "-j 2 --coverage" } do
      local output, status = run_files({ ["a_spec.lua"] = PASSES, ["b_spec.lua"] = PASSES }, words .. " --bogus")
      assert.same({ 2, 1 }, { status, select(2, output:gsub("%-%-bogus", "")) }, output)
    end
  end)

  it("gives them the same time-out, also a long one", function()
    local output, status = run_files({ ["a_spec.lua"] = PASSES }, "-j 2 --timeout=2000000.5")
    assert.equal(0, status, output)
  end)

  it("runs the files at the same time, each in a state of its own", function()
    -- each waits for the other one's file
    local text = [[local rw = require "ropewalk"
      it("meets", function()
        assert.is_nil(was_here)
        was_here = true
        io.open("%s", "w"):close()
        while not io.open("%s") do rw.sleep(0.01):await() end end)]]
    local output, status = run_files({ ["a_spec.lua"] = text:format("a", "b"),
      ["b_spec.lua"] = text:format("b", "a") }, "-j2 --timeout=20")
    assert.equal(0, status, output)
  end)

  it("runs a file with a certain tag after the others, by itself", function()
    -- (not in one piece: this file need not be)
    local text = [[local rw = require "ropewalk"
      it("is slow%s", function()
        local log = io.open("log", "a")
        log:write "[" log:flush()
        rw.sleep(0.2):await()
        log:write "]" log:close() end)]]
    local output, status = run_files({ ["a_spec.lua"] = text:format(" #al" .. "one"),
      ["b_spec.lua"] = text:format(" #al" .. "one"), ["c_spec.lua"] = text:format "",
      ["d_spec.lua"] = text:format "" }, "-j 2")
    assert.equal(0, status, output)
    assert.equal("[[]][][]", e2e.read(dir .. "/log"))
  end)

  it("runs a file that fails once more, by itself, where that is wanted", function()
    local files = { ["b_spec.lua"] = PASSES, ["a_spec.lua"] = [[
      it("is disturbed", function()
        local before = io.open "was_here"
        io.open("was_here", "w"):close()
        assert(before, "too slow")
      end)]] }
    local output, status = run_files(files, "-j 2 --again")
    assert.equal(0, status, output)
    assert.matches("failed beside others, and will run again by itself: %./a_spec.lua\n  1: is disturbed\n"
      .. ".*too slow", output)
    assert.matches("\n2 passed, 0 failed, 0 skipped\n$", output)
    assert.matches("\n1 passed, 1 failed, 0 skipped\n$", (run_files(files, "-j 2")))
    files["a_spec.lua"] = 'it("is bad", function() assert.equal(1, 2) end)'
    output, status = run_files(files, "-j 2 --again")
    assert.equal(1, status, output)
    assert.matches("\n1 passed, 1 failed, 0 skipped\n$", output)
  end)

  it("tells of a failing test, and of a process that crashes or ends by itself", function()
    local output, status = run_files({ ["a_spec.lua"] = PASSES,
      ["b_spec.lua"] = 'it("is bad", function() assert.equal(1, 2) end)',
      ["c_spec.lua"] = PASSES .. [[ it("dies", function()
        os.execute "kill -KILL $PPID" require "ropewalk".sleep(5):await() end)]],
      ["d_spec.lua"] = "syntax" }, "-j 2 --junit=out.xml")
    assert.equal(1, status, output)
    assert.matches("failed: %./b_spec.lua:1: is bad\n", output)
    assert.matches("c_spec.lua: %(the process%)\n%s+it ended by the signal KILL\n", output)
    assert.matches("\nthese failed:\n.*  %./b_spec.lua:1: is bad\n", output)
    assert.matches("d_spec.lua", output)
    assert.matches("\n2 passed, 3 failed, 0 skipped\n$", output)
    assert.matches('^<%?xml.*<testsuites tests="5" failures="1" errors="2" ', e2e.read(dir .. "/out.xml"))
  end)

  it("merges what they covered", function()
    local text = [[package.path = "./?.lua;" .. package.path
      it("picks", function() require "pick"(%s) end)]]
    local output, status = run_files({
      ["pick.lua"] = "return function(x)\n  if x then\n    return 1\n  end\n  return 2\nend\n",
      ["a_spec.lua"] = text:format "true", ["b_spec.lua"] = text:format "false" },
      "-j 2 --coverage")
    assert.equal(0, status, output)
    local info = e2e.read(dir .. "/coverage.info")
    assert.matches("SF:pick.lua\n", info)
    assert.matches("DA:2,2\nDA:3,1\n", info)
    assert.matches("DA:5,1\n", info)
  end)
end)
