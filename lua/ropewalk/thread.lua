-- SPDX-License-Identifier: MIT
-- Functions that run in threads. A thread has a Lua state of its own: the
-- function is copied to it with its upvalues and arguments, modules are
-- required there, and one plain result comes back. There is no reactor in it.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local loader = require "ropewalk.loader"
local log = require "ropewalk.log"
local threadcall = require "ropewalk.threadcall"

local error, ipairs, pairs, setmetatable, tostring, type, xpcall =
  error, ipairs, pairs, setmetatable, tostring, type, xpcall
local format = string.format
local unpack = table.unpack
local package, require = package, require
local G = _G
local expect, optional, misuse = argument.expect, argument.optional, argument.misuse

local _ENV <const> = nil

local thread = { expose = threadcall.expose }

-- On the loop's side -------------------------------------------------------

---@class ropewalk.ThreadPool: ropewalk.Object
---@field name string
local ThreadPool = Object:extend "ThreadPool"
thread.ThreadPool = ThreadPool

local OPTIONS <const> =
  { name = "string", min = "number", max = "number", queue = "number", time = "number",
    memory = "number" }

---A pool of threads. Options: `name`; `min` threads that stay and `max` threads
---(0 and 10); `queue`: calls that may wait (limit thread_queue); `time` in ms of
---processor time and `memory` in bytes for each (limits thread_time,
---thread_memory).
---
---    local hashing = rw.ThreadPool { name = "hashing", max = 2 }
---    local digest = hashing:defer(hash, password):await()
---@param options? table
function ThreadPool:init(options)
  options = optional("ThreadPool", 1, options, "table") or {}
  for key, value in pairs(options) do
    if OPTIONS[key] ~= type(value) then
      error(format("ThreadPool: %s", OPTIONS[key]
        and format("%s must be a %s, not a %s", key, OPTIONS[key], type(value))
        or format("there is no option '%s'", tostring(key))), 3)
    end
  end
  self.name = options.name or "threads"
  self.pending = setmetatable({}, { __mode = "k" }) -- Deferred → true
  self.core = core.thread_pool {
    min = options.min, max = options.max, queue = options.queue, time = options.time,
    memory = options.memory, script = loader.script, path = package.path, cpath = package.cpath,
  }
end

local REFUSED <const> = "the thread ended without a result: no memory for its state"

-- What came back: true and the value, or false and what thread.describe made.
local function settle(d, ok, shipment)
  local fine, value = xpcall(core.unship, Failure.caught, shipment)
  if fine and ok then return d:callback(value) end
  if fine then value = value and Failure.wrap(value) or Failure.new("memory", REFUSED) end
  return d:errback(value)
end

local function refuse(pool, code, why)
  if code == "RW_ELIMIT" then
    log.warn("the queue of a pool of threads is full",
      { pool = pool.name, limit = "thread_queue" })
    return Failure.new("busy", format("the queue of the pool '%s' is full (limit thread_queue)",
      pool.name))
  elseif code == "RW_ECLOSED" then
    return Failure.new("stopped", format("the pool '%s' is stopped", pool.name))
  end
  return Failure.new("error", why)
end

local function call(pool, what, on_message, fn, ...)
  if type(fn) ~= "function" then
    misuse(format("%s: a function is expected, not a %s", what, type(fn)))
  end
  local d, handle
  local function done(ok, shipment)
    if d:called() then return end -- memory failed when it was told
    pool.pending[d] = nil
    return settle(d, ok, shipment)
  end
  d = Deferred.new(function()
    pool.pending[d] = nil
    handle:cancel()
  end)
  local code, why
  handle, code, why = pool.core:call(done, on_message, fn, ...)
  if handle then
    pool.pending[d] = true
    return d
  end
  if code == "refused" then misuse(format("%s: the function cannot go to a thread: %s", what, why)) end
  return Deferred.fail(refuse(pool, code, why))
end

