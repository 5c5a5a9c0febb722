-- SPDX-License-Identifier: MIT
require "spec.support.core"
local Failure = require "ropewalk.failure"
local endpoint = require "ropewalk.endpoint"

local function fields(text)
  local at = assert(endpoint.parse(text))
  local copy = {}
  for key, value in pairs(at) do
    if key ~= "text" then copy[key] = value end
  end
  return copy
end

describe("an endpoint", function()
  it("tcp: has a port, maybe a host", function()
    assert.same({ kind = "tcp", port = 8080 }, fields "tcp:8080")
    assert.same({ kind = "tcp", host = "127.0.0.1", port = 80 }, fields "tcp:127.0.0.1:80")
    assert.same({ kind = "tcp", host = "example.com", port = 80 }, fields "tcp:example.com:80")
    assert.same({ kind = "tcp", host = "::1", port = 80 }, fields "tcp:[::1]:80")
    assert.same({ kind = "tcp", host = "fe80::1%eth0", port = 80 }, fields "tcp:[fe80::1%eth0]:80")
    assert.same({ kind = "tcp", host = "::1", port = 80 }, fields "tcp:\\:\\:1:80")
  end)

  it("tcp: takes keywords, as Twisted's", function()
    assert.same({ kind = "tcp", host = "h", port = 80 }, fields "tcp:host=h:port=80")
    assert.same({ kind = "tcp", host = "127.0.0.1", port = 80 }, fields "tcp:80:interface=127.0.0.1")
    assert.same({ kind = "tcp", host = "::1", port = 80 }, fields "tcp:host=[::1]:port=80")
  end)

  it("has options, limits among them", function()
    assert.same({ kind = "tcp", port = 80, backlog = 128, timeout = 2.5,
      limits = { idle_timeout = 10, max_line = 100 } },
      fields "tcp:80:backlog=128:timeout=2.5:idle_timeout=10:max_line=100")
  end)

  it("unix: has a path, maybe a mode", function()
    assert.same({ kind = "unix", path = "/run/x.sock" }, fields "unix:/run/x.sock")
    assert.same({ kind = "unix", path = "/a:b=c", mode = tonumber("660", 8) },
      fields "unix:/a\\:b\\=c:mode=660")
    assert.same({ kind = "unix", path = "x" }, fields "unix:path=x")
  end)

  it("unixgram: has a path, maybe one for ourselves, too", function()
    assert.same({ kind = "unixgram", path = "/run/x", mode = tonumber("620", 8), lockfile = true },
      fields "unixgram:/run/x:mode=620:lockfile=1")
    assert.same({ kind = "unixgram", path = "@x", bind_path = "/a:b" }, fields "unixgram:@x:bind=/a\\:b")
  end)

  it("stdio: and fd:", function()
    assert.same({ kind = "stdio" }, fields "stdio:")
    assert.same({ kind = "stdio" }, fields "stdio")
    assert.same({ kind = "fd", fd = 3 }, fields "fd:3")
  end)

  it("systemd: by name or index", function()
    assert.same({ kind = "systemd", name = "web" }, fields "systemd:web")
    assert.same({ kind = "systemd", name = "web", nodelay = false }, fields "systemd:name=web:nodelay=0")
    assert.same({ kind = "systemd", index = 2 }, fields "systemd:index=2")
    assert.same({ kind = "systemd", name = "dns", datagram = true }, fields "systemd:dns:datagram=1")
    assert.same({ kind = "fd", fd = 3, datagram = true }, fields "fd:3:datagram=1")
  end)

  it("has options of its kind", function()
    assert.same({ kind = "tcp", port = 80, reuseport = true, ipv6only = false, keepalive = 30 },
      fields "tcp:80:reuseport=1:ipv6only=no:keepalive=30")
    assert.same({ kind = "unix", path = "/x", user = "www-data", group = "33" },
      fields "unix:/x:user=www-data:group=33")
  end)

  it("proxy: is what it wraps, and whom to trust", function()
    assert.same({ kind = "tcp", port = 80, backlog = 5, limits = { max_line = 7 },
      proxy = { version = 2, trust = { "127.0.0.0/8", "::1" } } },
      fields "proxy:tcp:80:backlog=5:max_line=7")
    assert.same({ kind = "unix", path = "/x:y", mode = tonumber("600", 8),
      proxy = { version = 1, trust = { "10.0.0.0/8", "fd00::/8", "::1", "192.0.2.1" } } },
      fields "proxy:unix:/x\\:y:mode=600:trust=10.0.0.0/8,[fd00::/8],[::1],192.0.2.1:version=1")
    assert.equal(8, #assert(endpoint.parse "proxy:tcp:80:trust=loopback,private").proxy.trust)
  end)

  it("is text again, in one form", function()
    for text, canonical in pairs {
      ["tcp:8080"] = "tcp:8080", ["tcp:0080"] = "tcp:80",
      ["tcp:[::1]:80"] = "tcp:[::1]:80", ["tcp:host=[::1]:port=80"] = "tcp:[::1]:80",
      ["unix:/a\\:b:mode=0660"] = "unix:/a\\:b:mode=0660", ["stdio"] = "stdio:",
      ["tcp:80:timeout=2:backlog=5"] = "tcp:80:backlog=5:timeout=2", ["fd:03"] = "fd:3",
      ["systemd:name=a"] = "systemd:a", ["systemd:index=02"] = "systemd:index=2",
      ["proxy:tcp:80:trust=10.0.0.0/8,[fd00::/8],private:backlog=5"] =
        "proxy:tcp:80:backlog=5:trust=10.0.0.0/8,[fd00::]/8,private",
      ["proxy:unix:/a\\:b"] = "proxy:unix:/a\\:b", ["unix:/x:lockfile=1"] = "unix:/x:lockfile=1",
      ["unixgram:bind=/c\\:d:path=/x"] = "unixgram:/x:bind=/c\\:d",
    } do
      local at = assert(endpoint.parse(text))
      assert.equal(canonical, tostring(at))
      assert.equal(canonical, tostring(assert(endpoint.parse(tostring(at)))))
      assert.equal(at, endpoint.parse(at))
    end
  end)

  it("that is wrong is refused by a Failure which names what is wrong", function()
    for text, word in pairs {
      [""] = "unknown kind", ["tcp"] = "port is missing", ["tcp:"] = "port",
      ["http:80"] = "unknown kind", ["8080"] = "tcp:8080", ["localhost:80"] = "tcp:localhost:80",
      ["tcp:65536"] = "65535", ["tcp:-1"] = "65535", ["tcp:+5"] = "65535", ["tcp:0x50"] = "65535",
      ["tcp:a:b:80"] = "too many words", ["tcp:80:color=red"] = '"color"',
      ["tcp:80:backlog=0"] = "backlog", ["tcp:80:backlog=1:backlog=2"] = "twice",
      ["tcp:80:timeout=-1"] = "timeout", ["tcp:80:max_line=x"] = "max_line",
      ["tcp:[::1:80"] = "bracket", ["tcp:[xyz]:80"] = "host", ["tcp:1.2.3:80"] = "host",
      ["tcp:1.2.3.256:80"] = "host", ["tcp:010.2.3.4:80"] = "host", ["tcp:a b:80"] = "host", ["tcp::80"] = "host",
      ["tcp:80:\\"] = "backslash", ["unix:"] = "path", ["unix:x:mode=888"] = "octal",
      ["unix:" .. ("x"):rep(200)] = "longer", ["fd:x"] = "fd:N", ["stdio:x"] = "nothing",
      ["tcp:80:=5"] = "without a name", ["tcp:8\0"] = "control",
      [("x"):rep(5000)] = "longer",
      ["tcp:80:nodelay=2"] = "1 or 0", ["tcp:80:keepalive=x"] = "seconds", ["tcp:80:mode=600"] = '"mode"',
      ["unix:x:user=a b"] = "name or a number", ["unix:@"] = "abstract", ["unix:x:reuseport=1"] = '"reuseport"',
      ["unix:@x:lockfile=1"] = "no lock file", ["unix:x:lockfile=2"] = "1 or 0", ["unixgram:"] = "path",
      ["unixgram:a:b"] = "unixgram:PATH", ["unixgram:a:bind="] = "path of bind", ["unix:a:bind=b"] = '"bind"',
      ["unixgram:a:bind=" .. ("x"):rep(108)] = "longer", ["unixgram:a:backlog=x"] = "backlog",
      ["tls:unixgram:a"] = "needs a stream", ["proxy:unixgram:a"] = "needs a stream",
      ["proxy:udp:53"] = "needs a stream", ["tls:fd:3:datagram=1"] = "needs a stream",
      ["systemd:"] = "1 to 255", ["systemd"] = "systemd:NAME", ["systemd:a:index=1"] = "systemd:NAME",
      ["systemd:index=x"] = "index", ["systemd:a\\:b"] = "no colon",
      ["proxy"] = "inside is missing", ["proxy:"] = "unknown kind", ["proxy:x:80"] = "unknown kind",
      ["proxy:proxy:tcp:80"] = "inside of proxy", ["proxy:tcp:80:trust=x"] = '"x" is no network',
      ["proxy:tcp:80:trust=10.0.0.0/33"] = "network", ["proxy:tcp:80:trust="] = "network",
      ["proxy:tcp:80:trust=10.0.0.0/8,,"] = "network", ["proxy:tcp:80:version=3"] = "1 or 2",
      ["proxy:tcp:80:color=red"] = '"color"', ["tcp:80:trust=any"] = '"trust"',
    } do
      local at, failure = endpoint.parse(text)
      assert.is_nil(at, text)
      assert.is_true(Failure.is_failure(failure), text)
      assert.equal("bad_endpoint", failure.code)
      assert.truthy(failure.message:find(word, 1, true),
        text:sub(1, 40) .. " → " .. failure.message)
    end
    assert.is_nil((endpoint.parse(80)))
    assert.has_error(function() endpoint.need "x" end)
  end)

  it("knows IPv6 addresses", function()
    for _, good in ipairs { "::", "::1", "1::", "1:2:3:4:5:6:7:8", "::ffff:1.2.3.4",
      "fe80::a:b%lo", "2001:db8::1" } do
      assert.truthy(endpoint.parse("tcp:[" .. good .. "]:1"), good)
    end
    for _, bad in ipairs { ":", "1", ":::", "1::2::3", "12345::", "1:2:3:4:5:6:7", "g::",
      "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:", "1:2:3:4::5:6:7:8", "::1092.0.2.1",
      "::01.2.3.4", "::1%e/x" } do
      assert.is_nil((endpoint.parse("tcp:[" .. bad .. "]:1")), bad)
    end
  end)

  it("never raises, whatever the text", function()
    local alphabet = { "tcp", "unix", "fd", ":", ":", ":", "\\", "[", "]", "=", "80", "::1",
      "mode", "backlog", "proxy", "systemd", "trust",
      ",", "/8", "\0", "\255", " ", "%", "a", "999999999999999999999", "-", ".", "/x" }
    local random = math.random
    math.randomseed(4711)
    for _ = 1, 20000 do
      local parts = {}
      for i = 1, random(0, 12) do parts[i] = alphabet[random(#alphabet)] end
      local text = table.concat(parts)
      local ok, at, failure = pcall(endpoint.parse, text)
      assert.is_true(ok, text .. ": " .. tostring(at))
      if at then
        local again = endpoint.parse(at.text)
        assert.truthy(again, text .. " → " .. at.text)
        assert.equal(at.text, again.text)
      else
        assert.is_true(Failure.is_failure(failure))
      end
    end
  end)
end)

describe("registering an endpoint kind", function()
  it("gets words, options and the rest, and may give another endpoint", function()
    local got
    endpoint.register("wrapped", function(words, options, rest)
      got = { words = words, options = options, rest = rest }
      return endpoint.parse(rest)
    end)
    local at = endpoint.parse "wrapped:tcp:8080:backlog=5"
    assert.equal("tcp:8080:backlog=5", at.text)
    assert.same({ "tcp", "8080" }, got.words)
    assert.equal("tcp:8080:backlog=5", got.rest)
  end)

  it("may refuse, and may take options out", function()
    endpoint.register("mine", function(words, options)
      if not words[1] then return nil, "a word is missing" end
      local color = options.color
      options.color = nil
      return { kind = "unix", path = "/run/" .. words[1], color = color }
    end)
    local at = endpoint.parse "mine:x:color=red"
    assert.equal("/run/x", at.path)
    assert.equal("red", at.color)
    local none, failure = endpoint.parse "mine:path=1"
    assert.is_nil(none)
    assert.truthy(failure.message:find "a word is missing")
    assert.has_error(function() endpoint.register("Bad Name", print) end)
  end)

  it("may be inside of a wrapper, or be one", function()
    endpoint.register("service", function(words, options)
      local name = table.remove(words, 1)
      return endpoint.parse(("unix:/run/%s:mode=%s"):format(name, options.mode))
    end)
    local at = assert(endpoint.parse "proxy:service:x:mode=600:trust=any")
    assert.equal("/run/x", at.path)
    assert.same({ "0.0.0.0/0", "::/0" }, at.proxy.trust)
    assert.equal("proxy:unix:/run/x:mode=600:trust=any", at.text)
    endpoint.register("outer", function(words, options, rest, inner)
      local color = options.color
      options.color = nil
      local result, why = inner()
      if not result then return nil, why end
      return { kind = result.kind, port = result.port, color = color, backlog = result.backlog }
    end)
    at = assert(endpoint.parse "outer:tcp:80:backlog=5:color=red")
    assert.same({ "tcp", 80, "red", 5 }, { at.kind, at.port, at.color, at.backlog })
    assert.equal("outer:tcp:80:backlog=5:color=red", at.text)
    local none, failure = endpoint.parse "outer:tcp:x:color=red"
    assert.is_nil(none)
    assert.truthy(failure.message:find "port must be a number")
    assert.is_nil((endpoint.parse(("outer:"):rep(20) .. "tcp:80")))
  end)

  it("that gives nonsense is named", function()
    for word, give in pairs {
      ["a number, not an endpoint"] = function() return 80 end,
      ['unknown kind "tpc"'] = function() return { kind = "tpc", port = 80 } end,
      ["whose port is nil, not an integer"] = function() return { kind = "tcp" } end,
      ["whose port is 1.5, not an integer"] = function() return { kind = "tcp", port = 1.5 } end,
      ["whose path is 7, not a string"] = function() return { kind = "unix", path = 7 } end,
      ["refused"] = function() end,
    } do
      endpoint.register("nonsense", give)
      local at, failure = endpoint.parse "nonsense:x"
      assert.is_nil(at)
      assert.truthy(failure.message:find(word, 1, true), failure.message)
      assert.truthy(failure.message:find("nonsense", 1, true), failure.message)
    end
    assert.has_error(function() endpoint.register("tcp", print) end)
    assert.has_error(function() endpoint.register("mine") end)
  end)

  it("speaks on behalf of somebody", function()
    local at = endpoint.on_behalf("proxy:tcp:80:version=1",
      { peer = "192.0.2.1:1", host = "name.example", local_address = "192.0.2.2:2" }, { alpn = "h2" })
    assert.same({ "192.0.2.1:1", "192.0.2.2:2", "h2", 1 },
      { at.proxy.source, at.proxy.destination, at.proxy.alpn, at.proxy.version })
    assert.equal("proxy:tcp:80:version=1", tostring(at))
    assert.has_error(function() endpoint.on_behalf("tcp:80", { source = "a", destination = "b" }) end)
    assert.has_error(function() endpoint.on_behalf("proxy:tcp:80", {}) end)
  end)

  it("escapes words", function()
    local at = endpoint.parse("unix:" .. endpoint.escape "[a:b=c\\d")
    assert.equal("[a:b=c\\d", at.path)
  end)
end)
