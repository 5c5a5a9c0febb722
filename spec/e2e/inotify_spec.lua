-- SPDX-License-Identifier: MIT
-- Watched files in a server: reload, stop.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local notifier = rw.INotify()
local version = "VERSION"
assert(notifier:watch(rw.config.dir, { mask = { "close_write" }, callbacks = { function(_, path)
  rw.log.info("changed", { version = version, path = path:match "[^/]*$" })
end } }))
local site = web.Site()
site:get("/", function() return version end)
return rw.server(rw.config.listen, site)]]

local function app(version) return (APP:gsub("VERSION", version)) end

describe("A server that watches files", function()
  after_each(e2e.finish)

  it("has them watched by the new code alone after a reload", function()
    local dir = e2e.directory()
    local child = e2e.start(app "old", { args = { "--set", "dir=" .. dir } })
    e2e.write(dir .. "/one", "")
    child:await_log "path=one"
    assert.is_true((child:reload(app "new")))
    e2e.write(dir .. "/two", "")
    child:await_log "path=two"
    e2e.write(dir .. "/three", "")
    child:await_log "path=three"
    local log = child:since()
    assert.truthy(log:find("version=new path=two", 1, true) or log:find("path=two version=new", 1, true))
    local _, times = log:gsub("path=two", "")
    assert.equal(1, times)
    assert.equal(0, child:stop())
  end)

  it("says which limit of the system is reached", function()
    local dir = e2e.directory()
    e2e.shell(("mkdir -p %s/a %s/b %s/c"):format(dir, dir, dir))
    e2e.write(dir .. "/app.lua", ([[
local rw = require "ropewalk"
local notifier = rw.INotify()
assert(notifier:watch "DIR")
local ok, failure = notifier:watch("DIR/a/", { recursive = true })
print(ok, failure)
rw.stop()
return {}]]):gsub("DIR", dir))
    local output, status = e2e.shell(("unshare -Ur sh -c '%s && exec %s run %s/app.lua'"):format(
      "echo 1 >/proc/sys/user/max_inotify_watches", e2e.binary, dir))
    if status ~= 0 and output:find "unshare" then return pending "no user namespaces here" end
    assert.truthy(output:find("fs.inotify.max_user_watches", 1, true), output)
  end)
end)
