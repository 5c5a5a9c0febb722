-- SPDX-License-Identifier: MIT
local server = require "spec.support.server"
local web = require "ropewalk.web"

local APP <const> = [[
local rw, web = require "ropewalk", require "ropewalk.web"
local site = web.Site()
local root = rw.config.root
site:mount("/s", web.static(root, { max_age = 60, types = { [".rope"] = "text/rope" } }))
site:mount("/list", web.static(root, { listing = true }))
site:mount("/all", web.static(root, { hidden = true, index = {} }))
site:get("/star/*path", web.static(root))
site:get("/one", function(request) return web.file(request, root .. "/ten.txt", { type = "text/one" }) end)
site:get("/of/:name", function(request)
  return web.file(request, root .. "/" .. request.params.name .. "/index.html")
end)
return rw.server(rw.config.listen, site)
]]

local function sh(text)
  assert(os.execute(text))
end

describe("web.static", function()
  local root, site
  setup(function()
    local pipe = io.popen "mktemp -d"
    root = pipe:read "l"
    pipe:close()
    sh("cd " .. root .. [[ && mkdir -p pub/sub pub/list pub/.well-known && cd pub &&
      printf 0123456789 >ten.txt && echo index >sub/index.html && echo hidden >.hidden &&
      echo known >.well-known/x && : >empty && echo rope >a.rope && echo s >"with space.txt" &&
      : >"list/<b>&.txt" && : >list/.dot && mkdir list/deeper &&
      head -c 3000000 /dev/urandom >large.bin &&
      ln -s /etc/passwd link && ln -s ../../.. up && ln -s ten.txt inner && mkfifo fifo &&
      printf secret >../outside.txt]])
    site = server.start(APP, { set = { root = root .. "/pub" } })
  end)
  teardown(function()
    site:stop()
    sh("rm -r " .. root)
  end)

  local function status(path, ...) return site:get(path, ...).status end

  it("serves files with their types", function()
    local r = site:get "/s/ten.txt"
    assert.same({ 200, "0123456789" }, { r.status, r.body })
    assert.equal("text/plain; charset=utf-8", r.headers["content-type"])
    assert.equal("public, max-age=60", r.headers["cache-control"])
    assert.equal("nosniff", r.headers["x-content-type-options"])
    assert.equal("text/rope", site:get("/s/a.rope").headers["content-type"])
    assert.equal("application/octet-stream", site:get("/s/empty").headers["content-type"])
    assert.equal("", site:get("/s/empty").body)
    assert.equal("s\n", site:get("/s/with%20space.txt").body)
    assert.equal("0123456789", site:get("/star/ten.txt").body)
    assert.equal("0123456789", site:get("/s/inner").body)
  end)

  it("serves one file by web.file", function()
    local r = site:get "/one"
    assert.same({ "0123456789", "text/one" }, { r.body, r.headers["content-type"] })
  end)

  it("serves large files, whole and in parts", function()
    local copy = os.tmpname()
    server.curl("-o", copy, site.url .. "/s/large.bin")
    sh(("cmp %s %s/pub/large.bin"):format(copy, root))
    server.curl("-o", copy, "-r", "1000000-2499999", site.url .. "/s/large.bin")
    sh(("head -c 2500000 %s/pub/large.bin | tail -c 1500000 | cmp - %s"):format(root, copy))
    os.remove(copy)
  end)

  it("answers HEAD with the length", function()
    local r = site:head "/s/large.bin"
    assert.same({ 200, "3000000", "" }, { r.status, r.headers["content-length"], r.body })
  end)

  it("keeps no file open behind the answer, and no directory", function()
    site:get "/s/large.bin"
    local before = site:descriptors()
    for _ = 1, 5 do
      site:head "/s/large.bin"
      server.curl("--limit-rate", "10k", "-m", "0.1", site.url .. "/s/large.bin")
    end
    for i = 1, 5 do
      sh(("mkdir %s/pub/of%d && echo %d >%s/pub/of%d/index.html"):format(root, i, i, root, i))
      assert.equal(i .. "\n", site:get("/of/of" .. i).body)
    end
    sh(("cd %s/pub && mv of1 gone && mv of2 of1"):format(root)) -- another directory of that name
    assert.equal("2\n", site:get("/of/of1").body)
    sh(("cd %s/pub && rm -r gone of?"):format(root))
    assert.equal(before, site:descriptors())
  end)

  it("says of no file that it will have been changed", function()
    sh("touch -d '+2 days' " .. root .. "/pub/empty")
    local r = site:get "/s/empty"
    assert.equal(r.headers.date, r.headers["last-modified"])
  end)

  it("refuses a max_age that is none", function()
    for _, age in ipairs { -1, 0 / 0, 1 / 0, "1" } do
      assert.has_error(function() web.static("/tmp", { max_age = age }) end)
    end
  end)

  it("only knows GET and HEAD", function()
    local r = site:get("/s/ten.txt", "-X", "PUT", "-d", "x")
    assert.same({ 405, "GET, HEAD, OPTIONS" }, { r.status, r.headers.allow })
  end)

  it("serves the index, after a redirect that stays here", function()
    assert.equal("index\n", site:get("/s/sub/").body)
    local r = site:get "/s/sub?x=//evil"
    assert.same({ 301, "./sub/?x=//evil" }, { r.status, r.headers.location })
    assert.equal(404, status "/s/")
    assert.equal(404, status "/all/sub/")
  end)

  it("never leaves the directory", function()
    for _, path in ipairs { "/s/../outside.txt", "/s/sub/../../outside.txt", "/s/%2e%2e/outside.txt",
        "/s/..%2foutside.txt", "/s/sub%2f..%2f..%2foutside.txt", "/s/link", "/s/up/etc/passwd",
        "/s//etc/passwd", "/s/%2fetc/passwd", "/s/./ten.txt", "/s/ten.txt%00", "/s/sub/..",
        "/s/..\\outside.txt", "/s//evil.example/", "/all/../outside.txt" } do
      assert.equal(404, status(path), path)
    end
    assert.equal(400, status "/s/%zz")
    assert.equal(403, status "/s/fifo")
  end)

  it("hides names that begin with a dot", function()
    assert.equal(404, status "/s/.hidden")
    assert.equal("hidden\n", site:get("/all/.hidden").body)
    assert.equal("known\n", site:get("/s/.well-known/x").body)
  end)

  it("does not take a file for a directory", function()
    assert.equal(404, status "/s/ten.txt/")
    assert.equal(404, status "/s/ten.txt/x")
  end)

  it("lists a directory, escaped", function()
    local r = site:get "/list/list/"
    assert.equal("text/html; charset=utf-8", r.headers["content-type"])
    assert.truthy(r.body:find('<a href="./%3Cb%3E&.txt">&lt;b&gt;&amp;.txt</a>', 1, true)
      or r.body:find('<a href="./%3Cb%3E%26.txt">&lt;b&gt;&amp;.txt</a>', 1, true))
    assert.truthy(r.body:find('<a href="./deeper/">deeper/</a>', 1, true))
    assert.truthy(r.body:find('<a href="../">', 1, true))
    assert.falsy(r.body:find(".dot", 1, true))
    assert.falsy(site:get("/list/").body:find("../", 1, true))
  end)

  describe("conditions", function()
    local etag, modified
    setup(function()
      local r = site:get "/s/ten.txt"
      etag, modified = r.headers.etag, r.headers["last-modified"]
    end)
    local function with(...)
      local arguments = {}
      for _, field in ipairs { ... } do
        arguments[#arguments + 1] = "-H"
        arguments[#arguments + 1] = field
      end
      return site:get("/s/ten.txt", table.unpack(arguments))
    end
    local old = "Sun, 06 Nov 1994 08:49:37 GMT"

    it("304 when nothing has changed", function()
      local r = with("If-None-Match: " .. etag)
      assert.same({ 304, "", etag }, { r.status, r.body, r.headers.etag })
      assert.equal(304, with("If-None-Match: \"x\", W/" .. etag).status)
      assert.equal(304, with("If-None-Match: *").status)
      assert.equal(200, with("If-None-Match: \"x\"").status)
      assert.equal(304, with("If-Modified-Since: " .. modified).status)
      assert.equal(200, with("If-Modified-Since: " .. old).status)
      assert.equal(200, with("If-Modified-Since: yesterday").status)
    end)
    it("the tag counts more than the date", function()
      assert.equal(200, with("If-None-Match: \"x\"", "If-Modified-Since: " .. modified).status)
    end)
    it("412 when it is not what was meant", function()
      assert.equal(200, with("If-Match: " .. etag).status)
      assert.equal(412, with("If-Match: \"x\"").status)
      assert.equal(412, with("If-Match: W/" .. etag).status)
      assert.equal(412, with("If-Unmodified-Since: " .. old).status)
      assert.equal(200, with("If-Unmodified-Since: " .. modified).status)
    end)

    it("ranges only if it is still the same", function()
      assert.equal(206, with("Range: bytes=0-1", "If-Range: " .. etag).status)
      assert.equal(206, with("Range: bytes=0-1", "If-Range: " .. modified).status)
      assert.equal(200, with("Range: bytes=0-1", "If-Range: \"x\"").status)
      assert.equal(200, with("Range: bytes=0-1", "If-Range: W/" .. etag).status)
    end)
  end)

  describe("ranges", function()
    local function range(set) return site:get("/s/ten.txt", "-H", "Range: " .. set) end
    local function check(set, body, place)
      local r = range(set)
      assert.same({ 206, body, "bytes " .. place .. "/10" },
        { r.status, r.body, r.headers["content-range"] })
    end

    it("single", function()
      check("bytes=0-0", "0", "0-0")
      check("bytes=2-4", "234", "2-4")
      check("bytes=7-", "789", "7-9")
      check("bytes=7-99", "789", "7-9")
      check("bytes=-3", "789", "7-9")
      check("bytes=-99", "0123456789", "0-9")
      check("BYTES=2-4", "234", "2-4")
      check("bytes=20-30, 1-1", "1", "1-1")
    end)
    it("not satisfiable", function()
      for _, set in ipairs { "bytes=10-", "bytes=10-12", "bytes=-0" } do
        local r = range(set)
        assert.same({ 416, "bytes */10" }, { r.status, r.headers["content-range"] })
      end
    end)
    it("ignored when malformed, overlapping or too many", function()
      for _, set in ipairs { "bytes=", "bytes=a-b", "bytes=4-2", "bytes=-", "lines=1-2", "bytes 1-2",
          "bytes=0-5,3-7", "bytes=+1-2", "bytes=1-99999999999999999999",
          "bytes=0-0" .. (",2-2"):rep(10) } do
        local r = range(set)
        assert.same({ 200, "0123456789" }, { r.status, r.body }, set)
      end
    end)
    it("several, as multipart/byteranges", function()
      local r = range "bytes=0-1, 5-6,-1"
      local boundary = r.headers["content-type"]:match "^multipart/byteranges; boundary=(%w+)$"
      assert.equal(206, r.status)
      assert.equal(tostring(#r.body), r.headers["content-length"])
      local function part(place, text)
        return "--" .. boundary .. "\r\nContent-Type: text/plain; charset=utf-8\r\n"
          .. "Content-Range: bytes " .. place .. "/10\r\n\r\n" .. text .. "\r\n"
      end
      assert.equal(part("0-1", "01") .. part("5-6", "56") .. part("9-9", "9")
        .. "--" .. boundary .. "--\r\n", r.body)
    end)
    it("not for HEAD", function()
      assert.equal(200, site:head("/s/ten.txt", "-H", "Range: bytes=0-1").status)
    end)
  end)

  it("keeps no descriptor open", function()
    local before = site:descriptors()
    for _ = 1, 3 do
      for _, path in ipairs { "/s/ten.txt", "/s/large.bin", "/s/sub", "/s/sub/", "/s/nope", "/list/",
          "/s/fifo", "/s/ten.txt/" } do
        server.curl("-o", "/dev/null", site.url .. path)
      end
      status("/s/ten.txt", "-H", "Range: bytes=0-1,4-5")
      status("/s/ten.txt", "-H", "If-None-Match: *")
    end
    assert.truthy(server.wait(function() return site:descriptors() <= before end, 3))
  end)
end)
