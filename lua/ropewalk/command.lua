-- SPDX-License-Identifier: MIT
-- Commands: a child process that is run for its output. What it may take, time
-- and memory, is bounded; who is cut short is ended with all its descendants.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local chain = require "ropewalk.chain"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local ProcessProtocol = require "ropewalk.processprotocol"
local process = require "ropewalk.process"

local error, next, pcall, type = error, next, pcall, type
local concat = table.concat
local format, sub = string.format, string.sub
local expect, optional, misuse = argument.expect, argument.optional, argument.misuse

local _ENV <const> = nil

local command = {}

local SLICE <const> = 65536

-- The protocol of one command. What it ends with is `failure`, if something
-- went wrong on our side, else how the process ended.
local Run = ProcessProtocol:extend "CommandProtocol"

function Run:init(options, d)
  self.d, self.input, self.max, self.size = d, options.input, options.max_output, 0
  self.out = {}
  self.err = options.merge and self.out or {}
  self.failure = false
end

function Run:connection_made()
  local input = self.input
  if not input then return end
  local pipe = self.transport.pipes[0]
  if #input <= SLICE then
    pipe:write(input)
    return pipe:lose_connection()
  end
  core.spawn(function()
    for from = 1, #input, SLICE do
      if not pipe:write(sub(input, from, from + SLICE - 1)) and not pipe:drained() then return end
    end
    pipe:lose_connection()
  end)
end

---Cuts it short.
function Run:give_up(failure)
  if self.failure then return end
  self.failure = failure
  self.transport:terminate()
end

function Run:child_data_received(fd, bytes)
  if self.failure then return end
  self.size = self.size + #bytes
  if self.size > self.max then
    return self:give_up(Failure.new("limit",
      format("more than %d bytes of output (limit max_process_output)", self.max)))
  end
  local list = fd == 1 and self.out or self.err
  list[#list + 1] = bytes
end

local function finish(self, reason)
  local failure = self.failure
  local result = failure or {}
  result.stdout, result.stderr = concat(self.out), concat(self.err)
  result.status, result.signal = reason.status, reason.signal
  if failure then return self.d:errback(failure) end
  result.reason = reason
  return self.d:callback(result)
end

function Run:process_ended(reason)
  if self.timer then self.timer:cancel() end
  if self.d:called() then return end
  local ok, why = pcall(finish, self, reason)
  if ok then return end
  if self.d:called() then error(why, 0) end
  self.d:errback(chain.NO_MEMORY)
end

local OWN <const> =
  { input = "string", timeout = "number", max_output = "number", check = "boolean", merge = "boolean" }

local function split(what, options)
  local own, others = {}, {}
  for key, value in next, optional(what, 3, options, "table") or {} do
    if key == "child_fds" or key == "pty" or key == "protocols" then
      misuse(format("%s: %s is for spawn_process", what, key))
    end
    if OWN[key] and type(value) ~= OWN[key] then
      misuse(format("%s: %s must be a %s, not %s", what, key, OWN[key], type(value)))
    end
    if OWN[key] then own[key] = value else others[key] = value end
  end
  if own.timeout then argument.seconds(what, 3, own.timeout) end
  local most = own.max_output or 0
  if most < 0 or most ~= most then
    argument.refuse(what, 3, format("max_output: bytes from 0 on expected, got %g", most))
  end
  own.max_output = own.max_output or core.limits.max_process_output
  own.timeout = own.timeout or core.limits.process_timeout / 1000
  others.child_fds = { [0] = own.input and "w" or "null", [1] = "r", [2] = "r" }
  return own, others
end

local function run(what, executable, args, options)
  if expect(what, 1, executable, "string") == "" then argument.refuse(what, 1, "it is empty") end
  optional(what, 2, args, "table")
  local own, others = split(what, options)
  local protocol
  local d = Deferred.new(function()
    if protocol.timer then protocol.timer:cancel() end
    protocol:give_up(Failure.new("cancelled", "cancelled"))
  end)
  protocol = Run(own, d)
  local started, failure = process.spawn_process(protocol, executable, args, others)
  if not started then return Deferred.fail(failure) end
  if not d:called() then
    protocol.timer = core.timer(own.timeout, function()
      protocol:give_up(Failure.new("timeout",
        format("%s did not end within %g s", executable, own.timeout)))
    end)
  end
  if not own.check then return d end
  return d:add_callback(function(result)
    if result.reason.clean then return result end
    local wrong = result.reason
    wrong.stdout, wrong.stderr, wrong.op = result.stdout, result.stderr, "run " .. executable
    return wrong
  end)
end

---Runs a program and fires with what it wrote and how it ended. Fails when it
---cannot be started, takes too long ("timeout") or writes too much ("limit");
---then, and when it is cancelled, it is ended with its descendants.
---
---    local result = rw.run_process("git", { "log", "-1" }, { cwd = dir, timeout = 5 }):await()
---    if result.status == 0 then print(result.stdout) end
---@param executable string
---@param args? string[]
---@param options? table those of spawn_process, and input (a string), timeout (seconds),
---max_output (bytes, of both together), check (true: it fails unless the status is 0)
---@return ropewalk.Deferred # { stdout, stderr, status or signal, reason }
function command.run_process(executable, args, options)
  return run("run_process", executable, args, options)
end

---Fires with the standard output. Anything on standard error is a failure, unless
---error_too is set: then both are the output.
---
---    local text = rw.get_process_output("uname", { "-r" }):await()
---@param executable string
---@param args? string[]
---@param options? table those of run_process
---@param error_too? boolean
---@return ropewalk.Deferred # string
function command.get_process_output(executable, args, options, error_too)
  local with = { merge = error_too or false }
  for key, value in next, optional("get_process_output", 3, options, "table") or {} do with[key] = value end
  return run("get_process_output", executable, args, with):add_callback(function(result)
    if result.stderr == "" or error_too then return result.stdout end
    local failure = Failure.new("error", format("%s wrote to standard error: %s", executable,
      sub(result.stderr, 1, 200)))
    failure.stderr = result.stderr
    return failure
  end)
end

---Fires with the exit status; a process that a signal ended is a failure.
---
---    if rw.get_process_value("test", { "-e", path }):await() == 0 then … end
---@param executable string
---@param args? string[]
---@param options? table those of run_process
---@return ropewalk.Deferred # integer
function command.get_process_value(executable, args, options)
  return run("get_process_value", executable, args, options):add_callback(function(result)
    return result.status or result.reason
  end)
end

return command
