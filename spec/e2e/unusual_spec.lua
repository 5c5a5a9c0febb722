-- SPDX-License-Identifier: MIT
-- Scripts from where, called what and with settings that hardly anybody has.
local e2e = require "spec.support.e2e"

local binary = e2e.shell("readlink -f " .. e2e.quote(e2e.binary)):gsub("%s+$", "")

describe("A script", function()
  after_each(e2e.finish)

  it("may come from a pipe", function()
    local output, status = e2e.shell("bash -c '" .. e2e.binary
      .. " check <(echo return require \\\"ropewalk\\\".run\\(print\\))'")
    assert.equal(0, status, output)
  end)

  it("may have slices so long that they never end", function()
    for _, slice in ipairs { "17179869184", "18446744073709551615" } do
      local dir = e2e.directory()
      e2e.write(dir .. "/app.lua", e2e.script [[
return rw.run(function()
  rw.sleep(0.01):await()
  local began = os.clock()
  while os.clock() - began < 0.1 do end
  return 7
end)]])
      local output, status = e2e.ropewalk("run", dir .. "/app.lua", "--limit=script_slice=" .. slice)
      assert.equal(7, status, output)
    end
  end)

  it("may be called as the library is: its mistakes have their line", function()
    local dir = e2e.directory()
    e2e.write(dir .. "/ropewalk.lua", e2e.script "rw.call_later('x')")
    assert.matches("    ropewalk.lua:1: call_later: seconds must be a number",
      (e2e.shell(("cd %s && timeout 10 %s check ropewalk.lua"):format(dir, e2e.quote(binary)))))
  end)

  it("may not stop with a status that the system cannot tell from 0", function()
    local dir = e2e.directory()
    e2e.write(dir .. "/app.lua", e2e.script "return rw.run(function() rw.reactor:stop(256) end)")
    local output, status = e2e.ropewalk("run", dir .. "/app.lua")
    assert.equal(1, status)
    assert.matches("app.lua:1: stop: an exit status is a number from 0 to 255, not 256", output)
  end)
end)
