-- SPDX-License-Identifier: MIT
-- Paths below a directory. A FilePath that was made from a name or a path of a
-- stranger's stays beneath the one it was made from: as text, since ".." and the
-- like are refused; and when it is used (beneath.lua).

local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local beneath = require "ropewalk.beneath"

local ipairs, setmetatable, type = ipairs, setmetatable, type
local find, format, gmatch, match, sub = string.find, string.format, string.gmatch, string.match, string.sub
local concat, sort = table.concat, table.sort
local expect = argument.expect
local around, failed, open = beneath.around, beneath.failed, beneath.open

local _ENV <const> = nil

---@class ropewalk.FilePath: ropewalk.Object
---@field path string
local FilePath = Object:extend "FilePath"

local MOST_BYTES <const> = 64 << 20
local MOST_NAMES <const> = 200000

---A path that is trusted: all made from it stay beneath it.
---
---    local uploads = rw.FilePath "/srv/uploads"
---    local path, failure = uploads:child(request.params.name)
---@param path string
function FilePath:init(path)
  expect("FilePath", 1, path, "string")
  if path == "" or find(path, "\0", 1, true) then argument.refuse("FilePath", 1, "a path is needed") end
  path = match(path, "^(.-)/+$") or path
  self.base, self.inside = path == "" and "/" or path, ""
  self.path = self.base
end

local function join(path, name) return (path == "/" and path or path .. "/") .. name end

local function made_from(self, inside)
  local made = setmetatable({ base = self.base, inside = inside }, FilePath)
  made.path = inside == "" and self.base or join(self.base, inside)
  return made
end

local function insecure(self, path)
  return nil, Failure.new("insecure_path", format("%q leads out of %s", path, self.path))
end

-- Paths --------------------------------------------------------------------

---What has this name in it; `nil, failure` (insecure_path) for what is no plain name: "..",
---"a/b", "".
---@param name string
---@return ropewalk.FilePath? path
---@return ropewalk.Failure? failure
function FilePath:child(name)
  expect("child", 1, name, "string")
  if name == "" or name == "." or name == ".." or find(name, "[/\0]") then return insecure(self, name) end
  return made_from(self, self.inside == "" and name or join(self.inside, name))
end

---The same for a path with slashes, which may not begin with one nor have ".." in it.
---
---    local file = site:preauth_child(request.params.rest)
---@param path string
---@return ropewalk.FilePath? path
---@return ropewalk.Failure? failure
function FilePath:preauth_child(path)
  expect("preauth_child", 1, path, "string")
  if sub(path, 1, 1) == "/" then return insecure(self, path) end
  local at = self
  for name in gmatch(path, "[^/]+") do
    if name ~= "." then
      local child = at:child(name)
      if not child then return insecure(self, path) end
      at = child
    end
  end
  return at
end

---The child of the child of …
---@param names string[]
---@return ropewalk.FilePath? path
---@return ropewalk.Failure? failure
function FilePath:descendant(names)
  local at, failure = self
  for _, name in ipairs(expect("descendant", 1, names, "table")) do
    if type(name) ~= "string" then argument.refuse("descendant", 1, "names are expected") end
    at, failure = at:child(name)
    if not at then return nil, failure end
  end
  return at
end

---The directory that it is in; nil: that is outside.
---@return ropewalk.FilePath?
function FilePath:parent()
  if self.inside == "" then return nil end
  return made_from(self, match(self.inside, "^(.*)/") or "")
end

---What has this name beside it; as child.
---@param name string
---@return ropewalk.FilePath? path
---@return ropewalk.Failure? failure
function FilePath:sibling(name)
  expect("sibling", 1, name, "string")
  local parent = self:parent()
  if not parent then return insecure(self, "../" .. name) end
  return parent:child(name)
end

---@return string
function FilePath:basename() return match(self.path, "[^/]+$") or "/" end

---The path without its extension, and that: "/a/b.tar", ".gz".
---@return string path
---@return string extension
function FilePath:splitext()
  local path, extension = match(self.path, "^(.*[^/])(%.[^./]*)$")
  return path or self.path, extension or ""
end

function FilePath:__tostring() return self.path end
function FilePath.__eq(a, b) return a.path == b.path and a.base == b.base end

-- What is there ------------------------------------------------------------

