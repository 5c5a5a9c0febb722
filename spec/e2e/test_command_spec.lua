-- SPDX-License-Identifier: MIT
-- `ropewalk test` as a script's author meets it: each spec is written to a
-- directory and run by the binary.
local e2e = require "spec.support.e2e"

describe("ropewalk test", function()
  after_each(e2e.finish)

  local dir
  local binary = e2e.binary:match "^/" and e2e.binary or (e2e.shell "pwd"):match "[^\n]+" .. "/" .. e2e.binary

  -- The output and the status of a run over one spec of this text.
  local function run(text, ...)
    dir = e2e.directory()
    e2e.write(dir .. "/some_spec.lua", 'local rw = require "ropewalk"\n' .. text)
    local words = { "cd", dir, "&&", "timeout", "60", e2e.quote(binary), "test" }
    for _, word in ipairs { ... } do words[#words + 1] = e2e.quote(word) end
    words[#words + 1] = "some_spec.lua"
    return e2e.shell(table.concat(words, " "))
  end

  local function fails(text, ...)
    local output, status = run(text)
    assert.equal(1, status, output)
    for _, expected in ipairs { ... } do assert.matches(expected, output) end
    assert.matches("\n0 passed, 1 failed, 0 skipped\n$", output)
    return output
  end

  it("passes and says how many", function()
    local output, status = run [[
      it("adds", function() assert.equal(2, 1 + 1) end)
      it("waits", function() rw.sleep(0.01):await() end)
      pending "comes later"]]
    assert.equal(0, status, output)
    assert.matches("2 passed, 0 failed, 1 skipped\n$", output)
  end)

  it("names the line of what a test leaves behind", function()
    fails([[it("t", function() rw.call_later(60, print) end)]],
      "left behind:\n%s+timer, made at some_spec.lua:2\n")
    fails([[it("t", function() rw.spawn(function() rw.Deferred():await() end) end)]],
      "left behind:\n%s+task, made at some_spec.lua:2\n")
    fails([[it("t", function()
      rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(rw.Protocol)):await() end)]],
      "left behind:\n%s+listener tcp:127.0.0.1:0, made at some_spec.lua:3\n")
  end)

  it("names both ends of a connection that is still open", function()
    fails([[it("t", function()
      local factory = rw.Factory:for_protocol(rw.Protocol)
      local port = rw.listen("tcp:127.0.0.1:0", factory):await()
      rw.connect("tcp:127.0.0.1:" .. port.address.port, factory):await().transport:write "x"
      port:stop_listening() end)]],
      "connection with 127.0.0.1:%d+, made at some_spec.lua:5\n")
  end)

  it("does not complain of what went away in time", function()
    local output, status = run [[it("t", function()
      rw.call_later(0.05, function() end)
      rw.spawn(function() rw.sleep(0.05):await() end) end)]]
    assert.equal(0, status, output)
  end)

  it("fails a test that logs an error, unless it takes it", function()
    fails([[it("t", function() rw.log.error("the disk is full") end)]],
      "errors were logged", "error the disk is full")
    local output, status = run [[it("t", function()
      rw.log.error("the disk is full")
      assert.equal(1, #rw.testing.flush_logged_errors "disk")
      assert.equal(0, #rw.testing.flush_logged_errors()) end)]]
    assert.equal(0, status, output)
  end)

  it("fails a test with an unhandled failure", function()
    fails([[it("t", function() rw.Deferred.fail "lost" end)]],
      "errors were logged", "unhandled failure: lost", "failed=some_spec.lua:2")
  end)

  it("ends a test that takes too long, and shows where it was", function()
    local output, status = run([[
      it("waits", function() rw.Deferred():await() end)
      it("loops", function() while true do end end)
      it("goes on", function() end)]], "--timeout=0.3")
    assert.equal(1, status, output)
    assert.matches("took longer than 0.3 s; it was here:.-some_spec.lua:2: in function", output)
    assert.matches("took longer than 0.3 s; it was here:.-some_spec.lua:3: in function", output)
    assert.matches("\n1 passed, 2 failed, 0 skipped\n$", output)
  end)

  it("lets a test take more time", function()
    local output, status = run([[it("t", function()
      rw.testing.timeout(5)
      rw.sleep(0.4):await() end)]], "--timeout=0.2")
    assert.equal(0, status, output)
  end)

  it("undoes what a test asked it to, the last thing first, however it ends", function()
    local output, status = run [[
      local t, path = { x = 1 }, nil
      it("changes the world", function()
        rw.testing.add_cleanup(function() io.write "first," end)
        rw.testing.add_cleanup(function() rw.sleep(0.01):await() io.write "second," end)
        rw.testing.patch(t, "x", 2)
        path = rw.testing.temp_file("hello", "a.txt")
        assert.equal("hello", io.open(path):read "a")
        error "oh" end)
      it("finds it as it was", function()
        assert.equal(1, t.x)
        assert.is_nil(io.open(path)) end)]]
    assert.equal(1, status, output)
    assert.matches("second,first,", output)
    assert.matches("\n1 passed, 1 failed, 0 skipped\n$", output)
  end)

  it("shows the log of a test that fails, and only of that", function()
    local output = run [[
      it("fails", function() rw.log.warn "careful" error "oh" end)
      it("passes", function() rw.log.warn "quiet" end)]]
    assert.matches("log of the test:\n%s+%S+ warn  careful", output)
    assert.not_matches("quiet", output)
  end)

  it("writes TAP", function()
    local output, status = run([[
      it("is # good", function() end)
      it("is bad", function() assert.equal(1, 2) end)]], "-o", "tap")
    assert.equal(1, status)
    assert.matches("^TAP version 13\nok 1 %- is \\# good\nnot ok 2 %- is bad\n# some_spec.lua:3\n",
      output)
    assert.matches("\n1%.%.2\n", output)
  end)

  it("writes JUnit's XML beside the text", function()
    local output = run([[
      it('says <&"> and a \1 byte', function() end)
      it("is bad", function() error "a < b" end)
      pending "is not there"]], "--junit=out.xml")
    assert.matches("1 passed, 1 failed, 1 skipped\n$", output)
    local seen = e2e.python(([[
      import xml.etree.ElementTree as E
      root = E.parse("%s/out.xml").getroot()
      print(root.get("tests"), root.get("failures"), root.get("skipped"))
      for case in root.iter("testcase"):
          print(case.get("name"), case.get("line"), [c.tag for c in case])
    ]]):format(dir))
    assert.equal("3 1 1\nsays <&\"> and a ? byte 2 []\nis bad 3 ['failure']\n"
      .. "is not there 4 ['skipped']\n", seen)
  end)

  it("writes nothing but XML to standard output when that is to be XML", function()
    for _, more in ipairs { "--coverage", "--no-keep-going" } do
      local output, status = run('it("passes", function() end)', "-o", "junit", more, "--tap=out.tap")
      assert.equal(0, status, output)
      assert.matches("1 passed, 0 failed", output)
      output, status = e2e.shell(("cd %s && %s test -o junit %s some_spec.lua 2>/dev/null | python3 -c "
        .. "'import sys, xml.dom.minidom as m; m.parse(sys.stdin)'"):format(dir, e2e.quote(binary), more))
      assert.equal(0, status, output)
    end
  end)

  it("runs in a random order that can be had again", function()
    local specs = {}
    for i = 1, 20 do specs[i] = ("it('n%d', function() io.write 'n%d ' end)"):format(i, i) end
    local text = table.concat(specs, "\n")
    local first = run(text, "--shuffle")
    local seed = first:match "%-%-seed=(%d+)"
    assert.is_string(seed, first)
    local function order(output)
      local list = {}
      for n in output:gmatch "n%d+ " do list[#list + 1] = n end
      return table.concat(list)
    end
    assert.equal(order(first), order(run(text, "--shuffle", "--seed=" .. seed)))
    assert.not_equal(order(first), order(run(text)))
  end)

  it("counts the lines that ran", function()
    dir = e2e.directory()
    e2e.write(dir .. "/sum.lua", table.concat({
      "local M = {}",
      "function M.sum(a, b)",
      "  if a > 100 then",
      "    return", "      nil -- never",
      "  end",
      "  return a + b",
      "end",
      "return M" }, "\n"))
    e2e.write(dir .. "/sum_spec.lua", [[
      package.path = "./?.lua;" .. package.path
      local rw = require "ropewalk"
      it("sums", function()
        local sum = require "sum".sum
        assert.equal(3, sum(1, 2))
        rw.spawn(function() rw.sleep(0):await() sum(1, 1) end):await() end)]])
    local output, status = e2e.shell(("cd %s && timeout 60 %s test --coverage sum_spec.lua")
      :format(dir, e2e.quote(binary)))
    assert.equal(0, status, output)
    assert.matches("%d+%.%d %%%s+%d+ of%s+%d+  sum.lua\n", output)
    local info = e2e.read(dir .. "/coverage.info")
    assert.matches("SF:sum.lua\n", info)
    assert.matches("DA:3,2\n", info)
    assert.matches("DA:5,0\n", info)
    assert.matches("DA:7,2\n", info)
    assert.not_matches("sum_spec", info)
  end)

  it("refuses options that make no sense", function()
    local output, status = run("", "--timeout=soon")
    assert.equal(2, status)
    assert.matches('%-%-timeout: a number of seconds is expected, not "soon"', output)
    output, status = run("", "--output=pdf")
    assert.equal(2, status)
    assert.matches("text, tap or junit", output)
    output, status = run("", "--bogus")
    assert.equal(2, status, output)
    assert.matches("%-%-bogus", output)
  end)

  it("says so when a spec wants to end the process", function()
    local output, status = run "os.exit(3)"
    assert.equal(1, status, output)
    assert.matches("os.exit%(3%) was called: a spec cannot end the process", output)
  end)

  it("claims no coverage of nothing", function()
    local output, status = run('it("passes", function() end)', "--coverage-file=c.info")
    assert.equal(0, status, output)
    assert.matches("coverage: no file below the working directory was run", output)
    assert.not_matches("100", output)
  end)

  it("tells the seed of the order, also of several processes", function()
    for _, jobs in ipairs { "-j1", "-j2" } do
      local output, status = run('it("passes", function() end)', "--shuffle", jobs)
      assert.equal(0, status, output)
      assert.matches("order: %-%-seed=%d+", output)
    end
  end)

  it("says so when a spec does not load", function()
    local output, status = run "this is no Lua"
    assert.equal(1, status)
    assert.matches("some_spec.lua", output)
    assert.matches("0 passed, 1 failed, 0 skipped\n$", output)
  end)
end)
