-- SPDX-License-Identifier: MIT
-- A Failure says what went wrong: to whom (op), what (code, message), because
-- of what (cause), and where (traceback or where). Deferreds carry it, await
-- raises it, and functions whose failure is expected return `nil, failure`.
--
-- Codes in use: "cancelled" "timeout" "already_called" "first_error"
-- "all_failed" "eof" "error" (an error with a message), "done" "lost"
-- "aborted" (how a connection ended; `name` then has the system's word for it).

local core = require "ropewalk.core"

local error, getmetatable, ipairs, rawget, setmetatable, tostring, type =
  error, getmetatable, ipairs, rawget, setmetatable, tostring, type
local concat = table.concat
local getinfo = debug.getinfo
local capture = core.frames
local find, format, gmatch, gsub, lower, match =
  string.find, string.format, string.gmatch, string.gsub, string.lower, string.match

local _ENV <const> = nil

---@class ropewalk.Failure
---@field code string what went wrong, for programs
---@field message string what went wrong, for people
---@field name? string the system's word: "ECONNRESET"
---@field op? string what was tried: "connect tcp:localhost:80"
---@field cause? ropewalk.Failure
---@field value any what was raised
---@field traceback? string
---@field where? string file:line, when there is no traceback
---@field clean? boolean of a closed connection: it ended as it should
local Failure = { __name = "Failure" }

-- A traceback as text costs 100 µs and more, since Lua looks for the name of
-- each function in all loaded modules. So the frames are kept as they are, by
-- src/bind/backtrace.c, and become text when somebody reads `traceback`. Four
-- values each: function, line * 2 (+ 1: tail calls led there), name or false, kind
-- of name. A title has the place of the function.

local function frame_text(what, line, name, kind)
  if type(what) == "string" then return what end
  local info, tail = getinfo(what, "S"), line % 2 == 1
  local place = info.short_src
  line = line // 2
  if line >= 0 then place = format("%s:%d", place, line) end
  if kind ~= "" then
    what = format("%s '%s'", kind, name)
  elseif info.what == "main" then
    what = "main chunk"
  elseif info.what == "C" then
    what = "?"
  else
    what = format("function <%s:%d>", info.short_src, info.linedefined)
  end
  return format("\t%s: in %s%s", place, what, tail and "\n\t(...tail calls...)" or "")
end

local function traceback_of(frames)
  local lines, first = { "stack traceback:" }, 1
  -- below xpcall, a function of C stands between the error and its handler
  if frames[4] == "" and getinfo(frames[1], "S").what == "C" then first = 5 end
  for i = first, #frames, 4 do
    lines[#lines + 1] = frame_text(frames[i], frames[i + 1], frames[i + 2], frames[i + 3])
  end
  return concat(lines, "\n")
end

function Failure.__index(self, key)
  local value = rawget(Failure, key)
  if value == nil and key == "traceback" then
    local frames = rawget(self, "frames")
    if frames then
      value = traceback_of(frames)
      self.traceback = value
    end
  end
  return value
end

local FIELDS <const> =
  { "name", "op", "cause", "traceback", "frames", "where", "index", "failures", "status" }

local function new(code, message, op)
  return setmetatable({ code = code, message = message, op = op }, Failure)
end

---Makes a Failure from a code and a message.
---
---    return nil, rw.Failure.new("not_found", "no such user: alice")
---@param code string
---@param message? string
---@param op? string
---@return ropewalk.Failure
function Failure.new(code, message, op) return new(code, message or code, op) end

---Makes a Failure of anything: a Failure (as it is), an error message, a table
---with `code` and `message`, any other value.
---
---    local failure = rw.Failure(err)          -- after pcall
---    d:errback(rw.Failure { code = "busy", message = "try later" })
---@param value any
---@return ropewalk.Failure
function Failure.wrap(value)
  if getmetatable(value) == Failure then return value end
  local failure
  if type(value) == "table" then
    local code, message = value.code, value.message
    failure = new(type(code) == "string" and code or "error",
      type(message) == "string" and message or tostring(code or value))
    for _, field in ipairs(FIELDS) do failure[field] = rawget(value, field) end
  elseif value == nil then
    failure = new("error", "error without a value")
  else
    failure = new("error", tostring(value))
  end
  failure.value = value
  return failure
end

setmetatable(Failure, {
  __call = function(_, value) return Failure.wrap(value) end,
  __tostring = function() return "class Failure" end,
})

---The message handler for xpcall: a Failure with the traceback of the place
---that raised.
---
---    local ok, result = xpcall(fn, rw.Failure.caught)
---@param value any
---@return ropewalk.Failure
function Failure.caught(value)
  local failure = Failure.wrap(value)
  if not rawget(failure, "frames") and not rawget(failure, "traceback") then
    failure.frames = capture(2)
  end
  return failure
end

---Adds the frames of a coroutine that waits for what failed.
---@param title string
---@param co thread
function Failure:add_frames(title, co)
  local frames = rawget(self, "frames")
  if not frames then return end
  local last = #frames
  frames[last + 1], frames[last + 2], frames[last + 3], frames[last + 4] = title, 0, false, ""
  capture(0, co, frames)
  self.traceback = nil
end

---Notes the caller's file and line as the place of the failure, if nothing
---better is known.
---@param level? integer 1: who called at
---@return ropewalk.Failure self
function Failure:at(level)
  if self.where or rawget(self, "frames") or rawget(self, "traceback") then return self end
  level = (level or 1) + 1
  local info = getinfo(level, "Sl")
  while info and find(info.source, "^@ropewalk%.") and not find(info.source, "%.lua$") do -- the library
    level = level + 1
    info = getinfo(level, "Sl")
  end
  if info and info.currentline > 0 then
    self.where = format("%s:%d", info.short_src, info.currentline)
  end
  return self
end

local function matches(self, kind)
  if kind == self.code or (kind == self.name and kind ~= nil) then return true end
  if type(kind) ~= "table" then return false end
  local value, is_a = self.value, nil
  if type(value) == "table" then is_a = value.is_a end
  return type(is_a) == "function" and is_a(value, kind)
end

---Is it of this code, name or class of the raised value?
---
---    if reason:is "done" then … end
---@param kind string|table
---@return boolean
function Failure:is(kind) return matches(self, kind) end

---Which of these it is: the first that fits, or nil.
---
---    if failure:check("timeout", "lost") then retry() end
---@param ... string|table codes, names or classes
---@return string|table|nil
function Failure:check(...)
  for _, kind in ipairs { ... } do
    if matches(self, kind) then return kind end
  end
  return nil
end

---Like check, but raises this failure again when none fits: the rest of an
---errback deals with what it knows.
---
---    d:add_errback(function(failure) failure:trap("timeout") return "default" end)
---@param ... string|table
---@return string|table
function Failure:trap(...)
  local kind = self:check(...)
  if kind == nil then error(self, 0) end
  return kind
end

---Is this value a Failure?
---@param value any
---@return boolean
function Failure.is_failure(value) return getmetatable(value) == Failure end

---Raises it.
function Failure:raise() error(self, 0) end

---Its message with what it was about.
function Failure:__tostring()
  local message = tostring(self.message)
  return self.op and tostring(self.op) .. ": " .. message or message
end

---In text: "lost: " .. failure
function Failure.__concat(a, b) return tostring(a) .. tostring(b) end

---All there is to know, over several lines.
---
---    print(failure:describe())
---@return string
function Failure:describe()
  local lines, at = { tostring(self) }, self
  for _ = 1, 8 do
    if at.code ~= "error" then lines[#lines] = lines[#lines] .. " [" .. at.code .. "]" end
    if at.where then lines[#lines + 1] = "  at " .. at.where end
    if at.traceback then lines[#lines + 1] = at.traceback end
    at = at.cause
    if not at then break end
    lines[#lines + 1] = "caused by: " .. tostring(at)
  end
  return concat(lines, "\n")
end

-- Is this place inside of the library: in its tree, or in the binary? (A script may be
-- called ropewalk.lua.)
local function ours(place)
  return find(place, "lua/ropewalk/", 1, true)
    or find(place, "^ropewalk[%w_.]*:%d") and not find(place, "^[%w_.]+%.lua:")
end

---Where it happened, as "file:line", if that is known: the place in the
---script, not the one inside of the library.
---@return string?
function Failure:location()
  if self.where then return self.where end
  if type(self.value) == "string" then
    local place = match(self.value, "^([^\n]-:%d+): ")
    if place and not ours(place) then return place end
  end
  for line in gmatch(self.traceback or "", "[^\n]+") do
    local place = match(line, "^%s*([^%[%s].-:%d+): in")
    if place and not ours(place) then return place end
  end
  return self.cause and self.cause:location()
end

local DONE <const> = { done = true, eof = true, ok = true }

---The reason of connection_lost, made by the C core: code "done" (clean),
---"aborted" (by this side) or "lost" (anything else; name says what).
---@param code integer 0 or negative
---@param name string "RW_EOF", "ECONNRESET", …
---@param message string
---@return ropewalk.Failure
function Failure.from_close(code, name, message)
  local word = name and lower(gsub(name, "^RW_E?", "")) or "done"
  local failure
  if code == 0 or DONE[word] or word == "of" then
    failure = new("done", "the connection was closed cleanly")
    failure.clean = true
  elseif word == "aborted" then
    failure = new("aborted", "the connection was aborted by this side")
  else
    failure = new("lost", message or "the connection was lost")
  end
  if failure.clean == nil then failure.clean = false end
  -- "RW_ELIMIT" → "limit"; the names of the system stay as they are
  failure.name = name and (match(name, "^RW_") and (word == "of" and "eof" or word) or name)
  failure.number = code
  return failure
end

return Failure
