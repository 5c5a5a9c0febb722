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

  it("stdio: and fd:", function()
    assert.same({ kind = "stdio" }, fields "stdio:")
    assert.same({ kind = "stdio" }, fields "stdio")
    assert.same({ kind = "fd", fd = 3 }, fields "fd:3")
  end)

  it("is text again, in one form", function()
    for text, canonical in pairs {
      ["tcp:8080"] = "tcp:8080", ["tcp:0080"] = "tcp:80",
      ["tcp:[::1]:80"] = "tcp:[::1]:80", ["tcp:host=[::1]:port=80"] = "tcp:[::1]:80",
      ["unix:/a\\:b:mode=0660"] = "unix:/a\\:b:mode=0660", ["stdio"] = "stdio:",
      ["tcp:80:timeout=2:backlog=5"] = "tcp:80:backlog=5:timeout=2", ["fd:03"] = "fd:3",
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
      ["tcp:1.2.3.256:80"] = "host", ["tcp:a b:80"] = "host", ["tcp::80"] = "host",
      ["tcp:80:\\"] = "backslash", ["unix:"] = "path", ["unix:x:mode=888"] = "octal",
      ["unix:" .. ("x"):rep(200)] = "longer", ["fd:x"] = "fd:N", ["stdio:x"] = "nothing",
      ["tcp:80:=5"] = "without a name", ["tcp:8\0"] = "control",
      [("x"):rep(5000)] = "longer",
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
      "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:", "::1%e/x" } do
      assert.is_nil((endpoint.parse("tcp:[" .. bad .. "]:1")), bad)
    end
  end)

  it("never raises, whatever the text", function()
    local alphabet = { "tcp", "unix", "fd", ":", ":", ":", "\\", "[", "]", "=", "80", "::1",
      "mode", "backlog", "\0", "\255", " ", "%", "a", "999999999999999999999", "-", ".", "/x" }
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

  it("escapes words", function()
    local at = endpoint.parse("unix:" .. endpoint.escape "[a:b=c\\d")
    assert.equal("[a:b=c\\d", at.path)
  end)
end)
