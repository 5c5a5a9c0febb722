-- SPDX-License-Identifier: MIT
-- Lookups in a simulated world: how they go wrong, to whom they belong; what
-- sim:names refuses.

local rw = require "ropewalk"
local datagrams = require "spec.sim.datagrams"
local servers = require "spec.sim.servers"
local e2e = require "spec.support.e2e"

local simulate, factory = rw.testing.simulate, datagrams.factory
local serve, word_at, code_of = servers.serve, servers.word_at, servers.code_of

local SURE <const>, Peer <const> = datagrams.SURE, servers.Peer

describe("looking up a simulated name", function()
  local function every(faults, udp_code, tcp_code, least)
    simulate(1, function(sim)
      local began = sim:now()
      assert(code_of(rw.names.resolve "a.test") == udp_code)
      assert(sim:now() - began >= least)
      assert(code_of(rw.names.lookup("a.test", "MX")) == udp_code)
      assert(code_of(rw.connect("udp:a.test:1", factory(rw.DatagramProtocol))) == udp_code)
      assert(code_of(rw.connect("tcp:a.test:1", factory(Peer))) == tcp_code)
      assert(code_of(rw.names.resolve "127.0.0.1") == "none")
    end, { faults = faults })
  end

  it("fails", function() every({ name_failure = 1 }, "server_failure", "RW_ESERVFAIL", 0) end)
  it("has no answer", function() every({ name_timeout = 1 }, "timeout", "ETIMEDOUT", 14) end)

  it("takes a while, and can be given up", function()
    simulate(1, function(sim)
      local began = sim:now()
      rw.names.resolve("a.test"):await()
      assert(sim:now() - began >= 3)
      local d = rw.names.resolve "a.test"
      d:cancel()
      assert(code_of(d) == "cancelled")
      sim:settle()
    end, { faults = { name_delay = 3 } })
  end)

  it("is not hurried by the end of a partition", function()
    simulate(1, function(sim)
      serve(sim, "tcp:a.test:1", "a")
      sim:partition "a.test"
      local began, connecting = sim:now(), rw.connect("tcp:a.test:1", factory(Peer))
      sim:heal "a.test"
      sim:partition "a.test"
      rw.sleep(5):await()
      assert(not connecting:called())
      sim:heal "a.test"
      local peer = connecting:await()
      assert(sim:now() - began >= 5)
      sim:run_until(function() return not peer.transport.connected end)
      assert(peer.got == "a")
    end, { faults = { name_delay = 3 } })
  end)

  it("is waited for by settle", function()
    simulate(1, function(sim)
      local began, found = sim:now(), nil
      rw.names.resolve("a.test"):add_callback(function(list) found = list end)
      sim:settle()
      assert(found and sim:now() - began >= 3)
    end, { faults = { name_delay = 3 } })
  end)

  it("that is left behind is a leak, by the line that asked", function()
    local function left(fn, what)
      local ok, failure = pcall(simulate, 1, fn, { faults = { name_timeout = 1 } })
      assert.is_false(ok)
      assert.matches(what .. ", made at spec/sim/lookup_spec.lua:%d+", failure.why)
    end
    left(function() rw.names.resolve "a.test" end, "lookup")
    left(function() rw.names.lookup("a.test", "MX") end, "lookup")
    left(function() rw.connect("udp:a.test:1", factory(rw.DatagramProtocol)) end, "lookup")
    left(function() rw.connect("tcp:a.test:1", factory(Peer)) end, "connection attempt")
  end)

  it("ends with the application that asked", function()
    local path = e2e.directory() .. "/asks.lua"
    e2e.write(path, [[
      local rw = require "ropewalk"
      rw.names.resolve "a.test":add_both(function() error "nobody is there to be told" end)
      return rw.server("udp:10.0.0.9:53", rw.Factory:for_protocol(rw.DatagramProtocol))
    ]])
    simulate(1, function(sim)
      local app = sim:run_app(path)
      app:kill()
      sim:run_app(path):stop()
      sim:settle()
    end, { faults = { name_delay = 9 } })
  end)

  it("never reaches the real ones", function()
    simulate(1, function()
      local core = require "ropewalk.core"
      for _, each in ipairs {
        { core.names_resolve("example.com", print) }, { core.names_lookup("example.com", "A", print) },
        { core.names_configure {} }, { core.names_state() },
      } do
        assert(each[1] == nil and each[2] == "RW_ESIMULATED", each[2])
      end
    end)
  end)

  it("has room for so many, and for names of a length", function()
    simulate(1, function(sim)
      local long = ("a"):rep(60) .. "." .. ("b"):rep(60) .. ".test"
      assert(code_of(rw.names.resolve(long)) == "too_many")
      assert(code_of(rw.connect("tcp:" .. long .. ":1", factory(Peer))) == "RW_ENONAME")
      local function refused(fn, what, ...)
        local ok, why = pcall(fn, sim, ...)
        assert(not ok and tostring(why):match(what) and tostring(why):match "lookup_spec.lua", why)
      end
      refused(sim.names, "limit", { [long] = "10.0.0.1" })
      refused(sim.partition, "limit", long)
      local many = {}
      for i = 1, 4097 do many["n" .. i .. ".test"] = "10.0.0.1" end
      refused(sim.names, "limit", many)
    end, { faults = false })
    simulate(1, function()
      for i = 1, 4096 do assert(code_of(rw.names.resolve("n" .. i .. ".test")) == "none") end
      assert(code_of(rw.names.resolve "n4097.test") == "too_many")
    end, { faults = false })
  end)

  it("is the same for the same seed", function()
    local function day(sim)
      sim:names { ["a.test"] = { "10.0.0.1", TXT = "x" }, ["b.test"] = "10.0.0.2" }
      for i = 1, 20 do
        local d = i % 2 == 0 and rw.names.resolve "a.test" or rw.names.lookup("b.test", "ANY")
        sim:note(code_of(d) .. sim:now())
      end
    end
    local options = { faults = { name_failure = 0.3, name_timeout = 0.1, name_delay = { 0, 2 } } }
    for seed = 1, 10 do assert.same(simulate(seed, day, options), simulate(seed, day, options)) end
  end)

  it("is the script's own work if it has a resolver", function()
    simulate(1, function(sim)
      serve(sim, "tcp:10.0.0.7:1", "seven")
      rw.names.install { resolve = function() return rw.Deferred.succeed { "10.0.0.7" } end }
      assert(word_at(sim, "tcp:whoever.test:1") == "seven")
      assert(code_of(rw.names.lookup("whoever.test", "MX")) == "no_data") -- what it does not have
      rw.names.install(nil)
      assert(rw.names.resolve("whoever.test"):await()[1] ~= "10.0.0.7")
    end, SURE)
  end)
end)

describe("sim:names", function()
  it("refuses what makes no sense", function()
    local function refused(names, why)
      local ok, failure = pcall(simulate, 1, function(sim) sim:names(names) end)
      assert.is_false(ok)
      assert.matches(why, failure.why)
      assert.matches("lookup_spec.lua:%d+", failure.why)
    end
    refused("a.test", "table")
    refused({ "10.0.0.1" }, "cannot be a name")
    refused({ ["10.0.0.1"] = "10.0.0.1" }, "cannot be a name")
    refused({ ["a..b"] = "10.0.0.1" }, "cannot be a name")
    refused({ ["a.test"] = "10.0.0" }, "is no address")
    refused({ ["a.test"] = true }, "addresses are needed")
    refused({ ["a.test"] = { MXX = "b.test" } }, "no records of type")
    refused({ ["a.test"] = { SRV = "b.test" } }, "is a table")
  end)
end)
