-- SPDX-License-Identifier: MIT
-- rw.INotify: directories that come and go, those below, links.
local core = require "ropewalk.core"
local rw = require "ropewalk"
local watched = require "spec.support.watched"

local INotify = rw.INotify
local expect, note, shell, until_now, watch, write =
  watched.expect, watched.note, watched.shell, watched.until_now, watched.watch, watched.write

describe("rw.INotify, watching directories", function()
  local dir, notifier

  before_each(function() dir, notifier = watched.begin() end)
  after_each(watched.finish)

  it("watches a directory that is not there yet", function()
    watch("/later", { mask = { "create" }, recursive = true })
    shell("mkdir -p %s/later/sub && echo >%s/later/sub/f", dir, dir)
    expect "later/sub/f create"
    write(dir .. "/later/g", "")
    expect "later/g create"
  end)

  it("follows a link to a directory, or watches the link", function()
    shell("mkdir %s/one %s/two && ln -s one %s/current", dir, dir, dir)
    watch("/current", { mask = { "create" } })
    local links = INotify()
    links:watch(dir .. "/current/", { mask = { "moved_to" }, follow = false, callbacks = { note } })
    write(dir .. "/one/x", "")
    expect "current/x create"
    shell("ln -s two %s/next && mv -T %s/next %s/current", dir, dir, dir)
    expect "current moved_to"
    links:lose_connection()
  end)

  it("watches a directory that is made again while somebody has the old one open", function()
    watch("", { mask = { "create" }, recursive = true })
    shell("mkdir %s/d", dir)
    expect "d create+is_dir"
    write(dir .. "/d/first", "")
    expect "d/first create"
    local held = assert(core.dir(dir .. "/d"))
    shell("rm -r %s/d && mkdir %s/d", dir, dir)
    until_now ""
    write(dir .. "/d/second", "")
    expect "d/second create"
    held:close()
    write(dir .. "/d/third", "")
    expect "d/third create"
  end)

  it("watches the directories below, and those that come", function()
    shell("mkdir -p %s/a/b", dir)
    watch("", { mask = { "create" }, recursive = true })
    write(dir .. "/a/b/deep", "")
    expect "a/b/deep create"
    shell("mkdir -p %s/x/y/z && echo >%s/x/y/z/f", dir, dir)
    expect "x create+is_dir"
    expect "x/y/z/f create"
    assert.is_true(notifier:is_watched(dir .. "/x/y/z/"))
    write(dir .. "/x/y/z/g", "")
    expect "x/y/z/g create"
    local _, times = table.concat(watched.seen, "\n"):gsub("x/y/z create", "")
    assert.equal(1, times)
  end)

  it("adds none that come later if it shall not", function()
    shell("mkdir %s/a", dir)
    watch("", { mask = { "create" }, recursive = true, auto_add = false })
    shell("mkdir %s/b", dir)
    expect "b create+is_dir"
    assert.is_true(notifier:is_watched(dir .. "/a"))
    assert.is_false(notifier:is_watched(dir .. "/b"))
  end)

  it("does not follow links below", function()
    shell("mkdir %s/tree %s/elsewhere && ln -s ../elsewhere %s/tree/link && ln -s . %s/tree/self", dir, dir, dir, dir)
    watch("/tree", { mask = { "create" }, recursive = true })
    write(dir .. "/elsewhere/f", "")
    assert.equal("", until_now "/tree")
    assert.is_false(notifier:is_watched(dir .. "/tree/link"))
  end)

  it("knows directories by their new names when they are moved", function()
    shell("mkdir -p %s/a/sub %s/b", dir, dir)
    watch("", { mask = { "create", "moved" }, recursive = true })
    shell("mv %s/a %s/b/c", dir, dir)
    expect "a moved_from+is_dir"
    expect "b/c moved_to+is_dir"
    expect "b/c/sub create+is_dir"
    assert.is_false(notifier:is_watched(dir .. "/a/sub"))
    write(dir .. "/b/c/sub/f", "")
    expect "b/c/sub/f create"
  end)

  it("forgets directories that are moved out", function()
    shell("mkdir -p %s/in/sub %s/out", dir, dir)
    watch("/in", { mask = { "create", "moved" }, recursive = true })
    shell("mv %s/in/sub %s/out/sub", dir, dir)
    expect "in/sub moved_from+is_dir"
    write(dir .. "/out/sub/f", "")
    assert.equal("in/sub moved_from+is_dir", until_now "/in")
    assert.is_false(notifier:is_watched(dir .. "/in/sub"))
  end)

  it("says when the directory itself is removed or moved, and ends that watch", function()
    shell("mkdir %s/one %s/two", dir, dir)
    watch "/one"
    watch "/two"
    shell("rmdir %s/one && mv %s/two %s/three", dir, dir, dir)
    expect "one ignored"
    expect "two ignored"
    assert.is_true(table.concat(watched.seen, ","):find("one delete_self", 1, true) ~= nil)
    assert.is_true(table.concat(watched.seen, ","):find("two move_self", 1, true) ~= nil)
    assert.is_false(notifier:is_watched(dir .. "/one"))
    assert.is_false(notifier:is_watched(dir .. "/two"))
    shell("mkdir %s/one", dir)
    watch("/one", { mask = { "create" } })
    write(dir .. "/one/f", "")
    expect "one/f create"
  end)

  it("removes a tree that is watched while it is written to", function()
    watch("", { mask = { "create", "delete" }, recursive = true })
    for i = 1, 20 do
      shell("mkdir -p %s/t/%d/x && echo >%s/t/%d/x/f && rm -r %s/t", dir, i, dir, i, dir)
    end
    write(dir .. "/end", "")
    expect "end create"
    assert.is_false(notifier:is_watched(dir .. "/t"))
  end)
end)
