-- SPDX-License-Identifier: MIT
-- A watch of rw.INotify and, if it is recursive, those of the directories below:
-- they come and go as the directories do. Links below are not followed.
--
--   root: { inotify, path, mask, callbacks, recursive, auto_add, below = { path → watch } }
--   one below: { inotify, path, root }
--
-- Directories that are made and filled at once: what is in one by the time that
-- it is watched is told as created. So nothing is missed, and nothing is told
-- twice, since creations that wait are one event (inotify.lua).

local core = require "ropewalk.core"
local log = require "ropewalk.log"
local notifier = require "ropewalk.notifier"

local ipairs, pairs, setmetatable = ipairs, pairs, setmetatable
local find, match, sub = string.find, string.match, string.sub
local insert, remove = table.insert, table.remove
local attach, detach = notifier.attach, notifier.detach
local BITS <const> = core.notice_bits

local _ENV <const> = nil

local tree = {}

local Watch = { __name = "Watch" }
Watch.__index = Watch

local MOST_NAMES <const> = 200000 -- of one directory
local STRUCTURE <const> = BITS.CREATE | BITS.MOVED_FROM | BITS.MOVED_TO | BITS.DELETE_SELF
  | BITS.MOVE_SELF
local WISHES <const> = STRUCTURE | BITS.ACCESS | BITS.MODIFY | BITS.ATTRIB | BITS.CLOSE_WRITE
  | BITS.CLOSE_NOWRITE | BITS.OPEN | BITS.DELETE
local SELF <const> = BITS.DELETE_SELF | BITS.MOVE_SELF | BITS.UNMOUNT
local NO_DIRECTORY <const> = { ENOENT = true, ENOTDIR = true, ELOOP = true }

local function join(path, name) return (path == "/" and path or path .. "/") .. name end

local function wishes(root) return root.mask & WISHES | STRUCTURE | BITS.ONLYDIR end

-- Directories below --------------------------------------------------------

local function names_in(path)
  local dir = core.dir(path)
  local file = dir and dir:open "."
  if not file then return {} end -- it is gone again
  local names, more = file:names(MOST_NAMES)
  file:close()
  dir:close()
  return names or {}, more
end

-- Watches a directory and all below; `found` is called with what is there.
local function walk(root, path, found)
  local waiting = { path }
  while #waiting > 0 do
    local at = remove(waiting)
    local watch = setmetatable({ inotify = root.inotify, path = at, root = root }, Watch)
    local ok, failure = true
    if (root.name or at ~= root.path) and not root.below[at] then
      ok, failure = attach(watch, at, wishes(root) | BITS.DONT_FOLLOW)
      if ok then root.below[at] = watch
      elseif not NO_DIRECTORY[failure.code] then return nil, failure end
    end
    local names, more = {}, false
    if ok then names, more = names_in(at) end
    if more then log.logger "inotify":warn("not all of a directory is watched", { path = at }) end
    for _, name in ipairs(names) do
      local is_directory = sub(name, -1) == "/"
      local child = join(at, is_directory and sub(name, 1, -2) or name)
      found(child, is_directory)
      if is_directory then insert(waiting, child) end
    end
  end
  return true
end

-- A directory has come to be in one that is watched.
local function grow(watch, path)
  local root = watch.root
  local ok = walk(root, path, function(child, is_directory)
    root.inotify:_tell(root, child, BITS.CREATE | (is_directory and BITS.ISDIR or 0))
  end)
  if not ok then root.inotify:_overflow() end
end

local function prune(root, path)
  for at, watch in pairs(root.below) do
    if at == path or find(at, join(path, ""), 1, true) == 1 then
      root.below[at] = nil
      detach(watch)
    end
  end
end

-- What happens -------------------------------------------------------------

-- It is over, not by the script's wish, which is told.
local function ended(root)
  root.inotify:_tell(root, root.path, BITS.IGNORED)
  root.inotify.watches[root.path] = nil
  prune(root, root.path)
end

-- The path that it is about; nil: nothing to be told.
local function path_of(watch, what, name)
  if watch.name then -- something in a directory: it may be what is gone
    return (name == watch.name or (name == "" and what & SELF ~= 0)) and watch.path or nil
  end
  if name ~= "" then return join(watch.path, name) end
  return watch.root == watch and watch.path or nil -- else the directory around it tells
end

---What the system tells.
function Watch:notice(what, name)
  local root = self.root
  if what & BITS.IGNORED ~= 0 then
    self.number = nil
    if self == root then return ended(root) end
    if root.below[self.path] == self then root.below[self.path] = nil end
    return nil
  end
  local path = path_of(self, what, name)
  if not path then return nil end
  root.inotify:_tell(root, path, what)
  if name == "" then
    if what & BITS.MOVE_SELF == 0 then return nil end
    detach(self) -- it has another path now
    return ended(root)
  end
  if what & BITS.ISDIR == 0 then return nil end
  if what & BITS.MOVED_FROM ~= 0 then prune(root, path) end
  if root.auto_add and what & (BITS.CREATE | BITS.MOVED_TO) ~= 0 then grow(self, path) end
  return nil
end

-- For inotify.lua ----------------------------------------------------------

---Begins a watch.
---@param root table its settings; becomes the watch
---@return true? watched
---@return ropewalk.Failure? failure
function tree.add(inotify, path, root)
  root.inotify, root.path, root.root, root.below = inotify, path, root, {}
  setmetatable(root, Watch)
  local ok, failure = attach(root, path, wishes(root) | (root.follow and 0 or BITS.DONT_FOLLOW))
  if not ok and NO_DIRECTORY[failure.code] then
    local parent, name = match(path, "^(.*)/([^/]+)$")
    root.name = name or path
    ok, failure = attach(root, not parent and "." or parent == "" and "/" or parent, wishes(root))
  end
  if not ok then return nil, failure end
  if root.recursive and not root.name then ok, failure = walk(root, path, function() end) end
  if ok then
    inotify.watches[path] = root
    return true
  end
  prune(root, path)
  detach(root)
  return nil, failure
end

---Ends it; for one of those below: it and what is below that.
function tree.remove(watch)
  local root = watch.root
  if watch ~= root then return prune(root, watch.path) end
  root.ignored = true
  root.inotify.watches[root.path] = nil
  prune(root, root.path)
  return detach(root)
end

---The watch of a path: one that was named, or one below.
---@return table?
function tree.find(inotify, path)
  local watch = inotify.watches[path]
  if watch then return watch end
  for _, root in pairs(inotify.watches) do
    if root.below[path] then return root.below[path] end
  end
  return nil
end

return tree
