-- SPDX-License-Identifier: MIT
-- The parts of ACME that need no authority: answers, signatures, options, store.
local Reader = require "ropewalk.acme.reader"
local Store = require "ropewalk.acme.store"
local core = require "ropewalk.core"
local e2e = require "spec.support.e2e"
local http = require "ropewalk.acme.http"
local jose = require "ropewalk.acme.jose"
local rw = require "ropewalk"

describe("ACME's reader of responses", function()
  local function read(text, step, head_only)
    local reader = Reader(head_only or false, 100)
    for i = 1, #text, step do reader:feed(text:sub(i, i + step - 1)) end
    reader:finish(true)
    return reader.response
  end

  local GOOD <const> = {
    { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello" },
    { "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\nA: c\r\nContent-Length: 0\r\n\r\n", "" },
    { "HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nT: 1\r\n\r\n", "hello" },
    { "HTTP/1.0 200 OK\r\n\r\nhello", "hello" },
    { "HTTP/1.1 204 No Content\r\n\r\n", "" },
  }

  it("reads them, split anywhere", function()
    for _, each in ipairs(GOOD) do
      for step = 1, #each[1] do
        local response = read(each[1], step)
        assert.equal(each[2], response.body)
      end
    end
    assert.equal("b, c", read(GOOD[2][1], 1).headers.a)
    assert.equal("", read("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 7, true).body)
  end)

  it("refuses what is malformed, ambiguous, too long or cut, at each split", function()
    for _, text in ipairs {
      "SSH-2.0-x\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 101 X\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
      "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", "HTTP/1.1 200 OK\r\n folded\r\n\r\n",
      "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
      "HTTP/1.1 200 OK\r\n\r\n" .. ("x"):rep(101), "HTTP/1.1 200 OK\r\nA: " .. ("x"):rep(40000),
      ("HTTP/1.1 100 C\r\n\r\n"):rep(9), "HTTP/1.1 200 OK\r\nA: b", "",
    } do
      for step = 1, math.min(#text + 1, 60) do
        local ok, failure = pcall(read, text, step)
        assert.falsy(ok, text)
        assert.equal("bad_answer", failure.code, tostring(failure))
      end
    end
  end)

  it("goes nowhere but to an authority's URLs", function()
    for url, target in pairs { ["https://ca.test"] = "/", ["https://ca.test:14000/dir?x"] = "/dir?x",
      ["http://127.0.0.1:80/a"] = "/a", ["http://[::1]/a"] = "/a" } do
      assert.equal(target, assert(http.parse_url(url)).target)
    end
    for _, url in ipairs { "http://ca.test/", "ftp://ca.test/", "https://", "https://u@ca.test/", "https://ca.test:0/",
      "https://ca.test:99999/", "https://ca.test/a b", "https://ca.test/\r\nX: y", "https://ca test/", "//ca.test/" } do
      assert.falsy(http.parse_url(url), url)
    end
    local began = os.clock()
    for _, url in ipairs { "https://" .. ("a"):rep(100000) .. "#", "https://" .. ("1"):rep(100000) .. "!" } do
      assert.falsy(http.parse_url(url))
    end
    assert.is_true(os.clock() - began < 0.5, "it was not read in one pass")
  end)
end)

describe("ACME's signatures", function()
  it("are taken by another implementation", function()
    local key = core.tls_make_key "p256"
    local signed = jose.sign(key, { nonce = "n", url = "https://ca.test/x" }, '{"a":1}')
    local mac = jose.mac("secret", { kid = "k" }, "payload")
    local path = os.tmpname()
    e2e.write(path, core.json_encode { key = key, jwk = jose.jwk(key), signed = signed, mac = mac,
      thumbprint = jose.thumbprint(key) })
    local out = e2e.shell(([[python3 - %s <<'END'
import base64, hashlib, hmac, json, sys
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
def unpack(text): return base64.urlsafe_b64decode(text + "=" * (-len(text) %% 4))
given = json.load(open(sys.argv[1]))
public = serialization.load_pem_private_key(given["key"].encode(), None).public_key()
numbers, jwk, s = public.public_numbers(), given["jwk"], given["signed"]
assert numbers.x == int.from_bytes(unpack(jwk["x"]), "big") and numbers.y == int.from_bytes(unpack(jwk["y"]), "big")
text = json.dumps({k: jwk[k] for k in sorted(jwk)}, separators=(",", ":"))
assert unpack(given["thumbprint"]) == hashlib.sha256(text.encode()).digest()
raw = unpack(s["signature"])
public.verify(utils.encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")),
              (s["protected"] + "." + s["payload"]).encode(), ec.ECDSA(hashes.SHA256()))
assert json.loads(unpack(s["protected"]))["alg"] == "ES256" and unpack(s["payload"]) == b'{"a":1}'
m = given["mac"]
assert unpack(m["signature"]) == hmac.new(b"secret", (m["protected"] + "." + m["payload"]).encode(), "sha256").digest()
print("good")
END]]):format(path))
    os.remove(path)
    if out:find("No module named 'cryptography'", 1, true) then return pending "no python3-cryptography" end
    assert.equal("good\n", out)
  end)

  it("need the right kind of key", function()
    for _, key in ipairs { core.tls_make_key "p384", "", "garbage" } do
      local ok, failure = pcall(jose.sign, key, {}, "")
      assert.falsy(ok)
      assert.truthy(type(failure.message) == "string")
    end
  end)
end)

describe("ACME's store", function()
  it("writes whole files for one user, and locks among processes", function()
    local store = assert(Store.open(e2e.directory() .. "/acme"))
    store:write_json("a.json", { x = 1 })
    assert.same({ x = 1 }, store:read_json "a.json")
    assert.equal("600\n", (e2e.shell("stat -c %a " .. store.path .. "/a.json")))
    assert.equal("700\n", (e2e.shell("stat -c %a " .. store.path)))
    assert.equal(nil, store:read_json "b.json")
    local lock = store:lock "a.lock"
    assert.truthy(e2e.shell(("flock -n %s/a.lock echo free"):format(store.path)) ~= "free\n")
    local second = rw.spawn(store.lock, store, "a.lock")
    assert.falsy(second:called())
    lock:close()
    second:await():close()
    for _, name in ipairs { "../x", "a/b", ".x", "", ("x"):rep(300), "a\0b" } do
      assert.falsy(pcall(store.write, store, name, ""), name)
    end
    e2e.shell(("cd %s; touch -d '3 days ago' http-old.challenge; touch http-new.challenge"):format(store.path))
    assert(Store.open(store.path))
    assert.equal("a.json\na.lock\nhttp-new.challenge\n", (e2e.shell("ls " .. store.path)))
    e2e.finish()
  end)
end)
