-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local task = support.task

describe("rw.client", function()
  local function pair(options)
    local Server = rw.Protocol:extend "Server"
    function Server:data_received() self.transport:lose_connection() end
    local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(Server)):await()
    local client = rw.client("tcp:127.0.0.1:" .. port.port,
      rw.Factory:for_protocol(rw.Protocol), options)
    return client, port
  end
  local function soon() return 0.01 end

  it("keeps a connection: lost, it comes back", task(function()
    local _ <close> = rw.log.capture()
    local client, port = pair { retry_policy = soon }
    client:start_service()
    local first = client:when_connected():await()
    assert.equal(first, client:when_connected():await())
    first.transport:write "close me"
    rw.sleep(0.1):await()
    local second = client:when_connected():await()
    assert.is_true(second ~= first)
    client:stop_service():await()
    assert.is_false(client.protocol)
    port:close():await()
  end))

  it("tells who waits after so many failures", task(function()
    local logged <close> = rw.log.capture()
    local client = rw.client("tcp:127.0.0.1:1", rw.Factory:for_protocol(rw.Protocol),
      { retry_policy = soon })
    client:start_service()
    local patient = client:when_connected()
    local ok, failure = pcall(function() client:when_connected(2):await() end)
    assert.is_false(ok)
    assert.equal("ECONNREFUSED", failure.code)
    testing.assert_no_result(patient)
    client:stop_service()
    testing.failure_result_of(patient, "cancelled")
    assert.truthy(logged:find "trying again")
  end))

  it("waits longer each time, up to a minute, with jitter", function()
    local policy = rw.client.retry_policy
    for failures, base in ipairs { 1, 1.5, 2.25 } do
      local seconds = policy(failures)
      assert.is_true(seconds >= base and seconds <= base * 1.2)
    end
    assert.is_true(policy(1000) <= 72)
  end)

  it("prepares a connection before others get it", task(function()
    local _ <close> = rw.log.capture()
    local tries = 0
    local client, port = pair { retry_policy = soon, prepare_connection = function(protocol)
      tries = tries + 1
      if tries == 1 then error "not yet" end
      rw.sleep(0.01):await()
      protocol.prepared = true
    end }
    client:start_service()
    assert.is_true(client:when_connected():await().prepared)
    assert.equal(2, tries)
    client:stop_service():await()
    port:close():await()
  end))
end)
