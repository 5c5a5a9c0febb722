-- SPDX-License-Identifier: MIT
-- rw.names on hosts: numeric, local, of the hosts file, of the DNS; and what a
-- script may say about where to ask.
local name_server = require "spec.support.name_server"
local rw = require "ropewalk"
local e2e = require "spec.support.e2e"

local names, now = rw.names, require("ropewalk.core").hrtime
local server

local function code_of(d)
  local ok, failure = pcall(d.await, d)
  assert(not ok, "it did not fail")
  return failure.code
end

-- How many questions the server has seen for a name.
local counted = 0
local function asked(name)
  counted = counted + 1
  local question = ("count%d.%s.asked"):format(counted, name)
  return tonumber(names.lookup_text(question):await()[1].text)
end

-- A new resolver: nothing kept, other limits.
local fresh = 0
local function configure(options)
  fresh = fresh + 1
  options.servers = options.servers or { server.address }
  options.limits = options.limits or {}
  options.limits.names_max_ttl = 86000 + fresh -- another configuration is another resolver
  names.configure(options)
end

describe("rw.names", function()
  setup(function() server = name_server.start() end)
  teardown(function() server:stop() end)
  before_each(function() configure {} end)

  describe("resolves", function()
    it("numeric addresses by themselves", function()
      assert.same({ "192.0.2.1" }, names.resolve("192.0.2.1"):await())
      assert.same({ "2001:db8::1" }, names.resolve("2001:DB8:0::1"):await())
      assert.same({ "fe80::1%lo" }, names.resolve("fe80::1%lo"):await())
    end)

    it("localhost as this machine, whatever a server says", function()
      for _, host in ipairs { "localhost", "LOCALHOST.", "a.localhost" } do
        local addresses = names.resolve(host):await()
        table.sort(addresses)
        assert.same({ "127.0.0.1", "::1" }, addresses)
      end
      assert.equal(0, asked "localhost")
    end)

    it("both families, or the one that there is", function()
      local both = names.resolve("good.test"):await()
      table.sort(both)
      assert.same({ "127.0.0.1", "::1" }, both)
      assert.same({ "127.0.0.1" }, names.resolve("v4.test"):await())
      assert.same({ "::1" }, names.resolve("v6.test"):await())
      assert.equal("127.0.0.9", names.get_host_by_name("host9.test"):await())
    end)

    it("names in other scripts", function()
      names.resolve("Bücher.test"):await()
      assert.is_true(asked "xn--bcher-kva.test" > 0)
    end)

    it("with the search list", function()
      configure { search = { "missing.test", "Good.test" } }
      assert.equal("127.0.0.7", names.get_host_by_name("host7"):await())
      names.resolve("good.dotted"):await() -- has a dot: as it is, first
      assert.equal(0, asked "good.dotted.good.test")
      code_of(names.resolve "missing.test.") -- a dot at the end: nothing else
      assert.equal(0, asked "missing.test.good.test")
    end)
  end)

  it("refuses a configuration that has no place, at the line that gives it", function()
    local _, why = pcall(names.configure, { hosts_file = ("x"):rep(200) })
    assert.matches("names_hosts_spec.lua:%d+: configure: hosts_file: at most 107 bytes", why)
    assert.error_matches(function() names.configure { servers = "127.0.0.1\0" } end, "no zero byte")
  end)

  describe("reads the hosts file", function()
    local path

    before_each(function()
      path = os.tmpname()
      e2e.write(path, "# comment\n192.0.2.5 Alpha.Example alpha # more\nnonsense here\n"
        .. "192.0.2.5 alpha\n192.0.2.6\talpha\r\n2001:db8::5 six\n\n10.0.0.1\n")
      configure { hosts_file = path }
    end)
    after_each(function() os.remove(path) end)

    it("before asking", function()
      local found = names.resolve("ALPHA"):await()
      table.sort(found)
      assert.same({ "192.0.2.5", "192.0.2.6" }, found)
      assert.same({ "192.0.2.5" }, names.resolve("alpha.example"):await())
      assert.same({ "2001:db8::5" }, names.resolve("six"):await())
      assert.equal("no_data", code_of(names.lookup_address "six"))
      assert.same({ "alpha.example" }, names.reverse("192.0.2.5"):await())
      assert.equal(0, asked "alpha")
    end)

    it("again when it has changed", function()
      assert.equal(1, #names.resolve("alpha.example"):await())
      e2e.replace(path, "192.0.2.9 alpha.example\n")
      rw.sleep(1.1):await()
      assert.same({ "192.0.2.9" }, names.resolve("alpha.example"):await())
      os.remove(path)
      rw.sleep(1.1):await()
      assert.same({ "127.0.0.1" }, names.resolve("v4.example"):await())
    end)
  end)

  describe("follows resolv.conf", function()
    it("when it changes, without losing what is under way", function()
      local path = os.tmpname()
      e2e.write(path, "nameserver 127.0.0.1\nsearch one.test\n")
      configure { resolv_file = path }
      local slow = names.lookup_address "slow1500.test"
      e2e.replace(path, "nameserver 127.0.0.1\nsearch two.test\noptions ndots:3\n")
      rw.sleep(1.1):await()
      names.resolve("host3"):await()
      assert.equal(2, asked "host3.two.test") -- A and AAAA
      assert.equal("127.0.0.1", slow:await()[1].address)
      os.remove(path)
    end)
  end)

  describe("uses several servers", function()
    it("when one is dead", function()
      local dead = name_server.start "--dead"
      configure { servers = { dead.address, server.address }, limits = { names_try_timeout = 200 } }
      for i = 1, 5 do
        assert.equal("127.0.0.1", names.lookup_address("d" .. i .. ".test"):await()[1].address)
      end
      local began = now()
      names.lookup_address("d9.test"):await() -- by now it knows who answers
      assert.is_true(now() - began < 0.15)
      dead:stop()
    end)
  end)

  describe("takes a resolver of the script", function()
    after_each(function() names.install(nil) end)

    it("for lookups, hosts and connections", function()
      local seen = {}
      names.install {
        lookup = function(_, name, kind)
          seen[#seen + 1] = kind .. " " .. name
          return rw.Deferred.succeed { { name = name, type = kind, ttl = 1, address = "192.0.2.1" } }
        end,
        resolve = function(_, host)
          seen[#seen + 1] = host
          return rw.Deferred.succeed { "127.0.0.1" }
        end,
      }
      local port = rw.listen("tcp:127.0.0.1:0", rw.Factory:for_protocol(rw.Protocol)):await()
      local client = rw.connect("tcp:db.example:" .. port.port,
        rw.Factory:for_protocol(rw.Protocol)):await()
      assert.equal("127.0.0.1", client.transport.peer.host)
      client.transport:lose_connection()
      names.lookup_address("x.example"):await()
      assert.same({ "db.example", "A x.example" }, seen)
      port:stop_listening():await()
    end)

    it("whose answers are looked at", function()
      for _, answer in ipairs { { "nonsense" }, { 5 }, {}, 5, false } do
        names.install { resolve = function() return rw.Deferred.succeed(answer) end }
        local d = rw.connect("tcp:db.example:1", rw.Factory:for_protocol(rw.Protocol))
        assert.truthy(code_of(d:add_timeout(5)) ~= "timeout")
      end
    end)

    it("and what that one lacks is done by the other", function()
      names.install { resolve = function() error "broken" end }
      assert.equal("error", code_of(names.resolve "a.test"))
      assert.equal("127.0.0.1", names.lookup_address("good.test"):await()[1].address)
    end)
  end)
end)
