-- SPDX-License-Identifier: MIT
-- ropewalk: what `require "ropewalk"` gives. The rest of the library is loaded
-- when it is first asked for, so that a small script starts fast.

local core = require "ropewalk.core"
local async = require "ropewalk.async"
local Deferred = require "ropewalk.deferred"
local timer = require "ropewalk.timer"

local require, setmetatable, rawset = require, setmetatable, rawset

local _ENV <const> = nil

---@class ropewalk
---@field Protocol ropewalk.Protocol
---@field Factory ropewalk.Factory
---@field Deferred ropewalk.Deferred
---@field Failure ropewalk.Failure
---@field config table<string, string> filled by --set key=value
---@field args string[] what stands behind -- on the command line
---@field host table<string, function> functions of the program that Ropewalk is embedded in
---@field exports table<string, function> functions for that program to call
---@field limits table the limits of this script's connections, by name
---@field reactor ropewalk.Reactor
---@field script_dir string the directory of the script
local rw = {
  version = core.version or "0",
  config = core.config,
  args = core.args,
  limits = core.limits,
  stats = core.stats,
  generation = core.generation,
  host = core.host,
  exports = core.exports,

  Deferred = Deferred,
  Failure = require "ropewalk.failure",
  Object = require "ropewalk.class",

  async = async.async,
  await = async.await,
  sleep = async.sleep,
  spawn = async.spawn,
  call_later = timer.call_later,
  gather = Deferred.gather,
  race = Deferred.race,
  maybe_deferred = Deferred.maybe,
  succeed = Deferred.succeed,
  fail = Deferred.fail,
}

-- name → module, or module and field
local LAZY <const> = {
  acme = { "acme" },
  Protocol = { "protocol" },
  LineProtocol = { "line" },
  NetstringProtocol = { "netstring" },
  Int8Protocol = { "strings", "Int8Protocol" },
  Int16Protocol = { "strings", "Int16Protocol" },
  Int32Protocol = { "strings", "Int32Protocol" },
  FrameProtocol = { "frame" },
  DatagramProtocol = { "datagram", "DatagramProtocol" },
  TimeoutMixin = { "patience" },
  Factory = { "factory" },
  Service = { "service", "Service" },
  MultiService = { "service", "MultiService" },
  TimerService = { "looping", "TimerService" },
  LoopingCall = { "looping" },
  ClientService = { "client" },
  DeferredList = { "deferred", "list" },
  DeferredFilesystemLock = { "filelock" },
  DeferredLock = { "lock", "DeferredLock" },
  DeferredSemaphore = { "lock", "DeferredSemaphore" },
  DeferredQueue = { "queue" },
  server = { "server" },
  client = { "client" },
  pipe = { "pipe", "pipe" },
  FilePath = { "filepath" },
  FileSender = { "filesender" },
  INotify = { "inotify" },
  policy = { "policy" },
  Forwarder = { "pipe", "Forwarder" },
  listen = { "listen", "listen" },
  connect = { "listen", "connect" },
  cooperate = { "cooperate" },
  run = { "run" },
  endpoint = { "endpoint" },
  log = { "log" },
  names = { "names" },
  ProcessProtocol = { "processprotocol" },
  ProcessMonitor = { "procmon" },
  spawn_process = { "process", "spawn_process" },
  run_process = { "command", "run_process" },
  get_process_output = { "command", "get_process_output" },
  get_process_value = { "command", "get_process_value" },
  reactor = { "reactor" },
  testing = { "testing" },
  tls = { "tls" },
  certificate = { "certificate" },
  thread = { "thread" },
  defer_to_thread = { "thread", "defer_to_thread" },
  call_in_thread = { "thread", "call_in_thread" },
  call_multiple_in_thread = { "thread", "call_multiple_in_thread" },
  call_from_thread = { "threadcall", "call_from_thread" },
  blocking_call_from_thread = { "threadcall", "blocking_call_from_thread" },
  ThreadPool = { "thread", "ThreadPool" },
}

---Has a function run as a self-test while new code is staged, before it goes
---live. It may wait. When it raises, or returns false or nil and a failure,
---the reload is refused and the old code goes on.
---
---    rw.on_check(function() assert(rw.config.secret, "the secret is missing") end)
---@param fn function
function rw.on_check(fn) return require "ropewalk.boot".on_check(fn) end

---A protocol class for binary frames, from a pattern.
---
---    local Store = rw.frame("> kind:B length:I4")
---@param pattern string
---@param options? { counts: string, max: integer, checksum: function }
---@return ropewalk.FrameProtocol class
function rw.frame(pattern, options) return require "ropewalk.frame".of(pattern, options) end

return setmetatable(rw, {
  __index = function(_, name)
    if name == "script_dir" then return require "ropewalk.loader".script_dir end
    local from = LAZY[name]
    if not from then return nil end
    local value = require("ropewalk." .. from[1])
    if from[2] then value = value[from[2]] end
    rawset(rw, name, value)
    return value
  end,
})
