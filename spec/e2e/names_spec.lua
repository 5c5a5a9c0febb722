-- SPDX-License-Identifier: MIT
-- rw.names against a name server that answers well, badly or not at all.
local name_server = require "spec.support.name_server"
local rw = require "ropewalk"

local names, now = rw.names, require("ropewalk.core").hrtime
local server

local function each(list, key)
  local result = {}
  for i, record in ipairs(list) do result[i] = record[key] end
  return result
end

-- The failure's code and the seconds it took.
local function code_of(d)
  local began = now()
  local ok, failure = pcall(d.await, d)
  assert(not ok, "it did not fail")
  return failure.code, now() - began
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

  describe("looks up", function()
    it("addresses", function()
      local records = names.lookup_address("good.test"):await()
      assert.same({ { name = "good.test", type = "A", ttl = 60, address = "127.0.0.1" } }, records)
      assert.equal("::1", names.lookup_ipv6_address("good.test"):await()[1].address)
    end)

    it("mail exchanges, sorted", function()
      assert.same({ "a.mx.test", "b.mx.test" },
        each(names.lookup_mail_exchange("good.test"):await(), "exchange"))
    end)

    it("texts, with zeros in them", function()
      assert.same({ "v=spf1 -all", "two\0" }, each(names.lookup_text("good.test"):await(), "text"))
    end)

    it("services, in the order of their priorities", function()
      local records = names.lookup_service("_x._tcp.good.test"):await()
      assert.same({ "x.test", "y.test", "z.test" }, (function(list)
        local first = list[1] == "x.test" and list or { list[2], list[1], list[3] }
        return first
      end)(each(records, "target")))
      assert.equal(99, records[3].port)
    end)

    it("all the other types, and those nobody knows", function()
      local function first(kind) return names.lookup("good.test", kind):await()[1] end
      assert.equal("ns.test", first("NS").target)
      assert.equal("target.test", first("cname").target)
      assert.equal(7, first("SOA").serial)
      assert.equal("ca.test", first("CAA").value)
      assert.equal("E2U+sip", first("NAPTR").services)
      assert.equal("raw\0bytes", first("TYPE65280").data)
      assert.has_error(function() names.lookup("good.test", "NONSENSE") end)
    end)

    it("what an alias stands for, and nothing else that a server adds", function()
      local records = names.lookup_address("alias.test"):await()
      assert.same({ "127.0.0.2" }, each(records, "address"))
      assert.equal("c.test", records[1].name)
      assert.same({ "127.0.0.1" }, each(names.lookup_address("alien.test"):await(), "address"))
    end)

    it("long answers over TCP", function()
      assert.equal(100, #names.lookup_address("truncated.test"):await())
      assert.equal(2000, #names.lookup_address("huge.test"):await())
    end)

    it("addresses backwards", function()
      assert.same({ "host.test" }, names.reverse("192.0.2.77"):await())
      assert.same({ "host.test" }, names.reverse("2001:db8::1"):await())
      assert.equal("bad_address", code_of(names.reverse "192.0.2"))
    end)
  end)

  describe("fails", function()
    local CASES <const> = {
      nodata = "no_data", missing = "name_not_found", gone = "name_not_found",
      servfail = "server_failure", notimp = "refused", refused = "refused",
      garbage = "bad_answer", cut = "bad_answer", pointer = "bad_answer", chain = "bad_answer",
      counts = "bad_answer", aliasloop = "no_data", aliaslong = "no_data",
    }
    for word, code in pairs(CASES) do
      it(("as %s when the answer is %s"):format(code, word), function()
        local got, seconds = code_of(names.lookup_address(word .. ".test"))
        assert.equal(code, got)
        assert.is_true(seconds < 1, seconds)
      end)
    end

    it("in time when an answer is empty", function()
      configure { limits = { names_try_timeout = 100, names_tries = 2 } }
      local code = code_of(names.lookup_address "empty.test")
      assert.is_true(code == "timeout" or code == "bad_answer", code)
    end)

    for _, word in ipairs { "silent", "wrongid", "wrongname" } do
      it("in time when the right answer does not come: " .. word, function()
        configure { limits = { names_try_timeout = 100, names_tries = 2 } }
        local code, seconds = code_of(names.lookup_address(word .. ".test"))
        assert.equal("timeout", code)
        assert.is_true(seconds >= 0.1 and seconds < 3, seconds)
      end)
    end

    it("at names_timeout, whatever the tries are", function()
      configure { limits = { names_timeout = 300 } }
      local code, seconds = code_of(names.lookup_address "silent.test")
      assert.equal("timeout", code)
      -- a timer counts from the beginning of its turn, which may have been a long one
      assert.is_true(seconds >= 0.2 and seconds < 1, seconds)
    end)

    it("when nobody listens there", function()
      configure { servers = { "127.0.0.1:1" } }
      assert.equal("no_server", code_of(names.lookup_address "good.test"))
    end)

    it("for what is no name", function()
      for _, name in ipairs { "", ".", "a..b", ("x"):rep(64) .. ".test", ("abc."):rep(64) .. "test",
        "a b.test", "a\0.test", "\xff.test", "a/b.test", "*.test" } do
        assert.equal("bad_name", code_of(names.lookup_address(name)), name)
        assert.equal("bad_name", code_of(names.resolve(name)), name)
      end
      for _, host in ipairs { "127.1", "1", "0x7f.1", "1.2.3.4.5", "::g", "256.1.1.1" } do
        assert.equal("bad_name", code_of(names.resolve(host)), host)
      end
    end)

    it("for special names without asking", function()
      for _, name in ipairs { "x.invalid", "invalid", "y.onion" } do
        assert.equal("name_not_found", code_of(names.resolve(name)))
        assert.equal(0, asked(name))
      end
    end)
  end)

  describe("keeps answers", function()
    it("as long as they say, and counts their TTL down", function()
      assert.equal(60, names.lookup_address("a1.good.test"):await()[1].ttl)
      rw.sleep(1.1):await()
      assert.equal(59, names.lookup_address("A1.Good.test."):await()[1].ttl)
      assert.equal(1, asked "a1.good.test")
    end)

    it("at least names_min_ttl, and not longer", function()
      for _, word in ipairs { "zero", "short" } do
        for _ = 1, 3 do names.lookup_address(word .. ".test"):await() end
        assert.equal(1, asked(word .. ".test"))
      end
      rw.sleep(1.1):await()
      names.lookup_address("zero.test"):await()
      assert.equal(2, asked "zero.test")
    end)

    it("that something is not there: if an SOA says for how long", function()
      for word, count in pairs { missing = 1, nodata = 1, gone = 3 } do
        local name = word .. ".keep.test"
        for _ = 1, 3 do code_of(names.lookup_address(name)) end
        assert.equal(count, asked(name), word)
      end
    end)

    it("but no failures", function()
      local name = "servfail.keep.test"
      code_of(names.lookup_address(name))
      local before = asked(name)
      code_of(names.lookup_address(name))
      assert.is_true(asked(name) > before)
    end)

    it("within bounds, the newest", function()
      configure { limits = { names_cache = 5 } }
      for i = 1, 20 do names.lookup_address("k" .. i .. ".test"):await() end
      assert.equal(5, names.state().cached)
      names.lookup_address("k20.test"):await()
      assert.equal(1, asked "k20.test")
      configure { limits = { names_cache_bytes = 40000 } }
      names.lookup_address("huge.test"):await()
      for i = 1, 20 do names.lookup_address("k" .. i .. ".test"):await() end
      local state = names.state()
      assert.is_true(state.cached_bytes <= 40000 and state.cached >= 19, state.cached_bytes)
    end)
  end)

  describe("asks once", function()
    it("for many who ask the same at once", function()
      local waiting = {}
      for i = 1, 50 do waiting[i] = names.lookup_address "slow100.once.test" end
      for _, d in ipairs(waiting) do assert.equal("127.0.0.1", d:await()[1].address) end
      assert.equal(1, asked "slow100.once.test")
    end)

    it("and lets each of them give up alone", function()
      local first, second = names.lookup_address "slow200.two.test", names.lookup_address "slow200.two.test"
      first:cancel()
      assert.equal("cancelled", code_of(first))
      assert.equal("127.0.0.1", second:await()[1].address)
      assert.equal(1, asked "slow200.two.test")
    end)

    it("and has no more wait for that than names_waiting", function()
      configure { limits = { names_waiting = 5, names_queries = 2 } }
      local one, others = names.lookup_address "slow200.three.test", {}
      rw.sleep(0.01):await() -- it is asked for, and waits no more
      assert.equal(0, names.state().waiting)
      for i = 1, 6 do others[i] = names.lookup_address "slow200.three.test" end
      assert.equal(5, names.state().waiting)
      assert.equal("too_many", code_of(table.remove(others)))
      assert.equal("too_many", code_of(names.lookup_address "v4.test"))
      local given_up = table.remove(others)
      given_up:cancel()
      assert.equal("cancelled", code_of(given_up))
      others[5] = names.lookup_address "slow200.three.test" -- its place was given back
      for i = 1, 5 do assert.equal("127.0.0.1", others[i]:await()[1].address) end
      assert.equal("127.0.0.1", one:await()[1].address)
      assert.equal(0, names.state().waiting)
      assert.equal("127.0.0.1", names.lookup_address("v4.test"):await()[1].address)
      configure {}
    end)

    it("and survives being forgotten by all", function()
      for i = 1, 20 do
        local d = names.lookup_address("slow50.f" .. i .. ".test")
        if i % 2 == 0 then rw.sleep(0):await() end
        d:cancel()
        d:add_errback(function() end)
      end
      rw.sleep(0.2):await()
      assert.equal(0, names.state().asking)
    end)
  end)
end)
