-- SPDX-License-Identifier: MIT
-- Names in a simulated world: where they lead.

local rw = require "ropewalk"
local datagrams = require "spec.sim.datagrams"
local servers = require "spec.sim.servers"
local e2e = require "spec.support.e2e"

local simulate, factory = rw.testing.simulate, datagrams.factory
local serve, word_at, code_of = servers.serve, servers.word_at, servers.code_of

local SURE <const>, Peer <const> = datagrams.SURE, servers.Peer

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
