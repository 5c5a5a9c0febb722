-- SPDX-License-Identifier: MIT
-- Files that change, as Twisted's INotify tells it. A directory is watched by
-- itself; anything else by its name in the directory around it, since a file that
-- is replaced by rename would take a watch on itself away.
--
-- All of a generation share one watcher of the system (notifier.lua). An INotify
-- has a bounded queue; its callbacks run one after the other in a task of their
-- own and may wait meanwhile.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local log = require "ropewalk.log"
local notifier = require "ropewalk.notifier"
local tree = require "ropewalk.watchtree"

local ipairs, pairs, setmetatable, tostring, type, xpcall =
  ipairs, pairs, setmetatable, tostring, type, xpcall
local format, gsub, lower, match, upper = string.format, string.gsub, string.lower, string.match, string.upper
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

-- What has come to be where it was not, what is there no more, and the rest:
-- several of the rest are one event.
local APPEARED <const> = BITS.CREATE
local GONE <const> = BITS.DELETE | BITS.MOVED_FROM | BITS.DELETE_SELF | BITS.MOVE_SELF
  | BITS.UNMOUNT | BITS.IGNORED | BITS.Q_OVERFLOW
local CONTENT <const> = INotify.IN_CHANGED | INotify.IN_CLOSE | BITS.ACCESS | BITS.OPEN | BITS.ISDIR
local ALWAYS <const> = BITS.IGNORED | BITS.Q_OVERFLOW | BITS.UNMOUNT
local DELAY <const> = 0.05 -- seconds in which what comes is gathered

local logger = log.logger "inotify"

-- Masks --------------------------------------------------------------------

---The names of what a mask has in it.
---
---    rw.INotify.human_readable_mask(rw.INotify.IN_MOVED) --> { "moved_from", "moved_to" }
---@param mask integer
---@return string[]
function INotify.human_readable_mask(mask)
  local names = {}
  expect("human_readable_mask", 1, mask, "number")
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

-- The queue ----------------------------------------------------------------

local function paths_of(self)
  local list = {}
  for path in pairs(self.watches) do list[#list + 1] = path end
  sort(list)
  return list
end

local schedule

local function append(self, watch, path, mask)
  local event = { watch = watch, path = path, mask = mask }
  self.tail = self.tail + 1
  self.queue[self.tail], self.last[path] = event, event
  return event
end

-- Events were lost: one for each path that the script has named takes their place,
-- and that of all that wait but the ends of watches.
local function overflow(self)
  if self.lost then return end
  local queue, head, tail = self.queue, self.head, self.tail
  self.queue, self.last, self.head, self.tail = {}, {}, 1, 0
  for _, path in ipairs(paths_of(self)) do
    append(self, self.watches[path], path, BITS.Q_OVERFLOW)
  end
  self.lost = self.tail > 0
  for i = head, tail do
    if queue[i].mask & BITS.IGNORED ~= 0 then append(self, queue[i].watch, queue[i].path, BITS.IGNORED) end
  end
  schedule(self)
end

-- Is the new event more of the one that waits already?
local function is_more(event, watch, mask)
  if not event or event.watch ~= watch or event.mask & GONE ~= 0 then return false end
  if mask & ~CONTENT == 0 then return true end
  return mask & ~(APPEARED | CONTENT) == 0 and event.mask & APPEARED ~= 0
end

local function enqueue(self, watch, path, mask)
  local event = self.last[path]
  if self.lost then -- but that a watch has ended is told in any case
    if mask & BITS.IGNORED ~= 0 then append(self, watch, path, BITS.IGNORED) end
  elseif is_more(event, watch, mask) then
    event.mask = event.mask | mask
  elseif self.tail - self.head + 1 >= core.limits.watch_queue then
    logger:warn("events of files were lost", { limit = "watch_queue" })
    overflow(self)
  else
    append(self, watch, path, mask)
    schedule(self)
  end
end

local function take(self)
  local event = self.queue[self.head]
  self.queue[self.head] = nil
  self.head = self.head + 1
  if self.last[event.path] == event then self.last[event.path] = nil end
  if event.mask & BITS.Q_OVERFLOW ~= 0 then self.lost = false end
  return event
end

local function call(self, fn, event)
  local ok, result = xpcall(fn, Failure.caught, self, event.path, event.mask)
  if ok and Deferred.is(result) then ok, result = xpcall(result.await, Failure.caught, result) end
  if not ok then logger:failure(result, "a callback of a file watch failed", { path = event.path }) end
end

local function drain(self)
  self.timer, self.draining = nil, true
  local _ <close> = setmetatable({}, { __close = function()
    self.draining = false
    if self.head <= self.tail then schedule(self) end
  end })
  while self.head <= self.tail do
    local event = take(self)
    for _, fn in ipairs(event.watch.callbacks) do
      if event.watch.ignored then break end
      call(self, fn, event)
    end
  end
end

function schedule(self)
  if self.timer or self.draining or self.closed then return end
  self.timer = core.housekeeping(self.delay, drain, self)
end

-- What the watches of the tree tell (watchtree.lua).
function INotify:_tell(root, path, mask)
  local told = mask & (root.mask | ALWAYS)
  if told ~= 0 then enqueue(self, root, path, told | mask & BITS.ISDIR) end
end

function INotify:_overflow() overflow(self) end

-- The system lost some: what its watches are is not known, either.
function INotify:_look_again()
  overflow(self)
  for _, path in ipairs(paths_of(self)) do
    if self.watches[path] then tree.again(self.watches[path]) end
  end
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
  self.delay = argument.seconds("INotify", 1, options.delay or DELAY)
  self.watches = {} -- path → watch of it (watchtree.lua)
  self.queue, self.last, self.head, self.tail = {}, {}, 1, 0 -- last: path → the newest that waits
  self.lost, self.draining, self.closed, self.timer = false, false, false, nil
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
  elseif mask ~= nil and (type(mask) ~= "number" or mask % 1 ~= 0) then
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
  for _, path in ipairs(paths_of(self)) do
    tree.remove(self.watches[path])
  end
  self.queue, self.last, self.head, self.tail = {}, {}, 1, 0
  if self.timer then self.timer:cancel() end
  self.timer = nil
end

return INotify
