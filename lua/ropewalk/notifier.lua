-- SPDX-License-Identifier: MIT
-- The system's watcher of files, one for all watches of a generation: the system
-- gives a user only some hundred of them. Several watches of one directory share
-- a number there, and each is told what any of them wants to know.
--
-- It is there while something is watched, and ends with its generation.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"
local reactor = require "ropewalk.reactor"

local ipairs, next, pairs, setmetatable = ipairs, next, pairs, setmetatable
local format = string.format
local insert, remove, unpack = table.insert, table.remove, table.unpack
local BITS <const> = core.notice_bits

local _ENV <const> = nil

local notifier = {}

local kernel       -- nil: nothing is watched
local watches = {} -- number → list of watches
local count = 0

local function forget(number)
  watches[number] = nil
  count = count - 1
end

local function close_unused()
  if count > 0 or not kernel then return end
  kernel:close()
  kernel = nil
end

local function for_each_inotify(fn)
  local all = {}
  for _, list in pairs(watches) do
    for _, watch in ipairs(list) do all[watch.inotify] = true end
  end
  for inotify in next, all do fn(inotify) end
end

-- The system has lost some, of whom is not known.
local function tell_overflow()
  log.logger "inotify":warn("events of files were lost", { limit = "fs.inotify.max_queued_events" })
  for_each_inotify(function(inotify) inotify:_look_again() end)
end

local function tell(number, what, name)
  local list = watches[number]
  if not list then return end -- it was given up when this was on its way
  if what & BITS.IGNORED ~= 0 then forget(number) end
  for _, watch in ipairs { unpack(list) } do
    if watch.number == number then watch:notice(what, name) end
  end
end

local function tell_all(notices, mine)
  for i = 1, #notices, 4 do
    if kernel ~= mine then return end
    local number, what = notices[i], notices[i + 1]
    if what & BITS.Q_OVERFLOW ~= 0 then tell_overflow() else tell(number, what, notices[i + 3]) end
  end
end

local function open()
  local mine, code, why
  mine, code, why = core.notifier(function(notices)
    local all_told = false
    local _ <close> = setmetatable({}, { __close = function() -- memory, budget: the rest is lost
      if not all_told then for_each_inotify(function(inotify) inotify:_overflow() end) end
    end })
    tell_all(notices, mine)
    all_told = true
    close_unused()
  end)
  return mine, code, why
end

local function refuse(path, code, why)
  close_unused()
  if code == "ENOSPC" or code == "EMFILE" then
    why = format("the system allows no more watches (fs.inotify.max_user_%s)",
      code == "ENOSPC" and "watches" or "instances")
  end
  return nil, Failure.new(code, path .. ": " .. why, "watch")
end

---Has `watch:notice(what, name)` called with what happens in a directory.
---@param path string
---@param what integer bits of core.notice_bits
---@return true? attached
---@return ropewalk.Failure? failure
function notifier.attach(watch, path, what)
  if count >= core.limits.max_watches then
    log.logger "inotify":warn("too many directories are watched", { limit = "max_watches" })
    return refuse(path, "limit", "too many directories are watched (limit max_watches)")
  end
  local number, code, why
  if not kernel then
    kernel, code, why = open()
    if not kernel then return refuse(path, code, why) end
  end
  number, code, why = kernel:watch(path, what)
  if not number then return refuse(path, code, why) end
  if not watches[number] then
    watches[number] = {}
    count = count + 1
  end
  insert(watches[number], watch)
  watch.number = number
  return true
end

---It is not called any more.
function notifier.detach(watch)
  local number = watch.number
  local list = watches[number]
  watch.number = nil
  for i, each in ipairs(list or {}) do
    if each == watch then
      remove(list, i)
      break
    end
  end
  if not list or #list > 0 then return end
  forget(number)
  kernel:unwatch(number)
  close_unused()
end

---Calls a function when newer code has taken over, or the process ends.
---@param fn function
function notifier.on_end(fn) reactor:add_system_event_trigger("during", "shutdown", fn) end

return notifier