---Runs a function in a thread of this pool. The Deferred fires with its first
---result. Cancelling it takes the call back, or stops it.
---
---    pool:defer(function(n) return heavy(n) end, 42):add_callback(print)
---@param fn function
---@param ... any copied
---@return ropewalk.Deferred
function ThreadPool:defer(fn, ...) return call(self, "defer", nil, fn, ...) end

---The same with options: `on_message` is called with each value that the
---function gives to `rw.thread.post`.
---
---    pool:call({ on_message = function(done) print(done, "%") end }, convert, path)
---@param options { on_message?: fun(value: any) }
---@param fn function
---@return ropewalk.Deferred
function ThreadPool:call(options, fn, ...)
  for key in pairs(expect("call", 1, options, "table")) do
    if key ~= "on_message" then argument.refuse("call", 1, format("there is no option '%s'", tostring(key))) end
  end
  return call(self, "call", optional("call", "on_message of 1", options.on_message, "function"), fn, ...)
end

---How many there are now: threads, those of them that are idle, and calls that wait.
---@return { threads: integer, idle: integer, queued: integer }
function ThreadPool:stats()
  local threads, idle, queued = self.core:count()
  return { threads = threads, idle = idle, queued = queued }
end

---Cancels what waits and what runs; later calls fail with "stopped". Pools that
---are not stopped end with their generation.
function ThreadPool:stop()
  local pending = self.pending
  self.pending = {}
  for d in pairs(pending) do d:cancel() end
  self.core:close()
end

local usual

---The pool of `rw.defer_to_thread`, made when it is first asked for.
---@return ropewalk.ThreadPool
function thread.pool()
  usual = usual or ThreadPool { name = "default" }
  return usual
end

---Runs a function in a thread and comes back with its first result. What the
---function uses goes along: upvalues and arguments that are plain data or
---functions, copied; modules, by their names.
---
---    local primes = rw.defer_to_thread(function(n) return sieve(n) end, 1e6):await()
---@param fn function
---@param ... any
---@return ropewalk.Deferred
function thread.defer_to_thread(fn, ...)
  return call(thread.pool(), "defer_to_thread", nil, fn, ...)
end

---Like defer_to_thread, but nobody waits for it: a failure is logged.
---
---    rw.call_in_thread(write_report, rows)
---@param fn function
function thread.call_in_thread(fn, ...)
  call(thread.pool(), "call_in_thread", nil, fn, ...):add_errback(log.failure,
    "a function failed in a thread")
end

local function one_by_one(calls)
  for _, each in ipairs(calls) do each[1](unpack(each, 2, each.n or #each)) end
end

---Runs several functions in one thread, one after the other: each is a list of the
---function and its arguments. Nobody waits; the first failure is logged, and ends it.
---
---    rw.call_multiple_in_thread { { write_report, rows }, { remove_old, "reports" } }
---@param calls table[]
function thread.call_multiple_in_thread(calls)
  for i, each in ipairs(expect("call_multiple_in_thread", 1, calls, "table")) do
    if type(each) ~= "table" or type(each[1]) ~= "function" then
      argument.refuse("call_multiple_in_thread", 1,
        format("item %d must be a list of a function and its arguments", i))
    end
  end
  call(thread.pool(), "call_multiple_in_thread", nil, one_by_one, calls):add_errback(log.failure,
    "a function failed in a thread")
end

-- In the thread ------------------------------------------------------------

---In a thread: gives a value to `on_message` of the call. False when the loop
---does not keep up (limit thread_queue); then nothing was sent.
---
---    rw.thread.post { done = i, of = n }
---@param value any
---@return boolean
function thread.post(value)
  if not core.thread_post then
    error("rw.thread.post is for functions that run in a thread", 2)
  end
  return core.thread_post(value)
end

---Does this run in a thread?
---@return boolean
function thread.inside() return core.thread_post ~= nil end

---C calls it in a new state of a thread.
function thread.enter(script, path, cpath)
  require "ropewalk.sandbox".install(G)
  package.path, package.cpath = path or package.path, cpath or package.cpath
  if script then loader.set_script(script) end
end

---C calls it with what a function raised, and a code if it knows better.
thread.describe = threadcall.describe

return thread
