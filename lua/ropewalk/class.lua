-- SPDX-License-Identifier: MIT
-- Classes: single inheritance, nothing else.
--
-- A class is the metatable and the __index of its instances, and its own
-- metatable's __index is its parent: a method that is added to a parent while
-- the program runs is seen by every child and every live instance. Metamethods
-- are looked up raw by Lua, so those that the parent has at the time of
-- `extend` are copied.

local getmetatable, pairs, rawget, setmetatable, type =
  getmetatable, pairs, rawget, setmetatable, type
local error, tostring = error, tostring
local find = string.find

local _ENV <const> = nil

---@class ropewalk.Object
---@field init? fun(self: ropewalk.Object, ...) called with the arguments of the constructor
local Object = { __name = "Object" }
Object.__index = Object

local function construct(class, ...)
  if rawget(class, "__gc") ~= nil then -- sandbox.lua says why; there it is setmetatable
    error("finalizers (__gc) are not for scripts: class " .. class.__name .. " has one; "
      .. "use a <close> variable, or connection_lost", 2)
  end
  local self = setmetatable({}, class)
  local init = self.init
  if init then init(self, ...) end
  return self
end

local function class_name(class) return "class " .. class.__name end

-- Under a name, so that a class can be shipped to another state.
Object._construct, Object._describe = construct, class_name

setmetatable(Object, { __call = construct, __tostring = class_name })

---Makes an instance; `Class(…)` is the same.
---
---    local alice = Person:new("Alice")
---@return any instance
function Object:new(...) return construct(self, ...) end

---Makes a subclass.
---
---    local Echo = rw.Protocol:extend "Echo"
---    function Echo:data_received(bytes) self.transport:write(bytes) end
---@param name string used in messages and by tostring
---@param fields? table methods and defaults to begin with
---@return table class
function Object:extend(name, fields)
  if type(self) ~= "table" then
    error('extend: called with a dot; write Class:extend "Name"', 2)
  end
  if type(name) ~= "string" then
    error("extend: the name of the class must be a string, not " .. type(name), 2)
  end
  if rawget(self, "__index") ~= self then
    error("extend: call it on a class, not on an instance", 2)
  end
  local class = {}
  for key, value in pairs(self) do
    if type(key) == "string" and find(key, "^__") then class[key] = value end
  end
  class.__index = class
  class.__name = name
  class.super = self
  for key, value in pairs(fields or {}) do class[key] = value end
  return setmetatable(class, { __index = self, __call = construct, __tostring = class_name })
end

---Is this object (or class) of the class, or of one that descends from it?
---
---    if service:is_a(rw.MultiService) then … end
---@param class table
---@return boolean
function Object:is_a(class)
  local at = self
  if rawget(at, "__index") ~= at then at = getmetatable(self) end
  while at do
    if at == class then return true end
    at = rawget(at, "super")
  end
  return false
end

---The class's name.
---@return string
function Object:class_name() return tostring(self.__name) end

return Object
