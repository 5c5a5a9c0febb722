-- SPDX-License-Identifier: MIT
-- Files that change, as Twisted's INotify tells it. A directory is watched by
-- itself; anything else by its name in the directory around it, since a file that
-- is replaced by rename would take a watch on itself away.
--
-- All of a generation share one watcher of the system (notifier.lua); each has a
-- queue of its own (watchqueue.lua).

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Object = require "ropewalk.class"
local notifier = require "ropewalk.notifier"
local queue = require "ropewalk.watchqueue"
local tree = require "ropewalk.watchtree"

local ipairs, pairs, tostring, type = ipairs, pairs, tostring, type
local format, gsub, lower, match, upper = string.format, string.gsub, string.lower, string.match, string.upper
local tointeger = math.tointeger
local sort = table.sort
local expect, optional, refuse = argument.expect, argument.optional, argument.refuse
local BITS <const> = core.notice_bits

local _ENV <const> = nil

---@class ropewalk.INotify: ropewalk.Object
local INotify = Object:extend "INotify"

local ORDER <const> = {} -- names by their bits
for name, bit in pairs(BITS) do
  INotify["IN_" .. name] = bit
  ORDER[#ORDER + 1] = name
end
sort(ORDER, function(a, b) return BITS[a] < BITS[b] end)

INotify.IN_CLOSE = BITS.CLOSE_WRITE | BITS.CLOSE_NOWRITE
INotify.IN_MOVED = BITS.MOVED_FROM | BITS.MOVED_TO
INotify.IN_CHANGED = BITS.MODIFY | BITS.ATTRIB
INotify.IN_WATCH_MASK = INotify.IN_CHANGED | INotify.IN_MOVED | BITS.CREATE | BITS.DELETE
  | BITS.DELETE_SELF | BITS.MOVE_SELF | BITS.UNMOUNT

local ALWAYS <const> = BITS.IGNORED | BITS.Q_OVERFLOW | BITS.UNMOUNT
local DELAY <const> = 0.05 -- seconds in which what comes is gathered

-- Masks --------------------------------------------------------------------

---The names of what a mask has in it.
---
---    rw.INotify.human_readable_mask(rw.INotify.IN_MOVED) --> { "moved_from", "moved_to" }
---@param mask integer
---@return string[]
function INotify.human_readable_mask(mask)
  local names = {}
  if not tointeger(expect("human_readable_mask", 1, mask, "number")) then
    refuse("human_readable_mask", 1, "a whole number is expected")
  end
  for _, name in ipairs(ORDER) do
    if mask & BITS[name] ~= 0 then names[#names + 1] = name == "ISDIR" and "is_dir" or lower(name) end
  end
  return names
end

local function bits_of(what, n, names)
  local mask = 0
  for _, name in ipairs(names) do
    local key = type(name) == "string" and gsub(upper(name), "^IS_DIR$", "ISDIR")
    local bit = key and (BITS[key] or INotify["IN_" .. key])
    if not bit then refuse(what, n, format("there is no event '%s'", tostring(name))) end
    mask = mask | bit
  end
  return mask
end

---The mask of such names.
---
---    rw.INotify.mask_of { "create", "modify" }
---@param names string[]
---@return integer
function INotify.mask_of(names)
  return bits_of("mask_of", 1, expect("mask_of", 1, names, "table"))
end

-- For watchtree.lua, watchqueue.lua, notifier.lua --------------------------

---Its watches, by path.
function INotify:_roots()
  local list = {}
  for _, watch in pairs(self.watches) do list[#list + 1] = watch end
  sort(list, function(a, b) return a.path < b.path end)
  return list
end

function INotify:_tell(root, path, mask)
  local told = mask & (root.mask | ALWAYS)
  if told ~= 0 then self.queue:put(root, path, told | mask & BITS.ISDIR) end
end

function INotify:_overflow() self.queue:overflow() end

---The system lost some: what its watches are is not known, either.
function INotify:_look_again()
  self.queue:overflow()
  for _, watch in ipairs(self:_roots()) do tree.again(watch) end
end

-- For scripts --------------------------------------------------------------

local live = {} -- those that have not been closed

notifier.on_end(function()
  for each in pairs(live) do each:lose_connection() end
end)

---Tells what happens to files and directories. It belongs to the generation: it
---ends when newer code has taken over.
---
---    local notifier = rw.INotify()
---    notifier:watch("conf", { callbacks = { function(_, path, mask) reread(path) end } })
---@param options? { delay?: number } seconds in which events are gathered: 0.05
function INotify:init(options)
  options = optional("INotify", 1, options, "table") or {}
  self.queue = queue.new(self, argument.seconds("INotify", 1, options.delay or DELAY))
  self.watches, self.closed = {}, false -- path → watch of it (watchtree.lua)
end

local OPTIONS <const> = { mask = true, callbacks = "table", recursive = "boolean", auto_add = "boolean",
  follow = "boolean" }

local function check_options(options)
  options = optional("watch", 2, options, "table") or {}
  for name, value in pairs(options) do
    local kind = OPTIONS[name]
    if not kind then refuse("watch", 2, format("there is no option '%s'", tostring(name))) end
    if kind ~= true and type(value) ~= kind then
      refuse("watch", 2, format("%s must be a %s, not a %s", name, kind, type(value)))
    end
  end
  local mask, callbacks = options.mask, {}
  if type(mask) == "table" then mask = bits_of("watch", 2, mask)
  elseif mask ~= nil and (type(mask) ~= "number" or not tointeger(mask)) then
    refuse("watch", 2, "mask must be a whole number or a list of names")
  end
  for i, fn in ipairs(options.callbacks or {}) do callbacks[i] = argument.callable("watch", 2, fn) end
  return options, mask or INotify.IN_WATCH_MASK, callbacks
end

local function clean(path)
  path = match(path, "^(.-)/+$") or path
  return path == "" and "/" or path
end

---Watches a file, which need not be there yet, or a directory. Each callback is
---called with the INotify, the path and the mask of what happened; it may wait.
---Options: `mask`: a number or a list of names (IN_WATCH_MASK); `callbacks`;
---`recursive`: the directories in it, too; `auto_add`: those that come to be later
---(as `recursive`); `follow = false`: a link itself, not where it leads.
---
---    notifier:watch("uploads", { mask = { "close_write", "moved_to" }, recursive = true,
---      callbacks = { function(_, path) queue:put(path) end } })
---@param path string
---@param options? table
---@return true? watched
---@return ropewalk.Failure? failure
function INotify:watch(path, options)
  expect("watch", 1, path, "string")
  local mask, callbacks
  options, mask, callbacks = check_options(options)
  if path == "" then refuse("watch", 1, "a path is needed") end
  if self.closed then argument.misuse "watch: this INotify is closed" end
  path = clean(path)
  if self.watches[path] then argument.misuse(format("watch: %s is watched already", path)) end
  local recursive = options.recursive or false
  local auto_add = options.auto_add
  if auto_add == nil then auto_add = recursive end
  live[self] = true
  return tree.add(self, path, { mask = mask, callbacks = callbacks, recursive = recursive,
    auto_add = auto_add, follow = options.follow ~= false })
end

---Ends a watch, with all that it has added; false: there is none of that path.
---@param path string
---@return boolean
function INotify:ignore(path)
  local watch = tree.find(self, clean(expect("ignore", 1, path, "string")))
  if not watch then return false end
  tree.remove(watch)
  return true
end

---Is this path watched, by itself or by a recursive watch?
---@param path string
---@return boolean
function INotify:is_watched(path)
  return tree.find(self, clean(expect("is_watched", 1, path, "string"))) ~= nil
end

---Ends all its watches; events that wait are not told.
function INotify:lose_connection()
  self.closed = true
  live[self] = nil
  for _, watch in ipairs(self:_roots()) do tree.remove(watch) end
  self.queue:close()
end

return INotify
