-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local task = support.task

describe("rw.client", function()
  -- A server that keeps its protocols, and a client with a fake clock.
  local function pair(options)
    local accepted = {}
    local Server = rw.Protocol:extend "Server"
    function Server:connection_made() accepted[#accepted + 1] = self end
    local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(Server)):await()
    local clock = testing.Clock()
    options = options or {}
    options.clock = clock
    options.retry_policy = options.retry_policy or function(failures) return failures end
    local factory = options.factory or rw.Factory:for_protocol(rw.Protocol)
    options.factory = nil
    local client = rw.client("tcp:127.0.0.1:" .. port.port, factory, options)
    return client, accepted, clock, port
  end

  local function finish(client, port)
    local stopped = client:stop_service()
    if stopped then stopped:await() end
    port:stop_listening():await()
    rw.sleep(0.02):await()
  end

  it("waits as its policy says, counting failures in a row", task(function()
    local _ <close> = rw.log.capture()
    local client, accepted, clock, port = pair()
    client:start_service()
    client:when_connected():await()
    for round = 1, 2 do
      rw.sleep(0.02):await()
      accepted[round].transport:lose_connection()
      rw.sleep(0.05):await()
      assert.equal("WAITING", client.state)
      assert.equal(1, client.failures) -- it was connected in between
      clock:advance(0.9)
      assert.equal("WAITING", client.state)
      local again = client:when_connected()
      clock:advance(0.1)
      local protocol = again:await()
      assert.equal(client.protocol, protocol)
    end
    finish(client, port)
  end))

  it("has a policy that can be told everything", function()
    local policy = rw.ClientService.backoff_policy {
      initial_delay = 2, factor = 3, max_delay = 10, jitter = 0.5, random = function() return 1 end,
    }
    assert.same({ 3, 9, 15, 15 }, { policy(1), policy(2), policy(3), policy(100000) })
  end)

  it("counts failures for each who waits", task(function()
    local _ <close> = rw.log.capture()
    local clock = testing.Clock()
    local client = rw.client("tcp:127.0.0.1:1", rw.Factory:for_protocol(rw.Protocol),
      { clock = clock, retry_policy = function() return 1 end })
    client:start_service()
    local early = client:when_connected(2)
    rw.sleep(0.02):await()
    local late = client:when_connected(2)
    clock:advance(1)
    rw.sleep(0.02):await()
    testing.failure_result_of(early, "ECONNREFUSED")
    testing.assert_no_result(late)
    local given_up = client:when_connected()
    given_up:cancel()
    testing.failure_result_of(given_up, "cancelled")
    clock:advance(1)
    rw.sleep(0.02):await()
    testing.failure_result_of(late, "ECONNREFUSED")
    assert.is_nil(client:stop_service())
    assert.same({}, client.waiting)
    testing.failure_result_of(client:when_connected(), "cancelled")
    clock:advance(100)
    assert.equal("STOPPED", client.state)
  end))

  it("leaves nobody waiting when one of them stops it", task(function()
    local quiet <close> = rw.log.capture() -- luacheck: ignore 211
    local clock = testing.Clock()
    local client = rw.client("tcp:127.0.0.1:1", rw.Factory:for_protocol(rw.Protocol), { clock = clock })
    client:start_service()
    client:when_connected(1):add_errback(function() client:stop_service() end)
    local other = client:when_connected()
    rw.sleep(0.02):await()
    testing.failure_result_of(other, "cancelled")
    assert.same({}, client.waiting)
    assert.equal("STOPPED", client.state)
    local accepted, port, _
    client, accepted, _, port = pair()
    client:start_service()
    client:when_connected():add_callback(function() client:stop_service() end)
    assert.truthy(client:when_connected():await())
    assert.equal(1, #accepted)
    finish(client, port)
  end))

  it("drops a connection that cannot be prepared, and says why", task(function()
    local logged <close> = rw.log.capture()
    local client, accepted, clock, port = pair {
      prepare_connection = function() error "no such database" end }
    client:start_service()
    local first = client:when_connected(1)
    rw.sleep(0.05):await()
    local failure = testing.failure_result_of(first)
    assert.truthy(failure.message:find "no such database")
    assert.truthy(logged:find "no such database")
    assert.is_false(accepted[1].transport.connected)
    client.prepare_connection = false
    local second = client:when_connected()
    clock:advance(1)
    second:await()
    finish(client, port)
  end))

  it("gives up preparing when the connection is lost, or the service stops", task(function()
    local _ <close> = rw.log.capture()
    local cancelled = 0
    local client, accepted, clock, port = pair { prepare_connection = function()
      return rw.Deferred(function() cancelled = cancelled + 1 end)
    end }
    client:start_service()
    rw.sleep(0.02):await()
    assert.equal("PREPARING", client.state)
    accepted[1].transport:abort_connection()
    rw.sleep(0.05):await()
    assert.equal(1, cancelled)
    clock:advance(1)
    rw.sleep(0.02):await()
    assert.equal("PREPARING", client.state)
    finish(client, port)
    assert.equal(2, cancelled)
    assert.equal("STOPPED", client.state)
  end))

  it("stops when the connection has ended, its protocol told first", task(function()
    local _ <close> = rw.log.capture()
    local seen = {}
    local Client = rw.Protocol:extend "Client"
    function Client:connection_lost()
      rw.sleep(0.02):await()
      seen[#seen + 1] = "lost"
      error "a bug in connection_lost"
    end
    local client, _, _, port = pair { factory = rw.Factory:for_protocol(Client) }
    client:start_service()
    client:when_connected():await()
    local first, second = client:stop_service(), client:stop_service()
    first:await()
    seen[#seen + 1] = "stopped"
    second:await()
    assert.same({ "lost", "stopped" }, seen)
    if testing.flush_logged_errors then testing.flush_logged_errors() end
    port:stop_listening():await()
  end))

  it("starts again, also while it is stopping", task(function()
    local _ <close> = rw.log.capture()
    local client, accepted, _, port = pair()
    client:start_service()
    local first = client:when_connected():await()
    local stopped = client:stop_service()
    client:start_service()
    stopped:await()
    local second = client:when_connected():await()
    assert.is_true(first ~= second)
    rw.sleep(0.02):await()
    assert.equal(2, #accepted)
    client:stop_service():await()
    client:start_service() -- and stopped before it is connected
    client:stop_service()
    rw.sleep(0.05):await()
    assert.equal("STOPPED", client.state)
    finish(client, port)
  end))
end)
