-- SPDX-License-Identifier: MIT
-- Events of one rw.INotify that wait for its callbacks: gathered for a while, then
-- told one after the other in a task of their own, which may wait meanwhile.
--
-- The queue is bounded. When it is full, what waits is given up, and each path that
-- the script has named gets an event that says so (Q_OVERFLOW); until it is told,
-- nothing more is taken but the ends of watches.

local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"

local ipairs, setmetatable, xpcall = ipairs, setmetatable, xpcall
local BITS <const> = core.notice_bits

local _ENV <const> = nil

local queue = {}

local Queue = { __name = "WatchQueue" }
Queue.__index = Queue

-- What has come to be where it was not, what is there no more, and the rest:
-- several of the rest are one event.
local APPEARED <const> = BITS.CREATE
local GONE <const> = BITS.DELETE | BITS.MOVED_FROM | BITS.DELETE_SELF | BITS.MOVE_SELF
  | BITS.UNMOUNT | BITS.IGNORED | BITS.Q_OVERFLOW
local CONTENT <const> = BITS.MODIFY | BITS.ATTRIB | BITS.CLOSE_WRITE | BITS.CLOSE_NOWRITE
  | BITS.ACCESS | BITS.OPEN | BITS.ISDIR

local logger = log.logger "inotify"

local function clear(self)
  self.events, self.head, self.tail = {}, 1, 0
  self.last = {} -- path → the newest event of it that waits
  self.lost = false
end

---@param inotify ropewalk.INotify what its callbacks are called with
---@param delay number seconds in which events are gathered
function queue.new(inotify, delay)
  local self = setmetatable({ inotify = inotify, delay = delay, draining = false, closed = false,
    current = false }, Queue) -- what is being told
  clear(self)
  return self
end

-- Telling ------------------------------------------------------------------

local function call(self, fn, event)
  local ok, result = xpcall(fn, Failure.caught, self.inotify, event.path, event.mask)
  event.told = event.told + 1
  if ok and Deferred.is(result) then ok, result = xpcall(result.await, Failure.caught, result) end
  if not ok then logger:failure(result, "a callback of a file watch failed", { path = event.path }) end
end

local function take(self)
  local event = self.events[self.head]
  self.events[self.head] = nil
  self.head = self.head + 1
  if self.last[event.path] == event then self.last[event.path] = nil end
  if event.mask & BITS.Q_OVERFLOW ~= 0 then self.lost = false end
  return event
end

-- To those callbacks that were not told yet.
local function tell(self, event)
  local callbacks = event.watch.callbacks
  while event.told < #callbacks and not event.watch.ignored do call(self, callbacks[event.told + 1], event) end
end

local schedule

function Queue:__close()
  self.draining = false
  schedule(self)
end

-- May be called again, when memory has failed.
local function drain(self)
  self.timer = nil
  if self.draining then return end
  self.draining = true
  local _ <close> = self
  while self.current or self.head <= self.tail do
    if not self.current then self.current = take(self) end
    tell(self, self.current)
    self.current = false
  end
end

function schedule(self)
  if self.timer or self.draining or self.closed or not (self.current or self.head <= self.tail) then return end
  self.timer = core.housekeeping(self.delay, drain, self)
end

-- Waiting ------------------------------------------------------------------

local function append(self, watch, path, mask)
  local event = { watch = watch, path = path, mask = mask, told = 0 }
  self.tail = self.tail + 1
  self.events[self.tail], self.last[path] = event, event
  schedule(self)
end

-- Is the new event more of the one that waits already?
local function is_more(event, watch, mask)
  if not event or event.watch ~= watch or event.mask & GONE ~= 0 then return false end
  if mask & ~CONTENT == 0 then return true end
  return mask & ~(APPEARED | CONTENT) == 0 and event.mask & APPEARED ~= 0
end

function Queue:put(watch, path, mask)
  local event = self.last[path]
  if not self.lost and is_more(event, watch, mask) then
    event.mask = event.mask | mask
    return
  end
  if not self.lost and self.tail - self.head + 1 >= core.limits.watch_queue then
    logger:warn("events of files were lost", { limit = "watch_queue" })
    self:overflow()
  end
  if not self.lost then append(self, watch, path, mask)
  elseif mask & BITS.IGNORED ~= 0 then append(self, watch, path, BITS.IGNORED) end
end

---Events were lost. Those that wait are given up, but for the ends of watches.
function Queue:overflow()
  if self.lost then return end
  local events, head, tail = self.events, self.head, self.tail
  clear(self)
  for _, watch in ipairs(self.inotify:_roots()) do append(self, watch, watch.path, BITS.Q_OVERFLOW) end
  self.lost = self.tail > 0
  for i = head, tail do
    local event = events[i]
    if event.mask & BITS.IGNORED ~= 0 then append(self, event.watch, event.path, BITS.IGNORED) end
  end
end

---What waits is not told.
function Queue:close()
  self.closed = true
  clear(self)
  if self.timer then self.timer:cancel() end
  self.timer = nil
end

return queue
