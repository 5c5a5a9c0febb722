-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local rw = require "ropewalk"
local loader = require "ropewalk.loader"
local task = support.task

local changed = {
  [_G] = { "print", "require", "load", "loadfile", "dofile", "collectgarbage", "warn" },
  [os] = { "exit", "setlocale" }, [package] = { "loadlib" },
  [debug] = { "sethook", "getregistry", "debug" },
}

-- A boot module of its own, run on a script, with the globals put back after.
local function with_script(text, fn)
  local saved = {}
  for owner, names in pairs(changed) do
    for _, name in ipairs(names) do saved[#saved + 1] = { owner, name, owner[name] } end
  end
  local before, dir = package.loaded["ropewalk.boot"], loader.script_dir
  package.loaded["ropewalk.boot"] = nil
  local boot = require "ropewalk.boot"
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
  local ok, err = pcall(fn, boot, path)
  os.remove(path)
  for _, each in ipairs(saved) do each[1][each[2]] = each[3] end
  package.loaded["ropewalk.boot"], loader.script_dir = before, dir
  if not ok then error(err, 0) end
end

local function failing(text, ...)
  local words = { ... }
  with_script(text, function(boot, path)
    local ok, why = pcall(boot.stage, path)
    assert.is_false(ok)
    for _, word in ipairs(words) do
      assert.truthy(tostring(why):find(word), word .. " in: " .. tostring(why))
    end
  end)
end

describe("a script", function()
  it("is staged, committed and retired", task(function()
    with_script([[
      local rw = require "ropewalk"
      seen = {}
      local S = rw.Service:extend "S"
      function S:privileged_start_service() seen[#seen + 1] = "prepare" end
      function S:start_service() seen[#seen + 1] = "start" end
      function S:stop_service() rw.sleep(0.01):await() seen[#seen + 1] = "stop" end
      rw.on_check(function() rw.sleep(0.01):await() seen[#seen + 1] = "check" end)
      rw.reactor:call_when_running(function() seen[#seen + 1] = "running" end)
      return { S(), { rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(rw.Protocol)) } }
    ]], function(boot, path)
      boot.stage(path)
      local seen = _G.seen
      assert.same({ "prepare", "check" }, seen)
      assert.truthy(boot.root().services[2].port)
      assert.is_true(boot.commit())
      assert.is_true(boot.retire())
      boot.report()
      assert.same({ "prepare", "check", "start", "running", "stop" }, seen)
      assert.falsy(boot.root().services[2].port)
      _G.seen = nil
    end)
  end))

  it("is told that it runs when all its services have started", task(function()
    with_script([[
      local rw = require "ropewalk"
      told = {}
      local function service(name)
        local S = rw.Service:extend "S"
        function S:start_service()
          rw.reactor:call_when_running(function() told[#told + 1] = name .. " runs" end)
          rw.sleep(0.01):await()
          told[#told + 1] = name
        end
        return S()
      end
      return { service "a", service "b" }
    ]], function(boot, path)
      _G.seen = {} -- of the test before, whose trigger is still there
      boot.stage(path)
      boot.commit()
      rw.reactor:call_when_running(function() table.insert(_G.told, "at once") end)
      boot.retire()
      assert.same({ "a", "b", "a runs", "b runs", "at once" }, _G.told)
      _G.told, _G.seen = nil, nil
    end)
  end))

  it("that cannot be compiled or fails is refused with file and line", task(function()
    failing("local x = = 1", ":1: unexpected symbol")
    failing("\n\nerror 'boom'", ":3: boom", "traceback")
    failing("require 'ropewalk'.sleep(0.01):await() error 'later'", ":1: later")
    failing("local d = require 'ropewalk'.Deferred.fail('no luck') d:await()", "no luck")
    with_script("", function(boot)
      local ok, why = pcall(boot.stage, "/no/such/script.lua")
      assert.is_false(ok)
      assert.truthy(why:find("cannot open /no/such/script.lua", 1, true))
    end)
  end))

  it("must return a service or a list of services", task(function()
    failing("local x = 1", "returned nothing", "is there a `return`", "rw.server")
    failing("return 5", "returned a number")
    failing("return { 5 }", "item 1 of the list returned a number")
    failing("local s = require 'ropewalk'.Service return { s(), nil, s() }", "item 2 of the list is nil")
    failing("return { http = 1 }", 'the field "http"')
    failing("return require 'ropewalk'.Factory()", "is no service", "put it into rw.server")
  end))

  it("is refused by its own self-test", task(function()
    local head = "local rw = require 'ropewalk' rw.on_check(function() "
    local tail = " end) return rw.Service()"
    failing(head .. "error 'unwell'" .. tail, "self%-test failed: .*unwell")
    failing(head .. "return false" .. tail, "returned false")
    failing(head .. "return nil, rw.Failure.new('x', 'no database')" .. tail, "no database")
    failing(head .. "rw.sleep(0.01):await() error 'slowly'" .. tail, "slowly")
    with_script(head .. "return true" .. tail, function(boot, path) boot.stage(path) end)
  end))

  it("may have a service that does not start or stop: the others do", task(function()
    local logged <close> = rw.log.capture()
    with_script([[
      local rw = require "ropewalk"
      local Bad = rw.Service:extend "Bad"
      function Bad:start_service() error "cannot start" end
      local Worse = rw.Service:extend "Worse"
      function Worse:stop_service() error "cannot stop" end
      rw.reactor:add_system_event_trigger("before", "shutdown", error, "bad trigger")
      return { Bad(), Worse(), rw.Service() }
    ]], function(boot, path)
      boot.stage(path)
      boot.commit()
      assert.is_true(boot.root().services[3].running)
      boot.retire()
      assert.is_false(boot.root().services[3].running)
    end)
    assert.truthy(logged:find "cannot start")
    assert.truthy(logged:find "cannot stop")
    assert.truthy(logged:find "bad trigger")
  end))
end)

describe("the globals of a script", function()
  it("log what is printed, and keep it from hurting the process", task(function()
    local logged <close> = rw.log.capture()
    with_script([[
      print("hello", 5, nil)
      local function refused(fn, ...) assert(not pcall(fn, ...)) end
      refused(os.exit, 0)
      refused(debug.sethook)
      refused(debug.getregistry)
      refused(collectgarbage, "stop")
      assert(collectgarbage "count" > 0)
      assert(load "return 1"() == 1)
      assert(not load(string.dump(function() end)))
      return require "ropewalk".Service()
    ]], function(boot, path) boot.stage(path) end)
    assert.equal("hello\t5\tnil", logged[1].message)
  end))
end)
