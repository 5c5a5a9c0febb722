-- SPDX-License-Identifier: MIT
-- --log-file: turning, keeping, opening anew.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local site = web.Site()
site:get("/:text", function(request)
  rw.log.info(request.params.text)
  return "ok"
end)
return rw.server("tcp:127.0.0.1:PORT", site)
]]

describe("--log-file", function()
  local dir, port, child
  after_each(e2e.finish)

  local function start(...)
    dir, port = e2e.directory(), e2e.free_port()
    child = e2e.start((APP:gsub("PORT", tostring(port))), {
      wait = false, args = { "--log-file", dir .. "/log", ... } })
    assert.truthy(e2e.wait(function()
      return select(2, pcall(e2e.read, dir .. "/log")):find "listening"
    end, 20))
  end

  local function ask(text) e2e.curl("-s", ("http://127.0.0.1:%d/%s"):format(port, text)) end
  local function has(name, text)
    return select(2, pcall(e2e.read, dir .. "/" .. name)):find(text, 1, true) ~= nil
  end
  local function names() return (e2e.shell("ls " .. dir):gsub("%s+$", ""):gsub("%s+", " ")) end

  it("has the log there, and nothing on standard error", function()
    start()
    ask "first"
    assert.is_true(has("log", "first"))
    assert.equal("", child:log())
  end)

  it("appends to what is there", function()
    start()
    child:stop()
    local before = e2e.read(dir .. "/log")
    local again = e2e.start((APP:gsub("PORT", tostring(e2e.free_port()))), {
      wait = false, args = { "--log-file", dir .. "/log" } })
    assert.truthy(e2e.wait(function() return #e2e.read(dir .. "/log") > #before end, 20))
    assert.equal(before, e2e.read(dir .. "/log"):sub(1, #before))
    again:stop()
  end)

  it("begins a new file when it is large enough, and keeps some", function()
    start("--log-rotate", "1K", "--log-keep=2")
    for i = 1, 60 do ask(("line-%d-%s"):format(i, ("x"):rep(100))) end
    assert.equal("log log.1 log.2", names())
    assert.is_true(has("log", "line-60-") or has("log.1", "line-60-"))
    local whole = e2e.read(dir .. "/log.2") .. e2e.read(dir .. "/log.1") .. e2e.read(dir .. "/log")
    local last
    for n in whole:gmatch "line%-(%d+)" do -- none is lost in between
      n = tonumber(n)
      assert.is_true(not last or n == last + 1)
      last = n
    end
    assert.equal(60, last)
  end)

  it("begins a new file when the day is over", function()
    start("--log-rotate", "daily")
    ask "old"
    child:stop()
    e2e.shell(("touch -d '2 days ago' %s/log"):format(dir))
    local again = e2e.start((APP:gsub("PORT", tostring(port))), {
      wait = false, args = { "--log-file", dir .. "/log", "--log-rotate=daily" } })
    assert.truthy(e2e.wait(function() return has("log", "listening") and names() == "log log.1" end, 20))
    assert.is_true(has("log.1", "old"))
    assert.is_false(has("log", "old"))
    again:stop()
  end)

  it("opens it anew at SIGUSR1 and SIGHUP, for who moves it away", function()
    start()
    for i, signal in ipairs { "USR1", "HUP" } do
      os.rename(dir .. "/log", dir .. "/moved" .. i)
      ask("before" .. i)
      assert.is_true(has("moved" .. i, "before" .. i))
      child:signal(signal)
      assert.truthy(e2e.wait(function() return has("log", i == 1 and "log reopened" or "reload") end, 20))
      ask("after" .. i)
      assert.is_true(has("log", "after" .. i))
      assert.is_false(has("moved" .. i, "after" .. i))
    end
  end)

  it("goes on with the old one when no new one can be made", function()
    start("--log-rotate", "1K")
    e2e.shell(("rm -r %s && mkdir %s/ && mkdir %s/log"):format(dir, dir, dir))
    for _ = 1, 30 do ask(("x"):rep(100)) end
    assert.is_true(child:alive())
    child:signal "USR1"
    ask "x"
    assert.is_true(child:alive())
  end)

  it("refuses what makes no sense", function()
    local app = e2e.directory() .. "/app.lua"
    e2e.write(app, "return {}")
    local function refused(text, ...)
      local output, status = e2e.ropewalk("run", app, ...)
      assert.equal(2, status)
      assert.truthy(output:find(text, 1, true), output)
    end
    refused("which log file?", "--log-rotate", "daily")
    refused("not 'weekly'", "--log-file", app .. ".log", "--log-rotate", "weekly")
    refused("not '0K'", "--log-file", app .. ".log", "--log-rotate", "0K")
    refused("not '0'", "--log-file", app .. ".log", "--log-keep", "0")
    refused("No such file", "--log-file", "/nowhere/at/all")
  end)
end)
