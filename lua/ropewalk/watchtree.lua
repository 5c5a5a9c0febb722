-- SPDX-License-Identifier: MIT
-- A watch of rw.INotify and, if it is recursive, those of the directories below:
-- they come and go as the directories do. Links below are not followed.
--
--   root: { inotify, path, mask, callbacks, recursive, auto_add, below = { path → watch } }
--   one below: { inotify, path, root }
--
-- Directories that are made and filled at once: what is in one by the time that
-- it is watched is told as created. So nothing is missed, and nothing is told
-- twice, since creations that wait are one event (watchqueue.lua).

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
local UNREACHABLE <const> = { EACCES = true, ENAMETOOLONG = true }

local logger = log.logger "inotify"

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
  if more then logger:warn("not all of a directory is watched", { path = path }) end
  return names or {}
end

-- Watches one directory. True; false: it cannot be, which is no reason to give up
-- the others; or nil and why no more can be.
local function attach_below(root, path)
  local known = root.below[path]
  local watch = setmetatable({ inotify = root.inotify, path = path, root = root }, Watch)
  local ok, failure = attach(watch, path, wishes(root) | BITS.DONT_FOLLOW)
  if known then
    if ok and known.number == watch.number then
      detach(watch)
      return true
    end
    if not ok and not NO_DIRECTORY[failure.code] then return true end -- as it is
    root.below[path] = nil -- it was removed while somebody has it open, and tells nothing of its end
    detach(known)
  end
  if ok then
    root.below[path] = watch
    return true
  end
  if NO_DIRECTORY[failure.code] then return false end
  if not UNREACHABLE[failure.code] then return nil, failure end
  logger:warn("a directory is not watched", { path = path, error = failure.message })
  return false
end

-- Watches a directory and all below; `found` is called with what is there.
local function walk(root, path, found)
  local waiting = { path }
  while #waiting > 0 and root.inotify.watches[root.path] == root do
    local at = remove(waiting)
    local ok, failure = true
    if root.name or at ~= root.path then ok, failure = attach_below(root, at) end
    if ok == nil then return nil, failure end
    for _, name in ipairs(ok and names_in(at) or {}) do
      local is_directory = sub(name, -1) == "/"
      local child = join(at, is_directory and sub(name, 1, -2) or name)
      found(child, is_directory)
      if is_directory then insert(waiting, child) end
    end
  end
  return true
end

local function incomplete(root, failure)
  logger:warn("not all directories are watched", { path = root.path, error = failure.message })
end

-- A directory has come to be in one that is watched.
local function grow(watch, path)
  local root = watch.root
  local ok, failure = walk(root, path, function(child, is_directory)
    root.inotify:_tell(root, child, BITS.CREATE | (is_directory and BITS.ISDIR or 0))
  end)
  if ok then return end
  incomplete(root, failure)
  root.inotify:_overflow()
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

local function attach_itself(root)
  return attach(root, root.path, wishes(root) | (root.follow and 0 or BITS.DONT_FOLLOW))
end

local function attach_by_name(root)
  local parent, name = match(root.path, "^(.*)/([^/]+)$")
  root.name = name or root.path
  return attach(root, not parent and "." or parent == "" and "/" or parent, wishes(root))
end

local function nothing() end

---Begins a watch.
---@param root table its settings; becomes the watch
---@return true? watched
---@return ropewalk.Failure? failure
function tree.add(inotify, path, root)
  root.inotify, root.path, root.root, root.below = inotify, path, root, {}
  setmetatable(root, Watch)
  local ok, failure = attach_itself(root)
  if not ok and NO_DIRECTORY[failure.code] then ok, failure = attach_by_name(root) end
  if not ok then return nil, failure end
  inotify.watches[path] = root
  if root.recursive and not root.name then ok, failure = walk(root, path, nothing) end
  if ok then return true end
  tree.remove(root)
  return nil, failure
end

---Some events never came, so directories may have come, gone and been renamed.
function tree.again(root)
  if root.inotify.watches[root.path] ~= root then return nil end -- it was ended meanwhile
  local paths = {}
  for path in pairs(root.below) do insert(paths, path) end
  prune(root, root.path)
  detach(root)
  local ok, failure = (root.name and attach_by_name or attach_itself)(root)
  if not ok then return ended(root) end
  if root.recursive and root.auto_add then
    ok, failure = walk(root, root.path, nothing)
  else -- which were not watched stay so
    for _, path in ipairs(paths) do
      ok, failure = attach_below(root, path)
      if ok == nil then break end
    end
  end
  if ok == nil then incomplete(root, failure) end
  return nil
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
