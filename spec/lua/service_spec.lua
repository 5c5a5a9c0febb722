-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local task = support.task

local function probe(name, seen, options)
  options = options or {}
  local Probe = rw.Service:extend "Probe"
  function Probe:privileged_start_service() seen[#seen + 1] = "prepare " .. name end
  function Probe:start_service()
    seen[#seen + 1] = "start " .. name
    if options.start then return options.start() end
  end
  function Probe:stop_service()
    seen[#seen + 1] = "stop " .. name
    if options.stop then return options.stop() end
  end
  return Probe():set_name(name)
end

describe("a MultiService", function()
  it("starts in the order of adding and stops in reverse", task(function()
    local seen = {}
    local all = rw.MultiService { probe("a", seen), probe("b", seen) }
    all:add_service(probe("c", seen))
    all:start_service():await()
    all:stop_service():await()
    assert.same({ "start a", "start b", "start c", "stop c", "stop b", "stop a" }, seen)
  end))

  it("waits for all to stop", task(function()
    local gate, seen = rw.Deferred(), {}
    local all = rw.MultiService { probe("a", seen, { stop = function() return gate end }),
      probe("b", seen) }
    all:start_service()
    local d = all:stop_service()
    testing.assert_no_result(d)
    assert.same({ "start a", "start b", "stop b", "stop a" }, seen)
    gate:callback()
    testing.success_result_of(d)
  end))

  it("starts the next when the one before is ready", task(function()
    local gate, seen = rw.Deferred(), {}
    local all = rw.MultiService { probe("a", seen, { start = function() return gate end }),
      probe("b", seen) }
    local d = all:start_service()
    assert.same({ "start a" }, seen)
    gate:callback()
    d:await()
    assert.same({ "start a", "start b" }, seen)
  end))

  it("starts a child that is added while it runs, and stops one that is taken out",
    task(function()
      local seen = {}
      local all = rw.MultiService()
      all:start_service()
      local child = probe("x", seen)
      all:add_service(child):await()
      assert.same({ "prepare x", "start x" }, seen)
      assert.is_true(child.running)
      all:remove_service(child):await()
      assert.same({ "prepare x", "start x", "stop x" }, seen)
      assert.falsy(child.parent)
      assert.is_nil(all:get "x")
    end))

  it("isolates and logs what fails to start or stop", task(function()
    local logged <close> = rw.log.capture()
    local seen = {}
    local function boom() error "boom" end
    local all = rw.MultiService { probe("a", seen), probe("b", seen, { start = boom, stop = boom }),
      probe("c", seen, { stop = boom }) }
    all:start_service():await()
    all:stop_service():await()
    assert.same({ "start a", "start b", "start c", "stop c", "stop a" }, seen)
    assert.truthy(logged:find 'service "b" did not start: .*boom')
    assert.truthy(logged:find 'service "c" did not stop well: .*boom')
    assert.equal("error", logged[1].level)
  end))

  it("knows its children by name", function()
    local a = probe("a", {})
    local all = rw.MultiService { a }
    assert.equal(a, all:get_service_named "a")
    assert.equal(all, a.parent)
    assert.has_error(function() all:add_service(probe("a", {})) end)
    assert.has_error(function() all:add_service(a) end)
    assert.has_error(function() all:add_service {} end)
    assert.has_error(function() a:set_name "z" end)
    assert.has_error(function() all:remove_service(probe("b", {})) end)
    assert.has_error(function() all:add_service(all) end)
  end)

  it("may have others inside", task(function()
    local seen = {}
    local inner = rw.MultiService { probe("i", seen) }
    local outer = rw.MultiService { inner, probe("o", seen) }
    outer:privileged_start_service()
    outer:start_service():await()
    outer:stop_service():await()
    assert.same({ "prepare i", "prepare o", "start i", "start o", "stop o", "stop i" }, seen)
  end))

  it("moves a service by set_service_parent and disown_service_parent", function()
    local a, one, two = probe("a", {}), rw.MultiService(), rw.MultiService()
    a:set_service_parent(one)
    a:set_service_parent(two)
    assert.equal(two, a.parent)
    assert.is_nil(one:get "a")
    a:disown_service_parent()
    assert.is_nil(two:get "a")
  end)
end)

describe("A MultiService while it starts or stops", function()
  it("prepares and starts what is added meanwhile, once", task(function()
    local gate, seen = rw.Deferred(), {}
    local all = rw.MultiService { probe("a", seen, { start = function() return gate end }),
      probe("b", seen) }
    all:privileged_start_service():await()
    local early = probe("early", seen)
    all:add_service(early):await()
    local d = all:start_service()
    all:add_service(probe("late", seen)):await()
    gate:callback()
    d:await()
    assert.same({ "prepare a", "prepare b", "prepare early", "start a", "prepare late", "start late",
      "start b", "start early" }, seen)
  end))

  it("does not start what was taken out, and stops what was prepared", task(function()
    local gate, seen = rw.Deferred(), {}
    local b = probe("b", seen)
    local all = rw.MultiService { probe("a", seen, { start = function() return gate end }), b }
    all:privileged_start_service():await()
    local d = all:start_service()
    all:remove_service(b):await()
    gate:callback()
    d:await()
    assert.same({ "prepare a", "prepare b", "start a", "stop b" }, seen)
  end))

  it("starts nothing more once it was told to stop", task(function()
    local gate, seen = rw.Deferred(), {}
    local all = rw.MultiService { probe("a", seen, { start = function() return gate end }),
      probe("b", seen) }
    local d = all:start_service()
    all:stop_service():await()
    gate:callback()
    d:await()
    assert.same({ "start a", "stop a" }, seen)
    assert.is_false(all.services[2].running)
  end))

  it("gives who takes out a stopping child its end", task(function()
    local gate, seen = rw.Deferred(), {}
    local a = probe("a", seen, { stop = function() return gate end })
    local all = rw.MultiService { a }
    all:start_service():await()
    local stop = all:stop_service()
    local removed = all:remove_service(a)
    testing.assert_no_result(removed)
    testing.assert_no_result(stop)
    gate:callback()
    testing.success_result_of(removed)
    testing.success_result_of(stop)
    assert.same({ "start a", "stop a" }, seen)
  end))

  it("stops what was bound but did not start", task(function()
    local _ <close> = rw.log.capture()
    local seen = {}
    local all = rw.MultiService { probe("a", seen, { start = function() error "no" end }) }
    all:privileged_start_service():await()
    all:start_service():await()
    all:stop_service():await()
    assert.same({ "prepare a", "start a", "stop a" }, seen)
  end))

  it("is not held up by a child that never gets ready", task(function()
    local logged <close> = rw.log.capture()
    local before, seen = rw.limits.load_timeout, {}
    rw.limits.load_timeout = 20
    local all = rw.MultiService { probe("a", seen, { start = function() return rw.Deferred() end }),
      probe("b", seen) }
    all:start_service():await()
    rw.limits.load_timeout = before
    assert.same({ "start a", "start b" }, seen)
    assert.truthy(logged:find 'service "a" has not started yet')
    all:stop_service():await()
  end))

  it("is not held up by a child that waits for ever instead, nor at its end", task(function()
    local logged <close> = rw.log.capture()
    local before, seen, gate = rw.limits.load_timeout, {}, rw.Deferred()
    local function wait() gate:await() end
    rw.limits.load_timeout = 20
    local all = rw.MultiService { probe("a", seen), probe("b", seen, { start = wait, stop = wait }),
      probe("c", seen) }
    local started = rw.spawn(all.start_service, all):add_timeout(2)
    started:await()
    rw.limits.load_timeout = before
    assert.same({ "start a", "start b", "start c" }, seen)
    assert.truthy(logged:find 'service "b" has not started yet')
    local stopped = rw.spawn(all.stop_service, all)
    assert.same({ "stop c", "stop b", "stop a" }, table.move(seen, 4, 6, 1, {}))
    testing.assert_no_result(stopped)
    gate:callback()
    stopped:await()
  end))
end)

describe("rw.server", function()
  local Echo = rw.Protocol:extend "Echo"
  function Echo:data_received(bytes) self.transport:write(bytes) end

  it("listens while it runs", task(function()
    local server = rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))
    assert.is_nil(server.port)
    server:start_service()
    assert.truthy(server.port)
    assert.equal("127.0.0.1", server.address.host)
    local client = rw.connect("tcp:127.0.0.1:" .. server.port,
      rw.Factory:for_protocol(rw.Protocol)):await()
    client.transport:lose_connection()
    server:stop_service():await()
    assert.is_nil(server.port)
  end))

  it("binds its port before it starts", task(function()
    local server = rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(Echo))
    server:privileged_start_service()
    local port = server.port
    assert.truthy(port)
    server:start_service()
    assert.equal(port, server.port)
    server:stop_service():await()
  end))

  it("refuses a bad endpoint and what is no factory, when it is made", function()
    assert.has_error(function() rw.server("nonsense", rw.Factory()) end)
    assert.has_error(function() rw.server("tcp:0") end)
    local ok, err = pcall(function() local s = rw.server("tcp:0", Echo) return s end)
    assert.is_false(ok)
    assert.truthy(err:find "for_protocol")
  end)
end)
