-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"

local APP <const> = [[
local rw, web = require "ropewalk", require "ropewalk.web"
local site = web.Site()

site:post("/read", function(r) return r:read() end)
site:post("/twice", function(r) return r:read() .. r:read() end)
site:post("/less", function(r) return r:read() .. r:read(1) end)
site:post("/small", function(r) return r:read(5) end)
site:post("/json", function(r) return web.json(r:json()) end)
site:post("/form", function(r)
  local form, all = r:form()
  local out = {}
  for _, pair in ipairs(all) do
    local value = pair[2]
    if type(value) == "table" then
      value = ("<%s %s %d>"):format(value.filename, value.type, #value.content)
    end
    out[#out + 1] = pair[1] .. "=" .. value
  end
  return table.concat(out, "\n") .. "\n" .. (form.a or "")
end)
site:post("/count", function(r)
  local bytes, pieces = 0, 0
  for piece in r:chunks() do bytes, pieces = bytes + #piece, pieces + 1 end
  return ("%d %s"):format(bytes, pieces > 1 and "pieces" or "piece")
end)
site:post("/parts", function(r)
  local out = {}
  for part in r:parts() do
    local bytes = 0
    if part.name ~= "skip" then
      for piece in part.chunks do bytes = bytes + #piece end
    end
    out[#out + 1] = part.name .. ":" .. bytes
  end
  return table.concat(out, " ")
end)
site:post("/ignored", function() return "not read" end)
return rw.server(rw.config.listen, site)
]]

local function temporary(text)
  local path = os.tmpname()
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
  return path
end

describe("a request's body", function()
  local site
  setup(function()
    site = server.start(APP, { set = { listen = "tcp:127.0.0.1:0:max_buffered_body=100000" } })
  end)
  teardown(function() site:stop() end)
  local function post(path, ...) return site:get(path, "-X", "POST", ...) end

  it("is read whole, also twice", function()
    assert.equal("a=b", post("/read", "-d", "a=b").body)
    assert.equal("xx", post("/twice", "-d", "x").body)
    assert.equal("", post("/read").body)
    assert.equal("chunky", post("/read", "-d", "chunky", "-H", "Transfer-Encoding: chunked").body)
  end)

  it("is refused above the maximum, told before or not", function()
    assert.equal(413, post("/less", "-d", "xx").status)
    assert.equal("xx", post("/less", "-d", "x").body)
    assert.equal("12345", post("/small", "-d", "12345").body)
    assert.equal(413, post("/small", "-d", "123456").status)
    assert.equal(413, post("/small", "-d", "123456", "-H", "Transfer-Encoding: chunked").status)
    local large = temporary(("x"):rep(100001))
    assert.equal(413, post("/read", "--data-binary", "@" .. large).status)
    os.remove(large)
  end)

  it("is JSON, or 400 with the place", function()
    assert.equal("[1,null,{}]", post("/json", "-d", "[1, null, {}]").body)
    local r = post("/json", "-d", "[1,\n2")
    assert.equal(400, r.status)
    assert.truthy(r.body:find "line 2")
    assert.equal(400, post("/json").status)
  end)

  it("is an urlencoded form", function()
    assert.equal("a=1 2\nb=\na=ü\n1 2", post("/form", "-d", "a=1+2&b&a=%C3%BC").body)
    assert.equal(400, post("/form", "-d", "a=%").status)
    assert.equal(415, post("/form", "-d", "x", "-H", "Content-Type: text/plain").status)
    assert.equal(415, post("/form", "-H", "Content-Type:", "-d", "x").status)
  end)

  it("is a multipart form with files", function()
    local path = temporary(("\r\n--x"):rep(1000))
    local r = post("/form", "-F", "a=1", "-F", "f=@" .. path .. ";filename=n.txt;type=text/plain",
      "-F", "e=")
    assert.equal("a=1\nf=<n.txt text/plain 5000>\ne=\n1", r.body)
    os.remove(path)
  end)

  it("is refused as multipart when it is malformed", function()
    local function form(body, boundary)
      return post("/form", "--data-binary", body, "-H",
        "Content-Type: multipart/form-data" .. (boundary or "; boundary=B")).status
    end
    assert.equal(200, form "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--B--")
    assert.equal(400, form "--B\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--B")
    assert.equal(400, form "--B\r\nContent-Disposition: form-data\r\n\r\n1\r\n--B--")
    assert.equal(400, form "--B\r\nX: y\r\n\r\n1\r\n--B--")
    assert.equal(400, form "--BX\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--B--")
    assert.equal(400, form "nothing")
    assert.equal(400, form("--B--", ""))
    assert.equal(400, form("--B--", "; boundary=" .. ("B"):rep(71)))
  end)

  it("has parts that may be taken or left", function()
    local path = temporary(("x"):rep(300000)) -- more than may be buffered
    assert.equal("a:1 skip:0 f:300000", post("/parts", "-F", "a=1", "-F", "skip=@" .. path,
      "-F", "f=@" .. path).body)
    assert.equal(413, post("/form", "-F", "f=@" .. path).status)
    os.remove(path)
  end)

  it("is read as it comes, at flat memory", function()
    local function send(megabytes)
      local pipe = io.popen(("head -c %d /dev/zero | curl -sS -T - -X POST %s/count"):format(
        megabytes << 20, site.url))
      local text = pipe:read "a"
      pipe:close()
      return text
    end
    assert.equal((1 << 20) .. " pieces", send(1))
    local before = site:resident()
    assert.equal((100 << 20) .. " pieces", send(100))
    assert.is_true(server.sanitized or site:resident() - before < 10240)
  end)

  it("may be left unread", function()
    assert.equal("not read", post("/ignored", "-d", "x").body)
  end)

  it("is asked for with 100 Continue", function()
    local out = server.curl("-v", "-H", "Expect: 100-continue", "-d", "x", site.url .. "/read")
    assert.truthy(out:find "100 Continue")
    out = server.curl("-v", "-H", "Expect: 100-continue", "-d", "123456", site.url .. "/small")
    assert.falsy(out:find "100 Continue")
    assert.truthy(out:find "413")
  end)
end)
