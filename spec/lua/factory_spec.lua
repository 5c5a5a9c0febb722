-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local talking = require "spec.support.talk"
local task, talk, recorder = support.task, talking.talk, talking.recorder

describe("a factory", function()
  it("builds protocols with its arguments and is known to them", task(function()
    local P = rw.Protocol:extend "P"
    function P:init(a, b) self.sum = a + b end
    local factory = rw.Factory:for_protocol(P, 1, 2)
    local p = factory:build_protocol {}
    assert.equal(3, p.sum)
    assert.equal(factory, p.factory)
  end))

  it("refuses a connection quietly by building nothing", task(function()
    local Picky = rw.Factory:extend "Picky"
    function Picky:build_protocol() return nil end
    local client, port = talk(nil, recorder(rw.Protocol), Picky())
    assert.truthy(client.lost:await())
    port:close():await()
  end))

  it("drops the connection when building raises", task(function()
    local Broken = rw.Factory:extend "Broken"
    function Broken:build_protocol() error "broken" end
    local client, port = talk(nil, recorder(rw.Protocol), Broken())
    assert.truthy(client.lost:await())
    port:close():await()
    support.expect_error "broken"
  end))

  it("starts with its first port and stops with its last", task(function()
    local seen = {}
    local F = rw.Factory:extend "F"
    function F:start_factory() seen[#seen + 1] = "start" end
    function F:stop_factory() seen[#seen + 1] = "stop" end
    local factory = F()
    local a = rw.listen("tcp:127.0.0.1:0", factory):await()
    local b = rw.listen("tcp:127.0.0.1:0", factory):await()
    a:stop_listening():await()
    assert.same({ "start" }, seen)
    b:stop_listening():await()
    assert.same({ "start", "stop" }, seen)
    b:stop_listening():await()
    assert.same({ "start", "stop" }, seen)
  end))

  it("leaves accepted connections alone when its port stops", task(function()
    local Echo = rw.Protocol:extend "Echo"
    function Echo:data_received(bytes) self.transport:write(bytes) end
    local client, port = talk(Echo, recorder(rw.Protocol))
    client.transport:write "1"
    client.more:get():await()
    port:stop_listening():await()
    client.transport:write "still"
    assert.equal("still", client.more:get():await())
    client.transport:lose_connection()
    client.lost:await()
  end))

  it("knows its live connections", task(function()
    local Hello = rw.Protocol:extend "Hello"
    function Hello:connection_made() self.transport:write "hello" end
    local factory = rw.Factory:for_protocol(Hello)
    local client, port = talk(Hello, recorder(rw.Protocol), factory)
    client.more:get():await()
    assert.equal(1, factory:connection_count())
    client.transport:lose_connection()
    client.lost:await()
    rw.sleep(0.02):await()
    assert.equal(0, factory:connection_count())
    port:close():await()
  end))

  it("hands over a connection: save, then restore in the new code", function()
    local Old = rw.Protocol:extend "Old"
    local old = Old()
    old.transport, old.factory = { peer = {} }, {}
    old.name, old.count, old.tags = "alice", 3, { "a", { b = true } }
    old.handler, old._secret, old.object = print, "x", setmetatable({}, {})
    local data = old:save()
    assert.same({ name = "alice", count = 3, tags = { "a", { b = true } } }, data)
    local New, made = rw.Protocol:extend "New", false
    function New:connection_made() made = true end
    local transport = { peer = {}, connected = true }
    local new = rw.Factory:for_protocol(New):restore(transport, data)
    assert.equal("alice", new.name)
    assert.equal(transport, new.transport)
    assert.is_false(made)
  end)

  it("tells of a peer that says nothing but that it will say no more", task(function()
    local Last = rw.Protocol:extend "Last"
    function Last:read_connection_lost()
      self.transport:write "bye"
      self.transport:lose_connection()
    end
    local client, port = talk(Last, recorder(rw.Protocol))
    client.transport:lose_write()
    assert.equal("done", client.lost:await().code)
    assert.same({ "bye" }, client.seen)
    port:close():await()
  end))

  it("goes over its connections once each, whoever comes and goes meanwhile", function()
    local factory = rw.Factory:for_protocol(rw.Protocol)
    local held, seen, count = {}, {}, 0
    local function add()
      held[#held + 1] = { transport = { connected = true } }
      factory:track(held[#held])
    end
    for _ = 1, 8 do add() end
    for each in factory:connections() do
      assert.is_nil(seen[each])
      seen[each], count = true, count + 1
      factory:untrack(each)
      for _ = 1, 5 do add() end
      collectgarbage()
    end
    assert.equal(8, count)
    assert.equal(40, factory:connection_count())
  end)

  it("refuses what is no protocol class", function()
    assert.has_error(function() rw.Factory:for_protocol(nil) end)
    assert.has_error(function() rw.listen("tcp:0", rw.Protocol) end)
    assert.has_error(function() rw.Factory():build_protocol {} end)
  end)
end)

describe("listening and connecting", function()
  it("fails with what, where and why", task(function()
    local P = rw.Factory:for_protocol(rw.Protocol)
    local port = rw.listen("tcp:127.0.0.1:0", P):await()
    port:close():await()
    local ok, failure = pcall(function() rw.connect("tcp:127.0.0.1:1", P):await() end)
    assert.is_false(ok)
    assert.equal("ECONNREFUSED", failure.code)
    assert.truthy(tostring(failure):find("cannot connect to tcp:127.0.0.1:1: ", 1, true))
    ok, failure = pcall(function() rw.connect("nonsense", P):await() end)
    assert.is_false(ok)
    assert.equal("bad_endpoint", failure.code)
  end))

  it("can be cancelled while connecting", task(function()
    local d = rw.connect("tcp:127.0.0.1:1", rw.Factory:for_protocol(rw.Protocol))
    d:cancel()
    local ok, failure = pcall(d.await, d)
    assert.is_false(ok)
    assert.equal("cancelled", failure.code)
  end))
end)
