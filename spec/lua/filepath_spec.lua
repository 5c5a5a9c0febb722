-- SPDX-License-Identifier: MIT
-- rw.FilePath: nothing leads out.
local rw = require "ropewalk"
local testing = require "ropewalk.testing"

local function shell(...) assert(os.execute(string.format(...))) end

describe("rw.FilePath", function()
  local dir, outside, path

  before_each(function()
    dir = testing.temp_dir()
    outside = dir .. "/outside"
    shell("mkdir -p %s/in/sub %s && echo secret >%s/secret && echo text >%s/in/sub/file", dir, outside, outside, dir)
    path = rw.FilePath(dir .. "/in/")
  end)

  local function insecure(ok, failure)
    assert.is_nil(ok)
    assert.equal("insecure_path", failure.code)
  end

  it("has children by plain names only", function()
    assert.equal(dir .. "/in/sub", path:child("sub").path)
    assert.equal("file", path:child("sub"):child("file"):basename())
    for _, name in ipairs { "", ".", "..", "/", "a/b", "../outside", "a\0b", "/etc" } do insecure(path:child(name)) end
    assert.equal(dir .. "/in/...", path:child("...").path)
  end)

  it("takes paths that stay beneath it", function()
    assert.equal(dir .. "/in/sub/file", path:preauth_child("sub/./file").path)
    assert.equal(dir .. "/in", path:preauth_child("").path)
    for _, inner in ipairs { "../outside", "sub/../../outside", "/etc/passwd", "sub/..", "a\0b" } do
      insecure(path:preauth_child(inner))
    end
    assert.equal(dir .. "/in/sub/file", path:descendant({ "sub", "file" }).path)
    insecure(path:descendant { "sub", ".." })
  end)

  it("goes up to where it began, and not further", function()
    local file = path:descendant { "sub", "file" }
    assert.equal(path:child "sub", file:parent())
    assert.equal(path, file:parent():parent())
    assert.is_nil(path:parent())
    assert.equal(dir .. "/in/sub/other", file:sibling("other").path)
    insecure(path:sibling "outside")
    insecure(file:sibling "..")
  end)

  it("reads and replaces files", function()
    local file = path:preauth_child "sub/file"
    assert.equal("text\n", file:get_content())
    assert.is_true(file:set_content(("x"):rep(3000000)))
    assert.equal(3000000, file:get_size())
    assert.equal(3000000, #file:get_content())
    local none, failure = file:get_content(1000)
    assert.is_nil(none)
    assert.equal("EFBIG", failure.code)
    assert.is_true(file:remove())
    assert.is_false(file:exists())
    none, failure = file:get_content()
    assert.is_nil(none)
    assert.equal("ENOENT", failure.code)
    none, failure = file:remove()
    assert.is_nil(none)
    assert.equal("ENOENT", failure.code)
    none, failure = path:get_content()
    assert.is_nil(none)
    assert.equal("EISDIR", failure.code)
  end)

  it("makes directories, beneath it only", function()
    local deep = path:preauth_child "x/y/z"
    assert.is_true(deep:make_dirs())
    assert.is_true(deep:make_dirs())
    assert.is_true(deep:child("f"):set_content "here")
    assert.is_true(path:make_dirs())
    local none, failure = path:preauth_child("sub/file/x"):make_dirs()
    assert.is_nil(none)
    assert.equal("EEXIST", failure.code)
    shell("ln -s ../outside %s/in/out", dir)
    insecure(path:preauth_child("out/new"):make_dirs())
    assert.is_false(rw.FilePath(outside .. "/new"):exists())
    assert.is_true(rw.FilePath(dir .. "/more"):child("x"):make_dirs())
    none, failure = rw.FilePath(dir .. "/none/more"):make_dirs()
    assert.is_nil(none)
    assert.equal("ENOENT", failure.code)
  end)

  it("says what is there", function()
    local file, sub = path:preauth_child "sub/file", path:child "sub"
    assert.same({ true, true, false, 5 }, { file:exists(), file:is_file(), file:is_dir(), file:get_size() })
    assert.same({ true, false, true }, { sub:exists(), sub:is_file(), sub:is_dir() })
    assert.is_true(math.abs(file:get_modification_time() - os.time()) < 100)
    shell("mkdir %s/in/b && touch %s/in/a", dir, dir)
    assert.same({ "a", "b", "sub" }, path:list_dir())
    assert.equal(dir .. "/in/b", path:children()[2].path)
    local none, failure = file:list_dir()
    assert.is_nil(none)
    assert.equal("ENOTDIR", failure.code)
  end)

  it("follows links that stay inside, and none that lead out", function()
    shell("cd %s/in && ln -s sub/file good && ln -s ../outside out && ln -s ../outside/secret s", dir)
    shell("ln -s %s %s/in/abs", outside, dir)
    assert.equal("text\n", path:child("good"):get_content())
    insecure(path:child("s"):get_content())
    insecure(path:preauth_child("out/secret"):get_content())
    insecure(path:preauth_child("abs/secret"):get_content())
    insecure(path:preauth_child("out/new"):set_content "x")
    insecure(path:preauth_child("out/secret"):remove())
    insecure(path:child("out"):list_dir())
    assert.is_false(path:preauth_child("out/secret"):exists())
    assert.is_true(path:child("s"):set_content "mine") -- the link is replaced, not what it leads to
    assert.equal("secret\n", rw.FilePath(outside .. "/secret"):get_content())
  end)

  it("may be a file itself", function()
    local file = rw.FilePath(outside .. "/secret")
    assert.is_true(file:is_file())
    assert.equal("secret\n", file:get_content())
    assert.is_false(file:child("x"):exists())
    assert.is_true(file:set_content "new")
    assert.equal("new", file:get_content())
    assert.is_true(file:remove())
    assert.is_false(file:exists())
  end)

  it("has an extension", function()
    assert.same({ "/a/b.tar", ".gz" }, { rw.FilePath("/a/b.tar.gz"):splitext() })
    assert.same({ "/a/.profile", "" }, { rw.FilePath("/a/.profile"):splitext() })
    assert.equal("/a", tostring(rw.FilePath "/a//"))
  end)

  it("refuses mistakes", function()
    assert.has_error(function() rw.FilePath "" end)
    assert.has_error(function() rw.FilePath(5) end)
    assert.has_error(function() path:child(nil) end)
  end)
end)
