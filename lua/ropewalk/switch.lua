-- SPDX-License-Identifier: MIT
-- switch_protocol: a live connection goes on with another protocol. The C core
-- exchanges the engine and moves what was read and not delivered; this tells
-- the two protocols. Part of ropewalk.transport, which loads it.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local error, rawget, tostring, type, xpcall = error, rawget, tostring, type, xpcall
local format = string.format

local _ENV <const> = nil

---@class ropewalk.Transport
local methods = core.transport_methods or {}

local function tell(transport, old, other)
  local factory = old.factory
  if factory and not other.factory then other.factory = factory end
  if factory and factory.untrack then factory:untrack(old) end
  if old.protocol_switched then old:protocol_switched(other) end
  return other:make_connection(transport)
end

---The connection belongs to another protocol from now on. Bytes that were read
---and not delivered go to it, once and in order (`unread` "keep"), are thrown
---away ("discard"), or are a reason to refuse ("refuse": nil and a Failure
---"unread", nothing has changed): where a peer must not slip plain text behind
---the line that asks for encryption.
---
---The old protocol gets protocol_switched(other) if it has that hook, and no
---connection_lost; the new one make_connection, and after the running hook its
---first bytes.
---
---    function Greeter:line_received(line)
---      if line == "BINARY" then self.transport:switch_protocol(Frames()) end
---    end
---@param other ropewalk.Protocol
---@param unread? "keep"|"discard"|"refuse"
---@return ropewalk.Protocol? other
---@return ropewalk.Failure? failure
function methods:switch_protocol(other, unread)
  if type(other) ~= "table" or type(other.make_connection) ~= "function" then
    error("switch_protocol: a protocol is expected, not " .. type(other), 2)
  elseif rawget(other, "__index") == other then
    error(format("switch_protocol: %s is a class; an object of it is expected, Class()", tostring(other)), 2)
  end
  if unread ~= nil and unread ~= "keep" and unread ~= "discard" and unread ~= "refuse" then
    error('switch_protocol: "keep", "discard" or "refuse" expected', 2)
  end
  local old = self.protocol
  if self:producer() then
    error("switch_protocol: a producer is registered; unregister it first", 2)
  end
  local count, pending = self:set_protocol(other, unread)
  if count == false then
    return nil, Failure.new("unread", format("%d unread bytes are in the way", pending))
  elseif not count then
    return nil, Failure.new("closed", "the connection is closed")
  end
  local ok, why = xpcall(tell, Failure.caught, self, old, other)
  self:read_on() -- events go on, also when that ended in an error
  if not ok then error(why, 0) end
  return other
end