local function ask(self, field)
  local file = open(self, "stat")
  if not file then return nil end
  local value = file[field]
  file:close()
  return value
end

---Is there a file or a directory that can be read?
---@return boolean
function FilePath:exists() return ask(self, "size") ~= nil end

---@return boolean
function FilePath:is_dir() return ask(self, "is_directory") == true end

---@return boolean
function FilePath:is_file() return ask(self, "is_regular") == true end

---@return integer? bytes nil: it is not there
function FilePath:get_size() return ask(self, "size") end

---@return integer? seconds since 1970; nil: it is not there
function FilePath:get_modification_time() return ask(self, "mtime") end

---All that is in it.
---
---    local text, failure = path:get_content()
---@param max? integer bytes: 64 MiB
---@return string? bytes
---@return ropewalk.Failure? failure
function FilePath:get_content(max)
  max = argument.optional("get_content", 1, max, "number") or MOST_BYTES
  local file, failure = open(self, "read")
  if not file then return nil, failure end
  local _ <close> = file
  if file.is_directory then return failed(self, "read", "EISDIR", "it is a directory") end
  if file.size > max then return failed(self, "read", "EFBIG", "it is too large") end
  local parts, at = {}, 0
  while at <= max do
    local bytes, code, why = file:read(at, 1 << 20)
    if not bytes then return failed(self, "read", code, why) end
    if bytes == "" then return concat(parts) end
    parts[#parts + 1], at = bytes, at + #bytes
  end
  return failed(self, "read", "EFBIG", "it is too large")
end

---Replaces it, whole or not at all; only this user may read it, unless `for_all`.
---@param bytes string
---@param for_all? boolean
---@return true? done
---@return ropewalk.Failure? failure
function FilePath:set_content(bytes, for_all)
  expect("set_content", 1, bytes, "string")
  local dir, name = around(self, "write")
  if not dir then return nil, name end
  local ok, code, why = dir:write(name, bytes, false, for_all == true)
  dir:close()
  if not ok then return failed(self, "write", code, why) end
  return true
end

---Makes the directory and those around it that are not there yet; only this user may use it,
---unless `for_all`.
---@param for_all? boolean
---@return true? done also if it was there
---@return ropewalk.Failure? failure
function FilePath:make_dirs(for_all)
  local parent = self:parent()
  if self:is_dir() then return true end
  if parent then
    local ok, failure = parent:make_dirs(for_all)
    if not ok then return nil, failure end
  end
  local dir, name = around(self, "make")
  if not dir then return nil, name end
  local ok, code, why = dir:make(name, for_all == true)
  dir:close()
  if ok then return true end
  if code ~= "EEXIST" then return failed(self, "make", code, why) end
  local there, failure = open(self, "make") -- somebody was faster, or it is something else
  if not there then return nil, failure end
  local _ <close> = there
  if there.is_directory then return true end
  return failed(self, "make", code, why)
end

---Removes a file.
---@return true? done
---@return ropewalk.Failure? failure
function FilePath:remove()
  local dir, name = around(self, "remove")
  if not dir then return nil, name end
  local ok, code, why = dir:remove(name)
  dir:close()
  if not ok then return failed(self, "remove", code, why) end
  return true
end

---The names in it, sorted.
---@return string[]? names
---@return ropewalk.Failure? failure
function FilePath:list_dir()
  local file, failure = open(self, "list")
  if not file then return nil, failure end
  local _ <close> = file
  if not file.is_directory then return failed(self, "list", "ENOTDIR", "it is no directory") end
  local names, more, why = file:names(MOST_NAMES)
  if not names then return failed(self, "list", more, why) end
  if more then return failed(self, "list", "limit", format("there are more than %d names in it", MOST_NAMES)) end
  for i, name in ipairs(names) do names[i] = match(name, "^(.-)/?$") end
  sort(names)
  return names
end

---What is in it, by name.
---
---    for _, path in ipairs(uploads:children()) do print(path:basename(), path:get_size()) end
---@return ropewalk.FilePath[]? paths
---@return ropewalk.Failure? failure
function FilePath:children()
  local names, failure = self:list_dir()
  if not names then return nil, failure end
  local list = {}
  for i, name in ipairs(names) do list[i] = self:child(name) end
  return list
end

return FilePath
