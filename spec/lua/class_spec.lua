-- SPDX-License-Identifier: MIT
local Object = require "ropewalk.class"

describe("a class", function()
  local Animal = Object:extend "Animal"
  function Animal:init(name) self.name = name end
  function Animal:speak() return self.name .. " is silent" end
  local Dog = Animal:extend "Dog"
  function Dog:speak() return self.name .. " barks" end

  it("makes instances by a call or by new, which run init", function()
    assert.equal("Rex barks", Dog("Rex"):speak())
    assert.equal("Rex barks", Dog:new("Rex"):speak())
  end)

  it("gives children what is added to the parent later", function()
    local rex = Dog "Rex"
    function Animal:eat() return self.name .. " eats" end
    assert.equal("Rex eats", rex:eat())
  end)

  it("knows what it is", function()
    local rex = Dog "Rex"
    assert.is_true(rex:is_a(Dog))
    assert.is_true(rex:is_a(Animal))
    assert.is_true(rex:is_a(Object))
    assert.is_true(Dog:is_a(Animal))
    assert.is_false(Animal "x":is_a(Dog))
    assert.equal("Dog", rex:class_name())
    assert.truthy(tostring(rex):find("^Dog: "))
    assert.equal("class Dog", tostring(Dog))
  end)

  it("inherits metamethods that were there when it was extended", function()
    local A = Object:extend "A"
    function A.__tostring() return "an A" end
    local B = A:extend "B"
    assert.equal("an A", tostring(B()))
  end)

  it("can be extended with a table of fields", function()
    local C = Animal:extend("C", { legs = 4 })
    assert.equal(4, C "x".legs)
    assert.equal(Animal, C.super)
  end)

  it("makes no instances that have a finalizer", function()
    local A, B = Object:extend("A", { __gc = function() end }), Object:extend "B"
    function B:__gc() end -- luacheck: ignore 212
    for _, class in ipairs { A, B, B:extend "C" } do
      assert.has_error(function() class() end)
      assert.has_error(function() class:new() end)
    end
  end)

  it("refuses to be extended without a name, or from an instance", function()
    assert.has_error(function() Animal:extend() end)
    assert.has_error(function() Animal "x":extend "Y" end)
  end)
end)
