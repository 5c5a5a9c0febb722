-- SPDX-License-Identifier: MIT
-- Arguments that a caller got wrong: the error says which one of what function in
-- the words of Lua's own library, and stands at the line of the script, however
-- deep in the library it was noticed.

local core = require "ropewalk.core"

local getmetatable, rawget, type = getmetatable, rawget, type
local format = string.format
local misuse = core.misuse

local _ENV <const> = nil

local argument = {}

local TOO_LONG <const> = 1e9 -- seconds: a timer waits for less

-- As Lua's library names types: a class by its __name.
local function name_of(value)
  local class = getmetatable(value)
  local name = type(class) == "table" and rawget(class, "__name")
  return type(name) == "string" and name or type(value)
end

---Raises: bad argument #2 to 'listen' (why).
---@param what string the function
---@param n integer which argument
---@param why string
function argument.refuse(what, n, why)
  return misuse(format("bad argument #%d to '%s' (%s)", n, what, why))
end

local refuse = argument.refuse

---The argument, if it is of that type.
---
---    local text = argument.expect("resolve", 1, host, "string")
---@param kind type
---@return any value
function argument.expect(what, n, value, kind)
  if type(value) == kind then return value end
  return refuse(what, n, format("%s expected, got %s", kind, name_of(value)))
end

---The same, but it may be nil.
function argument.optional(what, n, value, kind)
  if value == nil or type(value) == kind then return value end
  return refuse(what, n, format("%s expected, got %s", kind, name_of(value)))
end

---A function, or what can be called like one.
function argument.callable(what, n, value)
  if type(value) == "function" then return value end
  local class = getmetatable(value)
  if type(class) == "table" and rawget(class, "__call") then return value end
  return refuse(what, n, format("function expected, got %s", name_of(value)))
end

---A span of time.
function argument.seconds(what, n, value)
  argument.expect(what, n, value, "number")
  if value >= 0 and value < TOO_LONG then return value end
  return refuse(what, n, format("seconds from 0 on expected, got %g", value))
end

---An object by one of its methods: a clock has `call_later`.
function argument.object(what, n, value, method, name)
  local kind = type(value)
  if (kind == "table" or kind == "userdata") and type(value[method]) == "function" then return value end
  return refuse(what, n, format("%s expected, got %s", name, name_of(value)))
end

---What makes protocols, or a site.
function argument.factory(what, n, value)
  if type(value) == "table" and (value.build_protocol or value.http) then return value end
  return refuse(what, n, format("factory expected, got %s", name_of(value)))
end

---A protocol is asked to send before there is anybody to send to.
function argument.no_transport(what)
  return misuse(format("%s: the protocol has no connection yet", what))
end

---Something wrong that is no single argument's fault; at the script's line, too.
argument.misuse = misuse

return argument
