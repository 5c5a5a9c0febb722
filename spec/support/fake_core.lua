-- SPDX-License-Identifier: MIT
-- A fake ropewalk.core in plain Lua: tasks, a clock that jumps to the next
-- timer when nothing else is to do, and connections in memory (fake_net.lua).
-- It keeps the rules of docs/border.md, as far as the library can see them.

local core = {
  version = "fake", generation = 1, config = {}, logged = {}, sources = {}, fake = true,
  limits = {
    max_connections = 100000, idle_timeout = 75000, max_line = 16384, max_frame = 1048576,
    high_water = 65536, low_water = 16384, drain_timeout = 30000, load_timeout = 10000,
  },
}

local now, seq = 1000, 0
local current
local queue = {}
local timers = {}
local turn_ends = {}

-- Tasks --------------------------------------------------------------------

local Task = { __name = "task" }
Task.__index = Task

local function report(message)
  core.log("error", "task", message, nil)
end

local function go(task, ...)
  local before = current
  current = task
  task.parked = false
  local ok, err = coroutine.resume(task.co, ...)
  current = before
  if not ok then
    task.dead, task.failed = true, err
    report(tostring(err) .. "\n" .. debug.traceback(task.co))
  elseif coroutine.status(task.co) == "dead" then
    task.dead = true
  end
end

local function spawn(scope, fn, ...)
  local task = setmetatable({ co = coroutine.create(fn), scope = scope, parked = false }, Task)
  if scope then scope[task] = true end
  go(task, ...)
  return task
end

function core.spawn(fn, ...) return spawn(current and current.scope, fn, ...) end
function core.spawn_detached(fn, ...) return spawn(nil, fn, ...) end
function core.spawn_in(scope, fn, ...) return spawn(scope, fn, ...) end
function core.task() return current end

function core.park()
  assert(current, "park outside of a task")
  current.parked = true
  return coroutine.yield()
end

function Task:resume(...)
  if not self.parked or self.dead then return false end
  self.parked = false
  queue[#queue + 1] = { self, table.pack(...) }
  return true
end

function Task:on_cancel(fn) self.cancel = fn end
function Task:done() return self.dead == true end

-- The scope of tasks closes, as a connection's does.
function core.close_scope(scope)
  for task in pairs(scope) do
    if task.cancel and not task.dead then core.spawn_detached(task.cancel) end
  end
end

function core.turn_end(fn) turn_ends[#turn_ends + 1] = fn end

function core.traceback(message) return debug.traceback(message, 2) end

-- Time ---------------------------------------------------------------------

function core.now() return now end
function core.hrtime() return os.clock() end
function core.time() return 1700000000 + now end

local Timer = { __name = "timer" }
Timer.__index = Timer

function core.timer(seconds, fn, ...)
  seq = seq + 1
  local timer = setmetatable({ at = now + seconds, seq = seq, fn = fn, scope = current and current.scope,
    args = table.pack(...), live = true }, Timer)
  timers[timer] = true
  return timer
end

function Timer:cancel()
  local live = self.live
  self.live, timers[self] = false, nil
  return live
end

function Timer:reset(seconds) self.at = now + seconds end
function Timer:delay(seconds) self.at = self.at + seconds end
function Timer:active() return self.live end
function Timer:time() return self.at end

local function due_timers()
  local due = {}
  for timer in pairs(timers) do
    if timer.at <= now then due[#due + 1] = timer end
  end
  table.sort(due, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.seq < b.seq
  end)
  return due
end

local function next_time()
  local first
  for timer in pairs(timers) do
    if not first or timer.at < first then first = timer.at end
  end
  return first
end

local function drain_queue()
  while queue[1] do
    local entry = table.remove(queue, 1)
    if not entry[1].dead then go(entry[1], table.unpack(entry[2], 1, entry[2].n)) end
  end
end

function core.end_turn()
  while turn_ends[1] do
    local list = turn_ends
    turn_ends = {}
    for _, fn in ipairs(list) do fn() end
    drain_queue()
  end
end

-- One turn of the loop.
function core.turn()
  drain_queue()
  for _, timer in ipairs(due_timers()) do
    if timer.live then
      timer:cancel()
      spawn(timer.scope, timer.fn, table.unpack(timer.args, 1, timer.args.n))
      drain_queue()
    end
  end
  core.end_turn()
end

-- Runs a function in a task and the loop until it ends; time jumps.
function core.run(fn)
  local outcome
  local task = core.spawn_detached(function()
    outcome = table.pack(xpcall(fn, function(err)
      if type(err) == "table" and err.describe then return err:describe() end
      return err
    end))
  end)
  core.end_turn()
  local turns = 0
  while not task.dead do
    turns = turns + 1
    if turns > 100000 then error("the spec does not end") end
    core.turn()
    if not task.dead and not queue[1] then
      local at = next_time()
      if not at then error("the spec waits for something that never comes", 0) end
      if at > now then now = at end
    end
  end
  core.turn()
  if not outcome[1] then error(outcome[2], 0) end
end

-- The rest -----------------------------------------------------------------

function core.log(level, source, message, fields)
  core.logged[#core.logged + 1] =
    { level = level, source = source, message = message, fields = fields or {} }
end

function core.source(path) core.sources[#core.sources + 1] = path end
function core.stop(status) core.stopped = status or 0 end
function core.stats() return {} end

local net = require "spec.support.fake_net"
net.attach(core, spawn)

return core
