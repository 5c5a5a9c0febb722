-- SPDX-License-Identifier: MIT
-- What never ends by itself ends when it is asked to, wherever it computes.
local e2e = require "spec.support.e2e"

describe("SIGTERM and SIGINT", function()
  after_each(e2e.finish)

  local binary = e2e.binary:match "^/" and e2e.binary or (e2e.shell "pwd"):match "[^\n]+" .. "/" .. e2e.binary

  -- Output, exit status, and the seconds from the signal to the end.
  local function stopped(signal, text, command, name)
    local dir = e2e.directory()
    e2e.write(dir .. "/" .. (name or "app.lua"), text)
    e2e.write(dir .. "/module.lua", "io.stderr:write 'busy\\n'\nwhile true do end")
    local output, status = e2e.shell(([[cd %s
      %s %s %s >out 2>&1 & pid=$!
      for i in $(seq 500); do grep -q busy out && break; sleep 0.02; done
      sleep 0.1
      began=$(date +%%s%%N)
      kill -%s $pid
      ( sleep 20; kill -KILL $pid ) >/dev/null 2>&1 & guard=$!
      wait $pid
      status=$?
      kill $guard
      cat out
      echo "took $(( ($(date +%%s%%N) - began) / 1000000 ))"
      exit $status]]):format(dir, e2e.quote(binary), command, name or "app.lua", signal))
    local took = tonumber(output:match "took (%d+)\n$") / 1000
    assert.is_true(took < (e2e.sanitized and 10 or 2), took .. " s\n" .. output)
    return output, status
  end

  local LOOP <const> = "io.stderr:write 'busy\\n'\nwhile true do end"
  local CAUGHT <const> = "io.stderr:write 'busy\\n'\n"
    .. "while true do pcall(function() while true do end end) end"

  for signal, number in pairs { TERM = 143, INT = 130 } do
    it("end `ropewalk run` while the script loads: SIG" .. signal, function()
      for _, text in ipairs { LOOP, CAUGHT } do
        local output, status = stopped(signal, text, "run")
        assert.equal(0, status, output)
        assert.matches("stopping by=SIG" .. signal .. "\n", output)
      end
    end)

    it("end `ropewalk check`, which then has found nothing to be good: SIG" .. signal, function()
      local output, status = stopped(signal, LOOP, "check")
      assert.equal(number, status, output)
      assert.matches("stopping by=SIG" .. signal .. "\n", output)
    end)

    it("end `ropewalk test` while a file of specs loads: SIG" .. signal, function()
      local output, status = stopped(signal, LOOP, "test", "some_spec.lua")
      assert.equal(number, status, output)
      assert.matches("error the tests were stopped by=SIG" .. signal .. "\n", output)
      assert.matches("some_spec.lua:2: in main chunk", output)
    end)
  end

  it("end `ropewalk test` in a test, and in all processes of -j", function()
    for _, words in ipairs { "test", "test -j 2" } do
      local output, status = stopped("TERM", "it('t', function()\n" .. LOOP .. " end)", words,
        "some_spec.lua")
      assert.equal(143, status, output)
    end
  end)

  it("end `ropewalk test` where Lua cannot be interrupted", function()
    for _, text in ipairs {
      "require 'module'",
      "it('t', function() ('x'):gsub('x', function() " .. LOOP .. " end) end)",
      "table.sort({ 1, 2 }, function() " .. LOOP .. " end)",
    } do
      local output, status = stopped("TERM", "package.path = './?.lua;' .. package.path " .. text,
        "test", "some_spec.lua")
      assert.equal(143, status, output)
      assert.matches("the tests were stopped by=SIGTERM\n", output)
    end
  end)
end)
