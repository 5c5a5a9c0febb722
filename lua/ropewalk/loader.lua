-- SPDX-License-Identifier: MIT
-- Our own `require`, `dofile`, `loadfile` and `load`. They are written in Lua,
-- so that a module's body may wait and can be preempted; they take text only
-- (bytecode can crash the process); they look beside the script first; and
-- each file is noted as part of the script, for --watch and the reload.

local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"

local error, ipairs, load, pcall, select, type, xpcall =
  error, ipairs, load, pcall, select, type, xpcall
local caught = require "ropewalk.failure".caught
local open, stdin = io.open, io.stdin
local package = package
local searchpath = package.searchpath
local byte, find, format, gsub, match =
  string.byte, string.find, string.format, string.gsub, string.match
local concat = table.concat
local G = _G

local _ENV <const> = nil

local loader = {
  script_dir = ".", -- of the running script
}

local BYTECODE <const> = 27 -- the first byte of it, "\27Lua"

---Reads a Lua file as text: the chunk, or nil and why not.
---@param path string
---@param env? table
---@return function? chunk
---@return string? message
function loader.load_file(path, env)
  local file, why = open(path, "rb")
  if not file then return nil, "cannot open " .. why end -- it begins with the path
  local text = file:read "a"
  file:close()
  if not text then return nil, format("cannot read %s: is it a directory?", path) end
  core.source(path)
  if byte(text) == 35 then text = gsub(text, "^#[^\n]*", "--", 1) end -- "#!…"
  if byte(text) == BYTECODE then
    return nil, format("%s holds bytecode; only Lua text is loaded", path)
  end
  return load(text, "@" .. path, "t", env or G)
end

-- require ------------------------------------------------------------------

local loading = {} -- name → { task, waiting }
local waits_for = {} -- task → the one of these that it waits for

-- Asks package.searchers, where C has put the one for the library inside the
-- binary: a function and its extra value, or nil.
local function ask_searchers(name, tried)
  for i, searcher in ipairs(package.searchers) do
    local found, extra = searcher(name)
    if type(found) == "function" then return found, extra end
    if type(found) == "string" and i ~= 2 then tried[#tried + 1] = gsub(found, "^%s+", "") end
  end
  return nil
end

local function search_path(name, tried)
  local path = format("%s/?.lua;%s/?/init.lua;%s", loader.script_dir, loader.script_dir,
    package.path)
  local found, why = searchpath(name, path)
  if not found then
    tried[#tried + 1] = gsub(why, "^%s+", "")
    return nil
  end
  local chunk, message = loader.load_file(found)
  if not chunk then error(format("error loading module '%s':\n\t%s", name, message), 0) end
  return chunk, found
end

-- The loader function and its extra value, or nil and where we looked.
local function find_module(name)
  local found, extra = package.preload[name], ":preload:"
  local tried = {}
  if not found and not find(name, "^ropewalk%f[%z.]") then
    found, extra = search_path(name, tried)
  end
  if not found then found, extra = ask_searchers(name, tried) end
  if found then return found, extra end
  return nil, concat(tried, "\n\t")
end

-- Does whoever loads it wait for this task, maybe by way of others?
local function leads_back(under_way, task)
  while under_way do
    if under_way.task == task then return true end
    under_way = waits_for[under_way.task]
  end
  return false
end

local function wait_for(under_way, task)
  local d = Deferred.new()
  under_way[#under_way + 1] = d
  waits_for[task] = under_way
  local ok, why = pcall(d.await, d)
  waits_for[task] = nil
  if not ok then error(why, 0) end
end

local function circle(name)
  return format("module '%s' requires itself, maybe by way of another one", name)
end

---Loads a module once; the body may wait. Two tasks which need the same one at
---the same time get the same one.
---@param name string
---@return any module
---@return any extra
function loader.require(name)
  if type(name) ~= "string" then
    error("require: the name must be a string, not " .. type(name), 2)
  end
  local loaded = package.loaded
  if loaded[name] ~= nil then return loaded[name] end
  local under_way = loading[name]
  if under_way then
    local task = core.task()
    if not task or leads_back(under_way, task) then error(circle(name), 2) end
    wait_for(under_way, task)
    return loader.require(name) -- it is there, or who loaded it has given up
  end
  local run, extra = find_module(name)
  if not run then error(format("module '%s' not found:\n\t%s", name, extra), 2) end
  under_way = { task = core.task() }
  loading[name] = under_way
  local ok, value = xpcall(run, caught, name, extra)
  loading[name] = nil
  if ok then
    if value ~= nil then loaded[name] = value end
    if loaded[name] == nil then loaded[name] = true end
  end
  local over = ok or value.code == "cancelled" -- its connection was lost, not theirs
  for _, d in ipairs(under_way) do
    if over then d:callback() else d:errback(value) end
  end
  if not ok then error(value, 0) end
  return loaded[name], extra
end

-- The other doors ----------------------------------------------------------

---As Lua's, but text only.
function loader.load(chunk, name, _, ...)
  if type(chunk) == "function" then -- called here, where it can be interrupted
    local pieces, piece = {}, chunk()
    while piece ~= nil and piece ~= "" do
      if type(piece) ~= "string" then return nil, "reader function must return a string" end
      pieces[#pieces + 1], piece = piece, chunk()
    end
    chunk, name = concat(pieces), name or "=(load)"
  end
  return load(chunk, name, "t", ...)
end

---As Lua's, but text only.
function loader.loadfile(path, _, ...)
  if path == nil then return load(stdin:read "a", "=stdin", "t", ...) end
  local env = ...
  return loader.load_file(path, select("#", ...) > 0 and env or nil)
end

---As Lua's, but text only; a relative path counts from the working directory.
function loader.dofile(path)
  local chunk, why = loader.loadfile(path)
  if not chunk then error(why, 0) end
  return chunk()
end

---The directory of a path.
---@param path string
---@return string
function loader.directory(path)
  local directory = match(path, "^(.*)/[^/]*$")
  if not directory then return "." end
  return directory == "" and "/" or directory
end

---Says which script runs: its directory is searched first.
---@param path string
function loader.set_script(path)
  loader.script = path
  loader.script_dir = loader.directory(path)
end

return loader
