-- SPDX-License-Identifier: MIT
-- Child processes: rw.spawn_process, and the Process that it gives, the transport
-- of a ProcessProtocol. Each pipe is a connection of its own (one hook at a time,
-- which may wait); the two hooks of the end come one after the other.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"
local Protocol = require "ropewalk.protocol"
local launch = require "ropewalk.launch"
local log = require "ropewalk.log"

local error, next, setmetatable, type, xpcall = error, next, setmetatable, type, xpcall
local format, upper = string.format, string.upper
local remove = table.remove

local _ENV <const> = nil

local logger = log.logger "process"
local SIGNALS <const> = core.signals

-- What reads a pipe, unless the options have a protocol for it.
local Pipe = Protocol:extend "ProcessPipe"

function Pipe:init(process, fd) self.process, self.fd = process, fd end

function Pipe:data_received(bytes)
  return self.process.protocol:child_data_received(self.fd, bytes)
end

function Pipe:connection_lost(reason)
  return self.process.protocol:child_connection_lost(self.fd, reason)
end

-- How it ended -------------------------------------------------------------

local function reason_of(status, signal, core_dumped)
  if status == 0 then
    local reason = Failure.new("process_done", "the process ended with status 0")
    reason.status, reason.clean = 0, true
    return reason
  end
  local name = signal and (SIGNALS[signal] or format("%d", signal))
  local text = "nobody knows how the process ended: it was waited for elsewhere"
  if status then text = format("the process ended with status %d", status) end
  if name then
    text = format("the process was ended by signal %s%s", name, core_dumped and " (core dumped)" or "")
  end
  local reason = Failure.new("process_terminated", text)
  reason.status, reason.signal, reason.core_dumped, reason.clean = status, name, core_dumped, false
  return reason
end

-- The transport ------------------------------------------------------------

---@class ropewalk.Process
---@field pid integer
---@field protocol ropewalk.ProcessProtocol
---@field pipes table<integer, ropewalk.Transport> by the child's descriptor
---@field reason? ropewalk.Failure how it ended, once it has
local Process = { __name = "Process" }
Process.__index = Process

-- The two hooks of the end, one after the other, after connection_made.
local function tell(self)
  if self.busy then return end
  self.busy = true
  while self.due[1] do
    local hook = self.due[1]
    local ok, failure =
      xpcall(self.protocol[hook], Failure.caught, self.protocol, self.reason)
    remove(self.due, 1)
    if not ok then logger:failure(failure, hook) end
  end
  self.busy = false
end

