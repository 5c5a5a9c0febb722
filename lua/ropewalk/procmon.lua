-- SPDX-License-Identifier: MIT
-- ProcessMonitor: a service that keeps commands running. One that ends is
-- started again: at once if it ran for a while (threshold), else after a delay
-- that doubles from time to time. What they write goes to the log, by line.
--
--   waiting ──→ running ──→ (ended) ──→ waiting …
--      └ stop_process ┴──→ stopped ── start_process ──→ running

local argument = require "ropewalk.argument"
local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"
local ProcessProtocol = require "ropewalk.processprotocol"
local Service = require "ropewalk.service".Service
local launch = require "ropewalk.launch"
local log = require "ropewalk.log"
local process = require "ropewalk.process"
local reactor = require "ropewalk.reactor"

local error, next, pairs, tostring, type = error, next, pairs, tostring, type
local max, min = math.max, math.min
local find, format, sub = string.find, string.format, string.sub
local expect, misuse, optional = argument.expect, argument.misuse, argument.optional

local _ENV <const> = nil

local logger = log.logger "procmon"

-- Output by line -------------------------------------------------------------

-- A line that is longer than the limit max_line is logged in pieces.
local Lines = ProcessProtocol:extend "MonitoredProcess"

function Lines:init(monitor, entry)
  self.monitor, self.entry, self.rest = monitor, entry, {}
end

function Lines:connection_made() self.entry.process = self.transport end

function Lines:line(fd, text)
  logger[fd == 2 and "warn" or "info"](logger, "[{name}] {line}",
    { name = self.entry.name, line = text, pid = self.transport.pid })
end

function Lines:child_data_received(fd, bytes)
  local text, from, longest = (self.rest[fd] or "") .. bytes, 1, core.limits.max_line
  while true do
    local at = find(text, "\n", from, true)
    local stop = at and at - 1 or #text
    if not at and stop - from < longest then break end
    stop = min(stop, from + longest - 1)
    self:line(fd, sub(text, from, stop))
    from = stop == (at or 0) - 1 and at + 1 or stop + 1
  end
  self.rest[fd] = sub(text, from)
end

function Lines:process_ended(reason)
  for fd, text in next, self.rest do
    if text ~= "" then self:line(fd, text) end
  end
  return self.monitor:ended(self.entry, reason)
end

-- The service ----------------------------------------------------------------

---@class ropewalk.ProcessMonitor: ropewalk.Service
---@field threshold number seconds: who ran for less gets a longer delay each time
---@field min_restart_delay number seconds
---@field max_restart_delay number seconds
---@field kill_time number seconds from SIGTERM to SIGKILL
local ProcessMonitor = Service:extend "ProcessMonitor"

ProcessMonitor.threshold = 1
ProcessMonitor.min_restart_delay = 1
ProcessMonitor.max_restart_delay = 3600
ProcessMonitor.kill_time = 5

---    local monitor = rw.ProcessMonitor { max_restart_delay = 60 }
---    monitor:add_process("worker", "/usr/bin/env", { "worker", "--verbose" })
---    return monitor
---@param settings? { threshold: number, min_restart_delay: number, max_restart_delay: number, kill_time: number }
function ProcessMonitor:init(settings)
  self.entries, self.clock = {}, reactor
  for key, value in next, optional("ProcessMonitor", 1, settings, "table") or {} do
    if type(ProcessMonitor[key]) ~= "number" and key ~= "clock" then
      error(format("ProcessMonitor: there is no setting %s", key), 3)
    end
    if key ~= "clock" and (type(value) ~= "number" or value ~= value or value < 0) then
      error(format("ProcessMonitor: %s must be a number from 0 on, not %s", key, tostring(value)), 3)
    end
    self[key] = value
  end
end

local function entry_of(self, what, name)
  local entry = self.entries[name]
  if not entry then misuse(format('%s: there is no process "%s"', what, name)) end
  return entry
end

local function start_later(self, entry)
  entry.timer = self.clock:call_later(entry.delay, function()
    entry.timer = false
    self:launch(entry)
  end)
end

-- It has ended, or could not be started.
local function again(self, entry)
  if self.clock:seconds() - entry.started < self.threshold then
    entry.delay = min(max(entry.delay * 2, self.min_restart_delay), self.max_restart_delay)
  else
    entry.delay = 0
  end
  if self.running and entry.wanted then start_later(self, entry) end
