-- SPDX-License-Identifier: MIT
-- Names in a simulated world: where they lead, how looking them up goes wrong.

local rw = require "ropewalk"
local simulate = rw.testing.simulate
local e2e = require "spec.support.e2e"

local SURE <const> = { faults = { loss = 0, duplicate = 0, delay = 0.01 } }

local Peer = rw.Protocol:extend "Peer"
function Peer:connection_made() self.got = "" end
function Peer:data_received(bytes) self.got = self.got .. bytes end

local function factory(class) return rw.Factory:for_protocol(class) end

-- A server that says who it is.
local function serve(sim, where, word)
  local Server = rw.Protocol:extend "Server"
  function Server:connection_made() self.transport:write(word) self.transport:lose_connection() end
  return sim:run_app(rw.server(where, factory(Server)))
end

local function word_at(sim, where)
  local peer = rw.connect(where, factory(Peer)):await()
  return sim:run_until(function() return #peer.got > 0 and not peer.transport.connected and peer.got end)
end

local function code_of(d)
  local ok, failure = pcall(d.await, d)
  return not ok and failure.code or "none"
end

describe("a simulated name", function()
  it("of which nothing was said is a host with an address of its own", function()
    simulate(1, function(sim)
      serve(sim, "tcp:a.test:1", "a")
      serve(sim, "tcp:b.test:1", "b")
      local a, b = rw.names.resolve("a.test"):await(), rw.names.resolve("B.test."):await()
      assert(#a == 1 and #b == 1 and a[1] ~= b[1])
      assert(word_at(sim, "tcp:a.test:1") == "a")
      assert(word_at(sim, "tcp:" .. b[1] .. ":1") == "b")
      assert(rw.names.lookup_address("a.test"):await()[1].address == a[1])
      assert(code_of(rw.names.lookup_text "a.test") == "no_data")
      assert(rw.names.resolve("localhost"):await()[1] == "127.0.0.1")
      assert(rw.names.resolve("::1"):await()[1] == "::1")
      assert(code_of(rw.names.resolve "a..b") == "bad_name")
    end, SURE)
  end)

  it("is what the test says it is", function()
    simulate(1, function(sim)
      sim:names {
        ["db.test"] = { "10.0.0.1", "fd00::1" },
        ["www.test"] = { CNAME = "Db.test", TXT = { "one", { data = { "tw", "o" }, ttl = 5 } } },
        ["mail.test"] = { MX = { { preference = 20, exchange = "b.test" }, "a.test" } },
        ["_db._tcp.test"] = { SRV = { priority = 1, weight = 1, port = 5432, target = "db.test" } },
        ["loop.test"] = { CNAME = "loop.test" },
        ["empty.test"] = {},
      }
      local names = rw.names
      local list = names.resolve("DB.test"):await()
      assert(#list == 2 and list[1] == "10.0.0.1" and list[2] == "fd00::1")
      assert(names.resolve("www.test"):await()[1] == "10.0.0.1")
      assert(names.get_host_by_name("www.test"):await() == "10.0.0.1")
      local aaaa = names.lookup_ipv6_address("www.test"):await()
      assert(#aaaa == 1 and aaaa[1].address == "fd00::1" and aaaa[1].name == "db.test" and aaaa[1].ttl == 60)
      assert(names.lookup_canonical_name("www.test"):await()[1].target == "Db.test")
      local texts = names.lookup_text("www.test"):await()
      assert(texts[1].text == "one" and texts[2].text == "two" and texts[2].ttl == 5)
      assert(names.lookup_text("www.test"):await()[2].text == "two") -- a copy
      local mail = names.lookup_mail_exchange("mail.test"):await()
      assert(mail[1].exchange == "a.test" and mail[2].exchange == "b.test")
      assert(names.lookup_service("_db._tcp.test"):await()[1].port == 5432)
      assert(names.reverse("10.0.0.1"):await()[1] == "db.test")
      assert(#names.lookup("db.test", "ANY"):await() == 2)
      assert(code_of(names.resolve "other.test") == "name_not_found")
      assert(code_of(names.lookup("other.test", "A")) == "name_not_found")
      assert(code_of(names.lookup("db.test", "MX")) == "no_data")
      assert(code_of(names.resolve "empty.test") == "no_data")
      assert(code_of(names.resolve "loop.test") == "bad_answer")
      assert(code_of(names.reverse "10.0.0.9") == "name_not_found")
    end, SURE)
  end)

  it("is where connections go, and what is listened at", function()
    simulate(1, function(sim)
      sim:names { ["db.test"] = "10.0.0.1", ["www.test"] = { CNAME = "db.test" } }
      serve(sim, "tcp:db.test:1", "db")
      assert(word_at(sim, "tcp:www.test:1") == "db")
      assert(word_at(sim, "tcp:10.0.0.1:1") == "db")
      assert(code_of(rw.connect("tcp:other.test:1", factory(Peer))) == "RW_ENONAME")
      serve(sim, "tcp:10.0.0.2:1", "new")
      sim:names { ["db.test"] = "10.0.0.2" }
      assert(word_at(sim, "tcp:db.test:1") == "new")
      assert(code_of(rw.connect("tcp:www.test:1", factory(Peer))) == "RW_ENONAME")
    end, SURE)
  end)

  it("with several addresses leads to the first that answers", function()
    simulate(1, function(sim)
      sim:names { ["db.test"] = { "10.0.0.1", "10.0.0.2", "10.0.0.3" } }
      serve(sim, "tcp:10.0.0.2:1", "two")
      serve(sim, "tcp:10.0.0.3:1", "three")
      assert(word_at(sim, "tcp:db.test:1") == "two")
      sim:partition "10.0.0.2"
      assert(word_at(sim, "tcp:db.test:1") == "three")
      sim:partition "db.test"
      assert(code_of(rw.connect("tcp:db.test:1:timeout=5", factory(Peer))) == "ETIMEDOUT")
      sim:heal "db.test" -- what was cut off by its address stays so
      assert(word_at(sim, "tcp:db.test:1") == "three")
      sim:heal "10.0.0.2"
      assert(word_at(sim, "tcp:db.test:1") == "two")
    end, SURE)
  end)

  it("that moves does not take a partition with it", function()
    simulate(1, function(sim)
      sim:names { ["db.test"] = "10.0.0.1" }
      serve(sim, "tcp:10.0.0.1:1", "old")
      serve(sim, "tcp:10.0.0.2:1", "new")
      sim:partition "db.test"
      sim:names { ["db.test"] = "10.0.0.2" }
      assert(word_at(sim, "tcp:db.test:1") == "new")
      assert(code_of(rw.connect("tcp:10.0.0.1:1:timeout=5", factory(Peer))) == "ETIMEDOUT")
      sim:heal "db.test"
      assert(word_at(sim, "tcp:10.0.0.1:1") == "old")
    end, SURE)
  end)

  it("is known to applications, also when they came before it, and reload", function()
    local directory = e2e.directory()
    local path = directory .. "/asks.lua"
    e2e.write(path, [[
      local rw = require "ropewalk"
      local Asks = rw.DatagramProtocol:extend "Asks"
      function Asks:datagram_received(name, from)
        local ok, list = pcall(function() return rw.names.resolve(name):await() end)
        self.transport:write(ok and list[1] or list.code, from)
      end
      return rw.server("udp:10.0.0.9:53", rw.Factory:for_protocol(Asks))
    ]])
    simulate(1, function(sim)
      local Client = rw.DatagramProtocol:extend "Client"
      function Client:datagram_received(bytes) self.got = bytes end
      local first = sim:run_app(path)
      local client = rw.connect("udp:10.0.0.9:53", factory(Client)):await()
      local function ask(name)
        client.got = nil
        client.transport:write(name)
        return sim:run_until(function() return client.got end)
      end
      assert(ask "db.test":match "^198%.18%.")
      sim:names { ["db.test"] = "10.0.0.1" }
      assert(ask "db.test" == "10.0.0.1")
      assert(ask "x.test" == "name_not_found")
      assert(first:reload())
      assert(ask "db.test" == "10.0.0.1")
      first:kill()
      local second = sim:run_app(path)
      assert(ask "db.test" == "10.0.0.1")
      sim:names { ["db.test"] = "10.0.0.2" }
      assert(ask "db.test" == "10.0.0.2")
      second:stop()
      client.transport:lose_connection()
    end, SURE)
  end)

  it("serves a script as it is", function()
    simulate(1, function(sim)
      sim:names { ["example.test"] = "10.0.0.1" }
      sim:run_app("apps/lookup.lua", { servers = "192.0.2.53" })
      local peer = rw.connect("tcp:127.0.0.1:8080", factory(Peer)):await()
      peer.transport:write "GET /host/example.test HTTP/1.0\r\n\r\n"
      sim:run_until(function() return not peer.transport.connected end)
      assert(peer.got:find('["10.0.0.1"]', 1, true), peer.got)
    end, SURE)
  end)
end)

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
      assert.matches(what .. ", made at spec/sim/names_spec.lua:%d+", failure.why)
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
        assert(not ok and tostring(why):match(what) and tostring(why):match "names_spec.lua", why)
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
      assert.matches("names_spec.lua:%d+", failure.why)
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
