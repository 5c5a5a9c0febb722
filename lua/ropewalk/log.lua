-- SPDX-License-Identifier: MIT
-- The log of scripts: a message, fields, and nothing formatted before somebody
-- wants to see it. `{name}` in a message is replaced by the field; a function
-- as message is called only if needed. The C core writes and filters.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"

local ipairs, next, pcall, setmetatable, tostring, type =
  ipairs, next, pcall, setmetatable, tostring, type
local find, gsub = string.find, string.gsub
local remove, unpack = table.remove, table.unpack
local optional = argument.optional

local _ENV <const> = nil

local log = {}

local observers = {}
local captures = {}

local function text_of(message, fields)
  if type(message) == "function" then message = message() end
  message = tostring(message)
  if fields and find(message, "{", 1, true) then
    message = gsub(message, "{([%w_]+)}", function(name)
      local value = fields[name]
      if value ~= nil then return tostring(value) end
      return nil
    end)
  end
  return message
end

-- Failures and objects as text, since C writes plain data only.
local function write(level, source, message, fields)
  local plain
  if fields then
    plain = {}
    for key, value in next, fields do
      local kind = type(value)
      local ok = kind == "string" or kind == "number" or kind == "boolean"
      plain[tostring(key)] = ok and value or tostring(value)
    end
  end
  core.log(level, source, message, plain)
end

local function emit(level, source, message, fields)
  if fields ~= nil then optional(level, 2, fields, "table") end
  local capture = captures[#captures]
  local enabled = core.log_enabled
  if not capture and #observers == 0 and enabled and not enabled(level) then return end
  message = text_of(message, fields)
  local event = { level = level, source = source, message = message, fields = fields or {} }
  if capture then
    capture[#capture + 1] = event
  else
    write(level, source, message, fields)
  end
  for _, observer in ipairs { unpack(observers) } do
    local ok, err = pcall(observer, event)
    if not ok then
      write("error", "log", "an observer of the log failed: " .. tostring(err), nil)
    end
  end
end

-- Loggers ------------------------------------------------------------------

---@class ropewalk.Logger
local Logger = { __name = "Logger" }
Logger.__index = Logger
function Logger.__call(self, message, fields) return emit("info", self.source, message, fields) end

---A logger with its own source name.
---
---    local log = rw.log.logger "chat"
---    log:info("{name} joined", { name = name })
---@param source string
---@return ropewalk.Logger
function log.logger(source) return setmetatable({ source = source }, Logger) end

function Logger:debug(message, fields) return emit("debug", self.source, message, fields) end
function Logger:info(message, fields) return emit("info", self.source, message, fields) end
function Logger:warn(message, fields) return emit("warn", self.source, message, fields) end
function Logger:error(message, fields) return emit("error", self.source, message, fields) end

---Logs a failure with its traceback.
---@param failure any
---@param message? string what was going on
---@param fields? table
function Logger:failure(failure, message, fields)
  failure = Failure.wrap(failure)
  local all = { code = failure.code, traceback = failure.traceback, where = failure.where }
  for key, value in next, optional("failure", 3, fields, "table") or {} do all[key] = value end
  local cause = failure.cause
  if cause and failure.code ~= "first_error" then all.cause = tostring(cause) end
  all.failure = failure
  message = message and tostring(message) .. ": " .. tostring(failure) or tostring(failure)
  return emit("error", self.source, function() return message end, all)
end

local SCRIPT <const> = "script"

---@param message string|function
---@param fields? table
function log.debug(message, fields) return emit("debug", SCRIPT, message, fields) end

---Logs; `rw.log("text")` is the same.
---
---    rw.log.info("{user} came from {peer}", { user = name, peer = transport.peer })
---@param message string|function
---@param fields? table
function log.info(message, fields) return emit("info", SCRIPT, message, fields) end

---@param message string|function
---@param fields? table
function log.warn(message, fields) return emit("warn", SCRIPT, message, fields) end

---@param message string|function
---@param fields? table
function log.error(message, fields) return emit("error", SCRIPT, message, fields) end

---Logs a failure with its traceback.
---
---    d:add_errback(rw.log.failure, "cannot fetch the page")
---@param failure any
---@param message? string
---@param fields? table
function log.failure(failure, message, fields)
  return Logger.failure({ source = SCRIPT }, failure, message, fields)
end

-- Watching -----------------------------------------------------------------

---Calls a function with each event { level, source, message, fields }. One that
---raises hurts nobody else.
---@param fn fun(event: table)
function log.add_observer(fn) observers[#observers + 1] = argument.callable("add_observer", 1, fn) end

---@param fn fun(event: table)
function log.remove_observer(fn)
  for i, each in ipairs(observers) do
    if each == fn then return remove(observers, i) end
  end
end

local Capture = { __name = "Capture" }
Capture.__index = Capture

---The first event whose message has the text (a pattern), or nil.
function Capture:find(pattern)
  for _, event in ipairs(self) do
    if find(event.message, pattern) then return event end
  end
  return nil
end

---Ends it.
function Capture:stop()
  for i, each in ipairs(captures) do
    if each == self then return remove(captures, i) end
  end
end
Capture.__close = Capture.stop

---Catches what is logged from now on instead of writing it: for tests.
---
---    local logged <close> = rw.log.capture()
---    …
---    assert(logged:find "refused")
---@return table capture a list of events with find(pattern) and stop()
function log.capture()
  local capture = setmetatable({}, Capture)
  captures[#captures + 1] = capture
  return capture
end

---For `ropewalk test`: how many there are, after those beyond the first so many were
---ended; and how many that were.
---@param keep? integer
---@return integer open
---@return integer ended
function log._captures(keep)
  optional("_captures", 1, keep, "number")
  local before = #captures
  for i = before, (keep or before) + 1, -1 do captures[i] = nil end
  return #captures, before - #captures
end

---Reports a failure that no errback took.
Deferred.report = function(failure, began, created)
  emit("error", "deferred", "unhandled failure: " .. tostring(failure), {
    code = failure.code, began = began, failed = failure:location(),
    traceback = failure.traceback, created = created, failure = failure,
  })
end

setmetatable(log, { __call = function(_, ...) return log.info(...) end })

return log