end

-- The monitor's, whoever asks for it: else it would end with the connection that has.
function ProcessMonitor:launch(entry)
  entry.started = self.clock:seconds()
  core.spawn_detached(function()
    local started, failure =
      process.spawn_process(Lines(self, entry), entry.executable, entry.args, entry.options)
    if started then
      logger:info("{name} runs", { name = entry.name, pid = started.pid })
      return
    end
    logger:error("{name}: {failure}", { name = entry.name, failure = failure })
    again(self, entry)
  end)
end

function ProcessMonitor:ended(entry, reason)
  logger[reason.clean and "info" or "warn"](logger, "{name}: {reason}",
    { name = entry.name, reason = reason })
  entry.process = false
  local stopping = entry.stopping
  entry.stopping = false
  again(self, entry)
  if stopping then stopping:callback() end
end

---Adds a command; if the service runs, it starts.
---@param name string
---@param executable string
---@param args? string[]
---@param options? ropewalk.ProcessOptions
function ProcessMonitor:add_process(name, executable, args, options)
  if name == nil or name ~= name then argument.refuse("add_process", 1, "a name is missing") end
  expect("add_process", 2, executable, "string")
  optional("add_process", 3, args, "table")
  if self.entries[name] then
    error(format('add_process: there is a process "%s" already', name), 2)
  end
  local own = { limits = {} }
  for key, value in next, optional("add_process", 4, options, "table") or {} do own[key] = value end
  local limits = { process_grace = self.kill_time * 1000 }
  for key, value in next, expect("add_process", 4, own.limits, "table") do limits[key] = value end
  own.limits, own.child_fds = limits, own.child_fds or { [0] = "null", [1] = "r", [2] = "r" }
  launch.spec("add_process", executable, args, own) -- what is wrong with it is said here
  local entry = { name = name, executable = executable, args = args, options = own, delay = 0,
    process = false, timer = false, stopping = false, wanted = true, started = 0 }
  self.entries[name] = entry
  if self.running then self:launch(entry) end
end

---Starts one that was stopped, or that waits for its turn.
---@param name string
function ProcessMonitor:start_process(name)
  local entry = entry_of(self, "start_process", name)
  entry.wanted = true
  if entry.timer then
    entry.timer:cancel()
    entry.timer = false
  end
  if self.running and not entry.process then self:launch(entry) end
end

---Stops one, with SIGTERM and SIGKILL; it stays stopped until start_process.
---@param name string
---@return ropewalk.Deferred # fires when it has ended
function ProcessMonitor:stop_process(name)
  local entry = entry_of(self, "stop_process", name)
  entry.wanted = false
  return self:halt(entry)
end

---Has one started anew, also one that was stopped.
---@param name string
function ProcessMonitor:restart_process(name)
  local entry = entry_of(self, "restart_process", name)
  if not entry.process then return self:start_process(name) end
  entry.wanted = true
  return entry.process:terminate()
end

---Has all started anew but for those that were stopped.
function ProcessMonitor:restart_all()
  for name, entry in pairs(self.entries) do
    if entry.wanted then self:restart_process(name) end
  end
end

---Stops one and forgets it.
---@param name string
---@return ropewalk.Deferred # fires when it has ended
function ProcessMonitor:remove_process(name)
  local stopped = self:stop_process(name)
  self.entries[name] = nil
  return stopped
end

-- Ends the one there is; fires when that is done.
function ProcessMonitor:halt(entry)
  if entry.timer then
    entry.timer:cancel()
    entry.timer = false
  end
  if not entry.process then return Deferred.succeed() end
  entry.stopping = entry.stopping or Deferred.new()
  entry.process:terminate()
  local done = Deferred.new()
  entry.stopping:add_callback(function() done:callback() end)
  return done
end

function ProcessMonitor:start_service()
  self.running = true
  for _, entry in pairs(self.entries) do
    if entry.wanted and not entry.process then self:launch(entry) end
  end
end

---@return ropewalk.Deferred # fires when all have ended
function ProcessMonitor:stop_service()
  self.running = false
  local waiting = {}
  for _, entry in pairs(self.entries) do waiting[#waiting + 1] = self:halt(entry) end
  return Deferred.gather(waiting)
end

function ProcessMonitor:__tostring() return "process monitor" end

return ProcessMonitor
