-- SPDX-License-Identifier: MIT
-- Scripts that end: rw.run, from outside.
local server = require "spec.support.server"

local SCRIPT <const> = [[
local rw = require "ropewalk"
return rw.run(function(what, n)
  rw.sleep(0.01):await()
  if what == "status" then return math.tointeger(tonumber(n)) end
  if what == "fail" then error "out of luck" end
  if what == "wait" then
    local _ <close> = setmetatable({}, { __close = function() rw.log.info "cleaned up" end })
    rw.log.info "waiting"
    rw.sleep(30):await()
  end
  if what == "odd" then return {} end
end, table.unpack(rw.args))
]]

describe("A script that returns rw.run", function()
  local path

  setup(function()
    path = os.tmpname()
    local file <close> = io.open(path, "w")
    file:write(SCRIPT)
  end)
  teardown(function() os.remove(path) end)

  -- Output and exit status; `after` is what the shell does meanwhile.
  local function run(arguments, after)
    local pipe = io.popen(("%s run %s -- %s 2>&1 & %s wait $!; echo status $?"):format(
      server.binary, path, arguments, after or ""))
    local output = pipe:read "a"
    pipe:close()
    return output, tonumber(output:match "status (%d+)%s*$")
  end

  it("ends with 0, or with the number that the function returns", function()
    local _, status = run ""
    assert.equal(0, status)
    _, status = run "status 7"
    assert.equal(7, status)
  end)

  it("ends with 1 when it fails, and the log has the traceback", function()
    local output, status = run "fail"
    assert.equal(1, status)
    assert.truthy(output:find("out of luck", 1, true))
    assert.truthy(output:find("stack traceback", 1, true))
    output, status = run "odd"
    assert.equal(1, status)
    assert.truthy(output:find("no exit status", 1, true))
  end)

  it("is cancelled by SIGTERM, and cleans up", function()
    local output, status = run("wait", "sleep 1; kill -TERM $!;")
    assert.equal(0, status)
    assert.truthy(output:find "waiting.*cleaned up")
  end)
end)
