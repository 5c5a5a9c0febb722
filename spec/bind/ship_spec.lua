-- SPDX-License-Identifier: MIT
local rw = require "ropewalk"
local core = require "ropewalk.core"

local format = string.format

-- As if to another state: packed, and made anew from the bytes.
local function copy(...) return core.unship(core.ship(...)) end

local function refusal(...)
  local ok, why = pcall(core.ship, ...)
  assert.is_false(ok)
  return (why:gsub("^[^ ]+:%d+: ", ""))
end

describe("shipping plain data", function()
  it("keeps every kind of it", function()
    local values = { 1, -1, math.maxinteger, math.mininteger, 1.5, -0.0, math.huge, true,
      false, "", "a\0b\r\n", ("x"):rep(70000), { a = { b = { 1, 2, 3 } } }, [2.5] = "k" }
    assert.same(values, (copy(values)))
    assert.equal("float", math.type((copy(2.0))))
    assert.equal("integer", math.type((copy(2))))
    local nan = copy(0 / 0)
    assert.truthy(nan ~= nan)
  end)

  it("keeps the number of values, with nils among them", function()
    assert.same({ n = 4, 1, nil, 3, nil }, table.pack(copy(1, nil, 3, nil)))
    assert.equal(0, select("#", copy()))
  end)

  it("keeps cycles, and what is the same stays the same", function()
    local shared = { 1 }
    local t = { a = shared, b = shared }
    t.self = t
    t[shared] = "as a key"
    local c, again = copy(t, shared)
    assert.equal(c, c.self)
    assert.equal(c.a, c.b)
    assert.equal(c.a, again)
    assert.equal("as a key", c[c.a])
    assert.not_equal(t, c)
  end)

  it("takes metatables along", function()
    local Point = {}
    Point.__index = Point
    function Point.__add(a, b) return setmetatable({ x = a.x + b.x }, Point) end
    local p, q = copy(setmetatable({ x = 1 }, Point), setmetatable({ x = 2 }, Point))
    assert.equal(3, (p + q).x)
    assert.equal(getmetatable(p), getmetatable(q))
  end)
end)

describe("shipping a function", function()
  it("takes its upvalues along as they are", function()
    local n, list = 40, { 1, 1 }
    local function sum() return n + #list end
    local f = copy(sum)
    n = 0
    assert.equal(42, f())
    assert.not_equal(sum, f)
  end)

  it("passes arguments and results as ever", function()
    local f = copy(function(...) return select("#", ...), ... end)
    assert.same({ n = 4, 3, 1, nil, 3 }, table.pack(f(1, nil, 3)))
  end)

  it("keeps an upvalue shared that functions share", function()
    local n = 0
    local function up() n = n + 1 return n end
    local function get() return n end
    local up2, get2 = copy(up, get)
    up2()
    up2()
    assert.equal(2, get2())
    assert.equal(0, get())
  end)

  it("keeps functions that call each other, and themselves", function()
    local odd
    local function even(n) return n == 0 or odd(n - 1) end
    function odd(n) return n ~= 0 and even(n - 1) end
    local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
    local e, f = copy(even, fib)
    assert.is_true(e(10))
    assert.is_false(e(7))
    assert.equal(55, f(10))
  end)

  it("finds the global table and the standard library there", function()
    local globals, open, stdout = _G, io.open, io.stdout
    local f = copy(function() return globals, format, open, stdout, print end)
    local g, b, c, d, e = f()
    assert.equal(_G, g)
    assert.equal(string.format, b)
    assert.equal(io.open, c)
    assert.equal(io.stdout, d)
    assert.equal(print, e)
  end)

  it("finds modules by name, and what they hold", function()
    local mime = { lookup = function() end }
    package.loaded["spec.ship_module"] = mime
    finally(function() package.loaded["spec.ship_module"] = nil end)
    local lookup, sleep, null = mime.lookup, rw.sleep, core.null
    local a, b, c, d, e = copy(function() return rw, mime, lookup, sleep, null end)()
    assert.equal(rw, a)
    assert.equal(mime, b)
    assert.equal(lookup, c)
    assert.equal(sleep, d)
    assert.equal(core.null, e)
  end)

  it("requires a module that is not loaded there", function()
    local before = require "ropewalk.lock"
    local bytes = core.ship(function() return before.DeferredLock end)
    package.loaded["ropewalk.lock"] = nil
    local lock = core.unship(bytes)()
    assert.not_equal(before.DeferredLock, lock)
    assert.equal(require "ropewalk.lock".DeferredLock, lock)
  end)

  it("takes a class along; its ancestor in the library is found there", function()
    local Echo = rw.Protocol:extend "Echo"
    function Echo:twice(n) return n * 2, self end -- luacheck: ignore 212
    local class = copy(function() return Echo end)()
    assert.not_equal(Echo, class)
    local echo = class()
    assert.equal(4, (echo:twice(2)))
    assert.is_true(echo:is_a(rw.Protocol))
    assert.equal("class Echo", tostring(class))
  end)

  it("keeps file and line for errors", function()
    local line = debug.getinfo(1, "l").currentline + 1
    local f = copy(function() error "oops" end)
    local ok, why = xpcall(f, debug.traceback)
    assert.is_false(ok)
    assert.truthy(why:find("ship_spec.lua:" .. line .. ": oops", 1, true))
    assert.truthy(why:find("ship_spec.lua:" .. line .. ": in", 1, true))
  end)
end)

describe("shipping refuses", function()
  it("what belongs to its state, by the upvalue's name", function()
    local conn = core.router()
    local co = coroutine.create(function() end)
    local next_word = ("a b"):gmatch "%a"
    local file = io.tmpfile()
    finally(function() file:close() end)
    assert.equal("upvalue 'conn' is a userdata", refusal(function() return conn end))
    assert.equal("upvalue 'co' is a coroutine", refusal(function() return co end))
    assert.equal("upvalue 'file' is a userdata", refusal(function() return file end))
    assert.equal("upvalue 'next_word' is a C function that no module holds",
      refusal(function() return next_word end))
  end)

  it("with the way to it", function()
    local state = { users = { { socket = core.router() } } }
    local function helper() return state end
    assert.equal(
      "upvalue 'helper': upvalue 'state': field 'users': field '1': field 'socket' is a userdata",
      refusal(function() return helper() end))
    assert.equal("argument 2: field 'x' is a userdata",
      refusal(print, 1, { x = core.router() }))
    local deep = core.router()
    for _ = 1, 50 do deep = { inner = deep } end
    local why = refusal(function() return deep end)
    assert.truthy(why:find "^upvalue 'deep': ")
    assert.truthy(why:find "field 'inner' is a userdata$")
  end)

  it("finalizers", function()
    local object = setmetatable({}, { __gc = function() end })
    assert.truthy(refusal(function() return object end):find "finalizer")
  end)

  it("what is too deep or too much", function()
    local deep = {}
    for _ = 1, 1000 do deep = { deep } end
    assert.truthy(refusal(deep):find "nested more than 128 deep")
    local large = ("x"):rep(1 << 20)
    local many = {}
    for i = 1, 20 do many[i] = large end
    assert.truthy(refusal(many):find "more than 16777216 bytes")
  end)

  it("without harm: the next one goes", function()
    pcall(core.ship, core.router())
    assert.equal(1, (copy(1)))
  end)
end)
