-- SPDX-License-Identifier: MIT
-- rw.INotify: too many events, too many directories, odd names.
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local watched = require "spec.support.watched"

local INotify = rw.INotify
local expect, has, note, shell, wait_for, watch, write =
  watched.expect, watched.has, watched.note, watched.shell, watched.wait_for, watched.watch, watched.write

describe("rw.INotify, at its limits", function()
  local dir, notifier

  before_each(function() dir, notifier = watched.begin() end)
  after_each(watched.finish)

  it("tells that events were lost when too many wait", function()
    testing.patch(rw.limits, "watch_queue", 10)
    local logged <close> = rw.log.capture()
    watch("", { mask = { "create" } })
    for i = 1, 50 do write(dir .. "/" .. i, "") end
    expect " q_overflow"
    assert.equal("watch_queue", logged:find "lost".fields.limit)
    watched.seen = {}
    write(dir .. "/later", "")
    expect "later create"
  end)

  it("refuses more directories than the limit allows, as a whole", function()
    shell("mkdir -p %s/a/b %s/c/d", dir, dir)
    testing.patch(rw.limits, "max_watches", 3)
    local logged <close> = rw.log.capture()
    local ok, failure = notifier:watch(dir, { recursive = true })
    assert.is_nil(ok)
    assert.equal("limit", failure.code)
    assert.equal("max_watches", logged:find "too many".fields.limit)
    assert.is_false(notifier:is_watched(dir))
    assert.is_true(notifier:watch(dir .. "/a", { recursive = true }))
  end)

  it("finds out again what there is when the system has lost events", function()
    local f <close> = io.open "/proc/sys/fs/inotify/max_queued_events"
    local most = f:read "n"
    testing.patch(rw.limits, "watch_queue", 2 * most)
    local logged <close> = rw.log.capture()
    shell("mkdir -p %s/t/a/sub %s/gone %s/named", dir, dir, dir)
    watch("/t", { mask = { "create" }, recursive = true })
    watch "/gone"
    watch("/conf", { mask = { "close_write" } })
    -- the loop stands still meanwhile
    shell("python3 -c 'import os, sys\nd, n = sys.argv[1], int(sys.argv[2])\n"
      .. "for i in range(n): open(d + \"/t/x\" + str(i), \"w\").close()' %s %d", dir, most + 100)
    shell("mv %s/t/a %s/t/b && mkdir -p %s/t/new/deep && rmdir %s/gone", dir, dir, dir, dir)
    expect "t q_overflow"
    expect "conf q_overflow"
    expect "gone ignored"
    assert.equal("fs.inotify.max_queued_events", logged:find "lost".fields.limit)
    assert.is_false(notifier:is_watched(dir .. "/gone"))
    assert.is_false(notifier:is_watched(dir .. "/t/a/sub"))
    write(dir .. "/t/b/sub/f", "")
    expect "t/b/sub/f create"
    write(dir .. "/t/new/deep/f", "")
    expect "t/new/deep/f create"
    write(dir .. "/conf", "")
    expect "conf close_write"
  end)

  it("takes names of any bytes", function()
    local odd = "\xff\xfe\n$(x)"
    os.execute("mkdir '" .. dir .. "/\xc3\x28'")
    watch("", { mask = { "create" }, recursive = true })
    write(dir .. "/\xc3\x28/" .. odd, "")
    expect("\xc3\x28/" .. odd .. " create")
  end)

  it("leaves out directories whose paths are too long, and says so", function()
    local logged <close> = rw.log.capture()
    local name = ("n"):rep(250)
    watch("", { mask = { "create" }, recursive = true })
    shell("cd %s && for i in $(seq 20); do mkdir %s && cd -P %s; done", dir, name, name)
    expect(name .. " create+is_dir")
    wait_for("the warning", function() return logged:find "not watched" end)
    write(dir .. "/" .. name .. "/f", "")
    expect(name .. "/f create")
    shell("rm -r %s/%s", dir, name)
  end)

  it("goes on when what it watches is ignored in a callback", function()
    shell("mkdir %s/a", dir)
    notifier:watch(dir, { mask = { "create" }, recursive = true, callbacks = { function(self, path)
      note(self, path, INotify.IN_CREATE)
      self:ignore(dir)
    end, note } })
    shell("touch %s/a/1 %s/a/2", dir, dir)
    expect "a/1 create"
    watch "/a"
    write(dir .. "/a/3", "")
    expect "a/3 create"
    assert.is_false(has "a/2 create")
  end)
end)
