-- SPDX-License-Identifier: MIT
-- Scripts that go on whatever happens: a loop that catches what ends its wait, and
-- waits again. They do not outlive what they work for.
local e2e = require "spec.support.e2e"

describe("A loop that catches everything", function()
  after_each(e2e.finish)

  local LOOP <const> = [[
local function loop() while true do pcall(function() rw.sleep(60):await() end) end end
]]
  local CLEAN <const> = [[
rw.spawn(function()
  local _ <close> = setmetatable({}, { __close = function()
    for i = 1, 5 do pcall(function() rw.sleep(60):await() end) end
    rw.log.info "cleaned up"
  end })
  rw.sleep(60):await()
end)
]]

  it("ends soon after its generation retires, and at the end of the process", function()
    local child = e2e.start(LOOP .. CLEAN .. [[
rw.spawn(loop)
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(rw.Protocol))]],
      { args = { "--log-level", "debug" } })
    assert.is_true((child:reload()))
    child:await_log("generation freed generation=1", 10)
    assert.matches("does not end %(limit script_close%)", child:since())
    assert.matches("cleaned up", child:since())
    assert.equal(0, child:stop())
  end)

  it("ends when the script fails to load", function()
    local child = e2e.start([[
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(rw.Protocol))]],
      { args = { "--log-level", "debug" } })
    assert.is_false((child:reload(LOOP .. "rw.spawn(loop) error 'broken'")))
    child:await_log("generation freed generation=2", 10)
  end)

  it("ends after its connection", function()
    local child = e2e.start(LOOP .. [[
local P = rw.Protocol:extend "P"
function P:data_received()
  self.transport:abort_connection()
  loop()
end
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(P))]])
    e2e.talk(child, [[
      for i in range(3): Client().send("x").ended()
      def idle():
        before = processor()
        time.sleep(0.5)
        return processor() - before < 0.1
      wait(idle)
    ]])
  end)
end)
