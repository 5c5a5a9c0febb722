-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local loader = require "ropewalk.loader"
local rw = require "ropewalk"
local task = support.task

local dir

local function write(name, text)
  local file = assert(io.open(dir .. "/" .. name, "wb"))
  file:write(text)
  file:close()
  return dir .. "/" .. name
end

describe("the loader", function()
  local old = loader.script_dir
  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    os.execute("mkdir -p " .. dir .. "/sub")
  end)
  teardown(function()
    loader.script_dir = old
    os.execute("rm -rf " .. dir)
  end)
  before_each(function() loader.set_script(dir .. "/main.lua") end)

  it("finds modules beside the script, once", task(function()
    write("mine.lua", "local name, path = ... return { name = name, path = path }")
    write("sub/init.lua", "return 'a package'")
    local mine, path = loader.require "mine"
    assert.equal("mine", mine.name)
    assert.equal(dir .. "/mine.lua", path)
    assert.equal(mine, loader.require "mine")
    assert.equal("a package", loader.require "sub")
    assert.equal(dir, rw.script_dir)
    package.loaded.mine, package.loaded.sub = nil, nil
  end))

  it("finds the library and what is loaded already", task(function()
    assert.equal(rw, loader.require "ropewalk")
    assert.equal(string, loader.require "string")
  end))

  it("lets a module's body wait, and gives two tasks the same module", task(function()
    write("slow.lua", 'require "ropewalk".sleep(0.01):await() return {}')
    local load = rw.async(function() return (loader.require "slow") end)
    local both = rw.gather { load(), load() }:await()
    assert.equal("table", type(both[1]))
    assert.equal(both[1], both[2])
    package.loaded.slow = nil
  end))

  it("says where it looked, what is wrong with the file, and what requires itself",
    task(function()
      local ok, err = pcall(loader.require, "no.such.thing")
      assert.is_false(ok)
      assert.truthy(err:find("no file '" .. dir .. "/no/such/thing.lua'", 1, true))
      write("broken.lua", "return return")
      ok, err = pcall(loader.require, "broken")
      assert.is_false(ok)
      assert.truthy(tostring(err):find "broken.lua:1:")
      write("raises.lua", "error 'boom'")
      ok, err = pcall(loader.require, "raises")
      assert.is_false(ok)
      assert.truthy(tostring(err):find "raises.lua:1: boom")
      write("circle.lua", "return require 'circle2'")
      write("circle2.lua", "return require 'circle'")
      local require_ = require
      _G.require = loader.require
      ok, err = pcall(loader.require, "circle")
      _G.require = require_
      assert.is_false(ok)
      assert.truthy(tostring(err):find "requires itself")
    end))

  it("loads a module all the same when who began to is cancelled", task(function()
    write("lazy.lua", 'require "ropewalk".sleep(0.02):await() return { "lazy" }')
    local first, second = rw.spawn(loader.require, "lazy"), rw.spawn(loader.require, "lazy")
    local third = rw.spawn(loader.require, "lazy")
    first:cancel()
    assert.is_false((pcall(first.await, first)))
    assert.same({ "lazy" }, second:await())
    assert.equal(second:await(), third:await())
    package.loaded.lazy = nil
  end))

  it("says so, too, when two tasks would wait for each other's module for ever", task(function()
    write("left.lua", 'require "ropewalk".sleep(0.01):await() return { require "ropewalk.loader".require "right" }')
    write("right.lua", 'require "ropewalk".sleep(0.01):await() return { require "ropewalk.loader".require "left" }')
    local ends = rw.Deferred.list({ rw.spawn(loader.require, "left"), rw.spawn(loader.require, "right") },
      { consume_errors = true }):add_timeout(1):await()
    for _, each in ipairs(ends) do
      assert.is_false(each[1])
      assert.matches("requires itself", tostring(each[2]))
    end
  end))

  it("takes text only", function()
    local path = write("binary.lua", string.dump(function() return 1 end))
    local chunk, why = loader.load_file(path)
    assert.is_nil(chunk)
    assert.truthy(why:find "bytecode")
    assert.is_nil((loader.load(string.dump(function() end))))
    assert.is_nil((loader.load(string.dump(function() end), "x", "b")))
    assert.is_nil((loader.loadfile(path, "b")))
    assert.equal(3, loader.load("return 1 + 2")())
    assert.equal(7, loader.load("return x", "=x", "t", { x = 7 })())
  end)

  it("skips the first line of an executable script and names a missing file", function()
    local path = write("run.lua", "#!/usr/bin/ropewalk run\nreturn ...\n")
    assert.equal(5, loader.load_file(path)(5))
    assert.equal("ok", (function() write("d.lua", "return 'ok'") return loader.dofile(dir .. "/d.lua") end)())
    local chunk, why = loader.load_file(dir .. "/missing.lua")
    assert.is_nil(chunk)
    assert.truthy(why:find("cannot open " .. dir .. "/missing.lua", 1, true))
    assert.has_error(function() loader.dofile(dir .. "/missing.lua") end)
  end)
end)
