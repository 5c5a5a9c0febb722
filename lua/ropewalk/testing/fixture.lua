-- SPDX-License-Identifier: MIT
-- What a test borrows from the world and gives back at its end: changed fields,
-- directories, files.

local core = require "ropewalk.core"
local cleanup = require "ropewalk.testing.cleanup"

local error, rawget, rawset, tostring, type = error, rawget, rawset, tostring, type
local io = io
local find, match = string.find, string.match

local _ENV <const> = nil

local fixture = {}

---Gives a field another value until the test ends.
---
---    rw.testing.patch(os, "time", function() return 0 end)
---@param object table
---@param name any
---@param value any
function fixture.patch(object, name, value)
  if type(object) ~= "table" then error("patch: a table is needed, not a " .. type(object), 2) end
  local before = rawget(object, name)
  cleanup.add(function() rawset(object, name, before) end)
  rawset(object, name, value)
end

local function need_test(what)
  if not core.test then error(what .. ": only `ropewalk test` can do this", 3) end
end

---A new, empty directory; it is removed, with all in it, when the test ends.
---
---    local dir = rw.testing.temp_dir()
---@return string path
function fixture.temp_dir()
  need_test "temp_dir"
  local path, _, why = core.test.make_dir()
  if not path then error("temp_dir: " .. why, 2) end
  cleanup.add(function()
    local ok, _, reason = core.test.remove_tree(path)
    if not ok then error(path .. ": " .. reason, 0) end
  end)
  return path
end

---A file of that text in a directory of its own; gone when the test ends.
---
---    local script = rw.testing.temp_file("return 1\n", "app.lua")
---@param text string
---@param name? string without a directory
---@return string path
function fixture.temp_file(text, name)
  need_test "temp_file"
  name = name or "file"
  if find(name, "/", 1, true) or not match(name, "[^.]") then
    error('temp_file: "' .. tostring(name) .. '" is no name of a file', 2)
  end
  local path = fixture.temp_dir() .. "/" .. name
  local file, why = io.open(path, "wb")
  if not file then error("temp_file: " .. why, 2) end
  file:write(text)
  file:close()
  return path
end

return fixture
