-- SPDX-License-Identifier: MIT
-- rw.FileSender: sends a file to a transport, as fast as the peer reads it. Bare
-- sockets get it by sendfile; where something has to see the bytes (a filter, a
-- transform), it is read in slices. While it runs it is the transport's
-- producer, so lose_connection waits for it.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
require "ropewalk.transport"

local error, next, pcall, tostring, type = error, next, pcall, tostring, type
local format, match, math_type, min = string.format, string.match, math.type, math.min
local optional = argument.optional

local _ENV <const> = nil

local SLICE <const> = 64 * 1024      -- read at once
local DIRECT <const> = 1024 * 1024   -- given to sendfile at once: a cancel stops after it

---@class ropewalk.FileSender: ropewalk.Object
local FileSender = Object:extend "FileSender"

---What is sent instead of each slice; nil sends it as it is.
FileSender.transform = false
FileSender.offset = 0
---nil: to the end of the file.
FileSender.length = false

---A sender of files; each transfer needs one of its own.
---
---    local sent = rw.FileSender():begin_file_transfer("big.iso", self.transport):await()
---@param options? { offset: integer, length: integer, transform: fun(bytes: string): string }
function FileSender:init(options)
  for key, value in next, optional("FileSender", 1, options, "table") or {} do
    if key ~= "offset" and key ~= "length" and key ~= "transform" then
      error("FileSender: there is no option '" .. tostring(key) .. "'", 3)
    end
    if key == "transform" then
      if value then argument.callable("FileSender", 1, value) end
    elseif math_type(value) ~= "integer" or value < 0 then
      argument.refuse("FileSender", 1, format("%s must be a whole number from 0 on", key))
    end
    self[key] = value
  end
end

local function open(path)
  local parent, name = match(path, "^(.-)([^/]+)$")
  if not name then return nil, "ENOENT", "no such file" end
  local dir, code, message = core.dir(parent == "" and "." or parent)
  if not dir then return nil, code, message end
  local file
  file, code, message = dir:open(name)
  dir:close()
  if file and not file.is_regular then
    file:close()
    return nil, "EINVAL", "not a regular file"
  end
  return file, code, message
end

local function shorter() return Failure.new("RW_EOF", "the file has become shorter") end

-- One piece: its size, or nil and a Failure.
local function send_some(self, file, offset, left)
  local consumer = self.consumer
  if self.direct then
    local n = min(left, DIRECT)
    local ok, code, message = consumer:send_file(file, offset, n)
    if ok ~= nil then return n end
    if code == "RW_EOF" then return nil, shorter() end
    if code ~= "RW_ESTATE" then return nil, Failure.new(code, message) end
    self.direct = false -- a filter
  end
  local bytes, code, message = file:read(offset, min(left, SLICE))
  if not bytes then return nil, Failure.new(code, message) end
  if bytes == "" then return nil, shorter() end
  local n = #bytes
  if self.transform then bytes = self.transform(bytes) end
  local ok
  ok, code, message = consumer:write(bytes)
  if ok == nil and code then return nil, Failure.new(code, message) end
  self.sent = self.sent + #bytes - n
  return n
end

local function lost() return Failure.new("lost", "the connection was lost in mid-file") end

-- Until all is sent: nil, or why not.
local function send_all(self, file, left)
  local consumer, offset = self.consumer, self.offset
  if left < 0 then return shorter() end
  while left > 0 and not self.over do
    local n, failure = send_some(self, file, offset, left)
    if not n then return failure end
    self.sent, offset, left = self.sent + n, offset + n, left - n
    if consumer.drained and not consumer:drained() then return lost() end
  end
  return nil
end

local function release(self)
  self.over = true
  if self.opened then self.opened:close() end
  if self.consumer.unregister_producer then self.consumer:unregister_producer() end
end

local function finish(self, d, failure)
  if self.over then return end
  release(self)
  if failure then d:errback(failure) else d:callback(self.sent) end
end

---Sends the file: a path, or a file of `core.dir`, which stays open. The consumer is
---a transport or a web request. Fires with the number of bytes sent when the
---last of them is out of our hands; fails when the connection is lost or the
---file has become shorter. Cancelling it stops in mid-file.
---@param file string|table
---@param consumer ropewalk.Transport|table
---@param transform? fun(bytes: string): string
---@return ropewalk.Deferred
function FileSender:begin_file_transfer(file, consumer, transform)
  if self.consumer then error("begin_file_transfer: this sender is used already", 2) end
  argument.object("begin_file_transfer", 2, consumer, "write", "consumer")
  if type(file) ~= "string" then argument.object("begin_file_transfer", 1, file, "read", "path or file") end
  optional("begin_file_transfer", 3, transform, "function")
  if type(file) == "string" then
    local opened, code, message = open(file)
    if not opened then
      return Deferred.fail(Failure.new(code, format("cannot open %s: %s", file, message)))
    end
    file, self.opened = opened, opened
  end
  self.consumer, self.sent = consumer, 0
  self.transform = transform or self.transform
  self.direct = consumer.send_file and consumer.register_producer and not self.transform
  local d = Deferred.new(function() release(self) end)
  if consumer.register_producer then
    self.stop_producing = function() finish(self, d, lost()) end
    consumer:register_producer(self, true)
  end
  core.spawn_detached(function()
    local left = self.length or file.size - self.offset
    local ok, failure = pcall(send_all, self, file, left)
    finish(self, d, not ok and Failure.wrap(failure) or failure)
  end)
  return d
end

-- A push producer that waits by itself.
function FileSender:pause_producing() end -- luacheck: ignore 212
function FileSender:resume_producing() end -- luacheck: ignore 212

return FileSender