-- Said again when memory has failed before it was told.
local function due(self, hook)
  if self.due[hook] then
    self.busy = false
  else
    self.due[#self.due + 1] = hook
    self.due[hook] = true
  end
  return tell(self)
end

local function signal_number(signal, level)
  if type(signal) == "number" then return signal end
  local number = type(signal) == "string" and SIGNALS[upper(signal):gsub("^SIG", "")]
  if not number then
    error(format("there is no signal %s; use a name like \"TERM\" or a number",
      type(signal) == "string" and format("%q", signal) or type(signal)), level + 1)
  end
  return number
end

local function send(self, signal, group)
  local ok, code = self.handle:signal(signal, group)
  if ok then return true end
  if code == "RW_ESTATE" then
    return nil, Failure.new("process_exited_already", "the process has ended")
  end
  return nil, Failure.new(code, "cannot send the signal: " .. code)
end

---Sends a signal to the child.
---
---    process:signal_process "HUP"
---@param signal string|integer "TERM", "SIGTERM", 15
---@return true? sent
---@return ropewalk.Failure? failure "process_exited_already"
function Process:signal_process(signal) return send(self, signal_number(signal, 2), false) end

---Sends a signal to the child and all its descendants that stayed in its group.
---@param signal? string|integer "KILL"
---@return true? sent
---@return ropewalk.Failure? failure
function Process:kill_group(signal) return send(self, signal_number(signal or "KILL", 2), true) end

---Ends it: SIGTERM to its group, SIGKILL after the limit process_grace.
function Process:terminate() return self.handle:terminate() end

---Writes to the child's standard input (or its terminal).
---@param bytes string|string[]
---@return boolean? below_high_water
function Process:write(bytes)
  local pipe = self.pipes[0]
  if pipe then return pipe:write(bytes) end
end

---Writes to any descriptor of the child that we write.
---@param fd integer
---@param bytes string|string[]
---@return boolean? below_high_water
function Process:write_to_child(fd, bytes)
  local pipe = self.pipes[fd]
  if not pipe then error(format("write_to_child: the child has no pipe %s", fd), 2) end
  return pipe:write(bytes)
end

---Waits until the child has read what it was sent, but for a rest: see
---transport:drained.
---@return boolean open
function Process:drained() return self.pipes[0] and self.pipes[0]:drained() or false end

---A producer for the child's standard input: see transport:register_producer.
---@param producer table
---@param streaming boolean
function Process:register_producer(producer, streaming)
  return self.pipes[0]:register_producer(producer, streaming)
end
function Process:unregister_producer() return self.pipes[0]:unregister_producer() end

---Closes a pipe, after what was written to it.
---@param fd integer the child's
function Process:close_child_fd(fd)
  local pipe = self.pipes[fd]
  if not pipe then return end
  if self.terminal == pipe then return pipe:lose_write() end
  return pipe:lose_connection()
end

---The child's input ends here; for one with a terminal, as Ctrl-D does.
function Process:close_stdin() return self:close_child_fd(0) end
function Process:close_stdout() return self:close_child_fd(1) end
function Process:close_stderr() return self:close_child_fd(2) end

---Closes all pipes. Most programs end then; it does not wait for that.
function Process:lose_connection()
  for _, pipe in next, self.pipes do pipe:lose_connection() end
end

---Reads nothing from the child any more: it waits when its pipes are full.
function Process:pause_producing()
  for _, pipe in next, self.pipes do pipe:pause_producing() end
end

function Process:resume_producing()
  for _, pipe in next, self.pipes do pipe:resume_producing() end
end

---Changes the size of its terminal, which sends it SIGWINCH.
---@param rows integer
---@param columns integer
---@return true? done
---@return ropewalk.Failure? failure
function Process:resize(rows, columns)
  if not self.terminal then error("resize: the child has no terminal", 2) end
  local ok, code, message = self.terminal:set_option("window", launch.window(rows, columns))
  if ok then return true end
  return nil, Failure.new(code, "cannot resize the terminal: " .. message)
end

function Process:__tostring()
  return format("process %d%s", self.pid, self.reason and " (ended)" or "")
end

-- Starting -----------------------------------------------------------------

local function add_pipes(self, modes, protocols)
  for fd, mode in next, modes do
    if launch.is_pipe(mode) then
      local read_as = mode == "pty" and 1 or fd
      local protocol = protocols[read_as] or Pipe(self, read_as)
      local transport = self.handle:pipe(fd, protocol)
      protocol.transport = transport
      self.pipes[fd] = transport
      if mode == "pty" then self.pipes[1], self.terminal = transport, transport end
    end
  end
end

local function connect(self, modes, protocols)
  add_pipes(self, modes, protocols)
  for fd, protocol in next, protocols do
    if self.pipes[fd] then protocol:make_connection(self.pipes[fd]) end
  end
  return self.protocol:make_connection(self)
end

---Starts a program. No shell is involved: what is in args arrives as it is.
---
---    local process, failure = rw.spawn_process(Job(), "tail", { "-f", "/var/log/syslog" })
---@param protocol ropewalk.ProcessProtocol
---@param executable string a path, or a name to look for in PATH
---@param args? string[] without the program's name, which args[0] can change
---@param options? ropewalk.ProcessOptions
---@return ropewalk.Process? process
---@return ropewalk.Failure? failure the system's word is its code: "ENOENT", "EACCES", …
local function spawn_process(protocol, executable, args, options)
  if type(protocol) ~= "table" or not protocol.child_data_received then
    error("spawn_process: the first argument must be a ProcessProtocol, not "
      .. type(protocol), 2)
  end
  local spec, modes = launch.spec("spawn_process", executable, args, options)
  local self = setmetatable(
    { protocol = protocol, pipes = {}, due = {}, busy = true, reason = false, terminal = false },
    Process)
  local handle, code, message, step = core.process(spec, function(...)
    self.reason = reason_of(...)
    return due(self, "process_exited")
  end, function() return due(self, "process_ended") end)
  if not handle then return nil, launch.failure(executable, options, code, message, step) end
  self.handle, self.pid = handle, handle:pid()
  local protocols = options and options.protocols or {}
  local ok, failure = xpcall(connect, Failure.caught, self, modes, protocols)
  if not ok then handle:terminate() end
  handle:begin()
  self.busy = false
  if not ok then error(failure, 0) end
  tell(self)
  return self
end

return { Process = Process, spawn_process = spawn_process }
