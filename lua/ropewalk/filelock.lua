-- SPDX-License-Identifier: MIT
-- A lock among processes, by a file. The system holds it (flock), so that it ends
-- with its process, however that dies: there are no stale ones to break. The file
-- itself stays. Within a process those that wait have it in turn.

local DeferredLock = require "ropewalk.lock".DeferredLock
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local argument = require "ropewalk.argument"
local async = require "ropewalk.async"
local core = require "ropewalk.core"

local error, setmetatable = error, setmetatable
local match = string.match

local _ENV <const> = nil

local LOOK_EVERY <const> = 0.05 -- seconds: the system has no queue that one could wait in

-- Lock → true: who has taken one and forgets the object has it all the same.
local held = {} -- luacheck: ignore 241

---@class ropewalk.DeferredFilesystemLock
---@field path string
local Lock = Object:extend "DeferredFilesystemLock"

---    local lock = rw.DeferredFilesystemLock "/run/site/rebuild.lock"
---    lock:defer_until_locked(10):await()
---    …
---    lock:unlock()
---@param path string of a file, which is made if it is not there
function Lock:init(path)
  argument.expect("DeferredFilesystemLock", 1, path, "string")
  if not match(path, "[^/]$") then
    argument.refuse("DeferredFilesystemLock", 1, "the path of a file is needed")
  end
  self.path, self.turn, self.file = path, DeferredLock(), nil
end

-- true; false: somebody has it; nil and a Failure.
local function take(lock)
  local parent, name = match(lock.path, "^(.*)/([^/]+)$")
  local dir, code, message = core.dir(not parent and "." or parent == "" and "/" or parent)
  if not dir then return nil, Failure.new(code, lock.path .. ": " .. message) end
  local file
  file, code, message = dir:lock(name or lock.path)
  dir:close()
  if file then
    lock.file = file
    held[lock] = true
    return true
  end
  if code == "EAGAIN" then return false end
  return nil, Failure.new(code, lock.path .. ": " .. message)
end

---Takes it if nobody has it.
---@return boolean? taken nil: the file cannot be used
---@return ropewalk.Failure? failure
function Lock:lock()
  if self.turn:is_locked() then return false end
  self.turn:acquire()
  local taken, failure = take(self)
  if not taken then self.turn:release() end
  return taken, failure
end

---Fires with the lock once it is ours. Who gives up waiting cancels.
---@param timeout? number seconds
---@return ropewalk.Deferred
function Lock:defer_until_locked(timeout)
  if timeout ~= nil then argument.seconds("defer_until_locked", 1, timeout) end
  local waits = async.spawn(function()
    self.turn:acquire():await()
    local taken, failure
    local _ <close> = setmetatable({}, { __close = function()
      if not taken then self.turn:release() end
    end })
    taken, failure = take(self)
    while taken == false do
      async.sleep(LOOK_EVERY):await()
      taken, failure = take(self)
    end
    if failure then error(failure, 0) end
    return self
  end)
  if timeout then waits:add_timeout(timeout) end
  return waits
end

---Gives it back.
function Lock:unlock()
  if not self.file then error("unlock: it is not held", 2) end
  self.file:close()
  self.file = nil
  held[self] = nil
  self.turn:release()
end

---Is it held by this object?
---@return boolean
function Lock:is_locked() return self.file ~= nil end

---Runs a function in a task of its own while holding it.
---
---    lock:run(rebuild):await()
---@param fn function
---@return ropewalk.Deferred of what the function returns
function Lock:run(fn, ...)
  return async.spawn(function(...)
    self:defer_until_locked():await()
    local _ <close> = setmetatable({}, { __close = function() self:unlock() end })
    return async.spawn(fn, ...):await()
  end, ...)
end

return Lock
