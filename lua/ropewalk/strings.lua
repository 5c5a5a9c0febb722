-- SPDX-License-Identifier: MIT
-- Strings with their length in front: 8, 16 or 32 bits, big endian. The C
-- engine `frame` collects them and refuses a length that is too much before any
-- byte of the string is kept.

local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local Protocol = require "ropewalk.protocol"

local format = string.format

local _ENV <const> = nil

---@class ropewalk.StringProtocol: ropewalk.Protocol
local StringProtocol = Protocol:extend "StringProtocol"

StringProtocol.engine = "frame"
StringProtocol.events = { string = "string_received" }

---A whole string came.
---
---    function Upper:string_received(bytes) self:send_string(bytes:upper()) end
---@param bytes string
function StringProtocol:string_received(bytes) end -- luacheck: ignore 212

---The peer announced more than the limit max_frame. The connection is closed
---after this.
---@param length integer
function StringProtocol:length_limit_exceeded(length) end -- luacheck: ignore 212

---Sends one. A string that is longer than the limit, or than its length can
---say, is not sent.
---
---    self:send_string "hello"
---@param bytes string
---@return boolean? below_high_water
---@return ropewalk.Failure? failure
function StringProtocol:send_string(bytes)
  argument.expect("send_string", 1, bytes, "string")
  local below, code = (self.transport or argument.no_transport "send_string"):send("string", bytes)
  if below ~= nil or not code then return below end
  return nil, Failure.new("too_long", format("a string of %d bytes is too long", #bytes))
end

local function prefixed(name, width)
  return StringProtocol:extend(name, {
    frame_format = { header = width, width = width, plain = true },
  })
end

return {
  StringProtocol = StringProtocol,
  Int8Protocol = prefixed("Int8Protocol", 1),
  Int16Protocol = prefixed("Int16Protocol", 2),
  Int32Protocol = prefixed("Int32Protocol", 4),
}
