-- SPDX-License-Identifier: MIT
-- How many descriptors there may be: of the process, and of its children.
local e2e = require "spec.support.e2e"

local SCRIPT <const> = [[
local rw = require "ropewalk"
return rw.run(function()
  for line in io.lines "/proc/self/limits" do
    if line:find "^Max open files" then print("ours", line:match "(%d+)%s+(%d+)") end
  end
  local text = rw.get_process_output("/bin/sh", { "-c", "ulimit -Sn; ulimit -Hn" }):await()
  print("child", text:match "(%d+)\n(%d+)")
end)
]]

describe("The limit of open files", function()
  local path

  setup(function()
    path = os.tmpname()
    e2e.write(path, SCRIPT)
  end)
  teardown(function() os.remove(path) end)

  local function run(before)
    local output, status = e2e.shell(("%s && exec timeout 20 %s run %s"):format(
      before, e2e.quote(e2e.binary), path))
    assert.equal(0, status, output)
    return { output:match "ours%D+(%d+)%D+(%d+)" }, { output:match "child%D+(%d+)%D+(%d+)" }
  end

  it("is the hard one for us, and the soft one for a child", function()
    local ours, childs = run "ulimit -Sn 300 && ulimit -Hn 700"
    assert.same({ "700", "700" }, ours)
    assert.same({ "300", "700" }, childs)
  end)

  it("stays when there is no more to have", function()
    local ours, childs = run "ulimit -n 300"
    assert.same({ "300", "300" }, ours)
    assert.same({ "300", "300" }, childs)
  end)
end)
