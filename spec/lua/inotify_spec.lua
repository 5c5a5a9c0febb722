-- SPDX-License-Identifier: MIT
-- rw.INotify over real directories.
local rw = require "ropewalk"
local testing = require "ropewalk.testing"
local watched = require "spec.support.watched"

local INotify = rw.INotify
local expect, note, shell, until_now, wait_for, watch, write =
  watched.expect, watched.note, watched.shell, watched.until_now, watched.wait_for, watched.watch, watched.write

describe("rw.INotify", function()
  local dir, notifier

  before_each(function() dir, notifier = watched.begin() end)
  after_each(watched.finish)

  it("tells what happens in a directory", function()
    watch("", { mask = { "create", "delete", "moved", "close_write" } })
    write(dir .. "/a", "x")
    expect "a close_write+create"
    os.rename(dir .. "/a", dir .. "/b")
    expect "a moved_from"
    expect "b moved_to"
    os.remove(dir .. "/b")
    expect "b delete"
    shell("mkdir %s/sub", dir)
    expect "sub create+is_dir"
  end)

  it("tells only what the mask has", function()
    watch("", { mask = INotify.IN_CREATE })
    write(dir .. "/a", "x")
    os.remove(dir .. "/a")
    assert.equal("a create", until_now "")
  end)

  it("makes one event of many writes", function()
    watch("", { mask = { "create", "modify" } })
    local f <close> = io.open(dir .. "/log", "wb")
    for i = 1, 100 do
      f:write(i, "\n")
      f:flush()
    end
    expect "log modify+create"
    assert.equal("log modify+create", until_now "")
  end)

  it("keeps what comes and goes apart, and in order", function()
    watch("", { mask = { "create", "delete" } })
    for _ = 1, 3 do
      write(dir .. "/a", "")
      os.remove(dir .. "/a")
    end
    assert.equal("a create, a delete, a create, a delete, a create, a delete", until_now "")
  end)

  it("watches a file by its name, also when it is replaced or not there yet", function()
    watch("/conf", { mask = { "create", "moved_to", "delete", "close_write" } })
    write(dir .. "/other", "")
    write(dir .. "/conf", "1")
    expect "conf close_write+create"
    for i = 1, 3 do
      write(dir .. "/new", tostring(i))
      watched.seen = {}
      os.rename(dir .. "/new", dir .. "/conf")
      expect "conf moved_to"
    end
    os.remove(dir .. "/conf")
    expect "conf delete"
    assert.is_nil(table.concat(watched.seen, ","):find "other")
  end)

  it("ignores a path from now on", function()
    shell("mkdir -p %s/a/b", dir)
    watch("", { mask = { "create" }, recursive = true })
    assert.is_true(notifier:ignore(dir .. "/a"))
    write(dir .. "/a/b/f", "")
    assert.equal("", until_now "")
    assert.is_true(notifier:ignore(dir))
    assert.is_false(notifier:ignore(dir))
  end)

  it("shares the system's watches", function()
    local other, heard = INotify(), {}
    watch("", { mask = { "create" } })
    other:watch(dir, { mask = { "delete" }, callbacks = { function(_, path) heard[#heard + 1] = path end } })
    write(dir .. "/f", "")
    os.remove(dir .. "/f")
    wait_for("the other one", function() return #heard == 1 end)
    other:lose_connection()
    assert.equal("f create", until_now "")
  end)

  it("calls one after the other, which may wait", function()
    local running, most = 0, 0
    notifier:watch(dir, { mask = { "create" }, callbacks = { function(_, path)
      running = running + 1
      most = math.max(most, running)
      rw.sleep(0.01):await()
      running = running - 1
      watched.seen[#watched.seen + 1] = path
    end } })
    for i = 1, 5 do write(dir .. "/" .. i, "") end
    wait_for("all", function() return #watched.seen == 5 end)
    assert.equal(1, most)
  end)

  it("goes on when a callback fails, which is logged", function()
    notifier:watch(dir, { mask = { "create" }, callbacks = { function() error "broken" end, note } })
    write(dir .. "/a", "")
    expect "a create"
    write(dir .. "/b", "")
    expect "b create"
    assert.equal(2, #testing.flush_logged_errors())
  end)

  it("is not for threads, and says so", function()
    local ok, failure = pcall(rw.await, rw.defer_to_thread(function() rw.INotify():watch "/tmp" end))
    assert.is_false(ok)
    assert.truthy(failure.message:find("not in a thread", 1, true), failure.message)
  end)

  it("fails for what cannot be watched", function()
    local ok, failure = notifier:watch(dir .. "/none/f")
    assert.is_nil(ok)
    assert.equal("ENOENT", failure.code)
  end)

  it("refuses mistakes", function()
    local function wrong(text, ...)
      local ok, why = pcall(notifier.watch, notifier, ...)
      assert.is_false(ok)
      assert.truthy(tostring(why):find(text, 1, true), tostring(why))
    end
    for _, mask in ipairs { 1.5, 1e300, 0 / 0 } do wrong("mask must be a whole number", dir, { mask = mask }) end
    wrong("there is no event 'made'", dir, { mask = { "made" } })
    wrong("there is no option 'recurse'", dir, { recurse = true })
    wrong("a path is needed", "")
    notifier:watch(dir)
    wrong("is watched already", dir .. "/")
    notifier:lose_connection()
    wrong("closed", dir)
  end)

  it("has masks by name and back", function()
    assert.equal(INotify.IN_CREATE | INotify.IN_MOVED_FROM | INotify.IN_MOVED_TO, INotify.mask_of { "create", "moved" })
    assert.same({ "modify", "create", "is_dir" },
      INotify.human_readable_mask(INotify.IN_ISDIR | INotify.IN_CREATE | INotify.IN_MODIFY))
  end)
end)
