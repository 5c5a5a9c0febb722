-- SPDX-License-Identifier: MIT
-- rw.INotify over real directories.
local rw = require "ropewalk"
local testing = require "ropewalk.testing"

local INotify = rw.INotify

local function write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

local function shell(...) assert(os.execute(string.format(...))) end

local function wait_for(what, condition)
  for _ = 1, 300 do
    if condition() then return end
    rw.sleep(0.01):await()
  end
  error("waited in vain for " .. what, 2)
end

describe("rw.INotify", function()
  local dir, notifier, seen

  local function note(_, path, mask)
    local names = table.concat(INotify.human_readable_mask(mask), "+")
    seen[#seen + 1] = path:sub(#dir + 2) .. " " .. names
  end

  local function watch(path, options)
    options = options or {}
    options.callbacks = { note }
    assert(notifier:watch(dir .. path, options))
  end

  local function has(text)
    for _, each in ipairs(seen) do
      if each == text then return true end
    end
    return false
  end

  local function expect(text)
    local ok = pcall(wait_for, text, function() return has(text) end)
    if not ok then error("no '" .. text .. "', but: " .. table.concat(seen, ", "), 2) end
  end

  -- What was told until a mark that is made now.
  local function until_now(path)
    write(dir .. path .. "/mark", "")
    expect((path .. "/mark"):sub(2) .. " create")
    return table.concat(seen, ", "):gsub(",? ?[%w/]*mark create", "")
  end

  before_each(function()
    dir, seen = testing.temp_dir(), {}
    notifier = INotify()
  end)
  after_each(function() notifier:lose_connection() end)

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
      seen = {}
      os.rename(dir .. "/new", dir .. "/conf")
      expect "conf moved_to"
    end
    os.remove(dir .. "/conf")
    expect "conf delete"
    assert.is_nil(table.concat(seen, ","):find "other")
  end)

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
    local _, times = table.concat(seen, "\n"):gsub("x/y/z create", "")
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
    assert.is_true(table.concat(seen, ","):find("one delete_self", 1, true) ~= nil)
    assert.is_true(table.concat(seen, ","):find("two move_self", 1, true) ~= nil)
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
      seen[#seen + 1] = path
    end } })
    for i = 1, 5 do write(dir .. "/" .. i, "") end
    wait_for("all", function() return #seen == 5 end)
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

  it("tells that events were lost when too many wait", function()
    testing.patch(rw.limits, "watch_queue", 10)
    local logged <close> = rw.log.capture()
    watch("", { mask = { "create" } })
    for i = 1, 50 do write(dir .. "/" .. i, "") end
    expect " q_overflow"
    assert.equal("watch_queue", logged:find "lost".fields.limit)
    seen = {}
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
