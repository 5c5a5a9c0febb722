-- SPDX-License-Identifier: MIT
-- Deferred locks: who has to wait, waits in order, and may give up by
-- cancelling. `run` holds it while a function runs, whatever becomes of that.

local Deferred = require "ropewalk.deferred"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"

local error, ipairs, setmetatable, type = error, ipairs, setmetatable, type
local coroutine_running = coroutine.running
local insert, remove = table.insert, table.remove

local _ENV <const> = nil

---@class ropewalk.DeferredSemaphore
---@field limit integer
---@field tokens integer how many are free
local Semaphore = Object:extend "DeferredSemaphore"

---    local few = rw.DeferredSemaphore(10)
---    few:run(fetch, url)
---@param tokens integer
function Semaphore:init(tokens)
  if type(tokens) ~= "number" or tokens < 1 or tokens % 1 ~= 0 then
    error("DeferredSemaphore: a whole number of at least 1 is needed", 3)
  end
  self.limit, self.tokens, self.waiting = tokens, tokens, {}
  self.giving = {} -- coroutine → true: it is in the loop of release
end

---Fires with the semaphore once a token is ours.
---@return ropewalk.Deferred
function Semaphore:acquire()
  local d
  d = Deferred.new(function()
    for i, each in ipairs(self.waiting) do
      if each == d then return remove(self.waiting, i) end
    end
  end)
  if self.tokens > 0 then
    self.tokens = self.tokens - 1
    d:callback(self)
  else
    insert(self.waiting, d)
  end
  return d
end

---Gives a token back: to who waits longest, if anybody does.
function Semaphore:release()
  if self.tokens >= self.limit then error("release: it is not held", 2) end
  self.tokens = self.tokens + 1
  if not self.waiting[1] then return end
  local giving, co = self.giving, coroutine_running()
  if giving[co] then return end -- who got a token gives it back at once: no deeper stack
  giving[co] = true
  local _ <close> = setmetatable({}, { __close = function() giving[co] = nil end })
  while self.tokens > 0 and self.waiting[1] do
    self.tokens = self.tokens - 1
    remove(self.waiting, 1):callback(self) -- its callbacks may wait, here
  end
end

---Runs a function in a task of its own while holding it.
---
---    lock:run(function() local n = load():await() save(n + 1):await() end)
---@param fn function
---@return ropewalk.Deferred of what the function returns
function Semaphore:run(fn, ...)
  return async.spawn(function(...)
    self:acquire():await()
    return Deferred.maybe(async.spawn, fn, ...):add_both(function(result)
      self:release()
      return result
    end)
  end, ...)
end

---@class ropewalk.DeferredLock: ropewalk.DeferredSemaphore
---@field locked boolean
local Lock = Semaphore:extend "DeferredLock"

---    local lock = rw.DeferredLock()
---    lock:acquire():await()
---    …
---    lock:release()
function Lock:init() Semaphore.init(self, 1) end

---Is it held?
---@return boolean
function Lock:is_locked() return self.tokens == 0 end

return { DeferredLock = Lock, DeferredSemaphore = Semaphore }
