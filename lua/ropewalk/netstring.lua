-- SPDX-License-Identifier: MIT
-- NetstringProtocol: "5:hello," both ways. Longer ones than the limit max_frame
-- close the connection before they are stored.

local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local Protocol = require "ropewalk.protocol"

local format = string.format
local no_transport = argument.no_transport

local _ENV <const> = nil

---@class ropewalk.NetstringProtocol: ropewalk.Protocol
---@field max_length? integer longest string; the limit max_frame when left out
local NetstringProtocol = Protocol:extend "NetstringProtocol"

NetstringProtocol.engine = "netstring"
NetstringProtocol.events = { string = "string_received" }
NetstringProtocol.max_length = false

function NetstringProtocol:make_connection(transport)
  if self.max_length then transport.limits.max_frame = self.max_length end
  return Protocol.make_connection(self, transport)
end

---A whole string came.
---
---    function Adder:string_received(s) self:send_string(tostring(s + 1)) end
---@param string string
function NetstringProtocol:string_received(string) end -- luacheck: ignore 212

---The peer announced more than the limit max_frame. The connection is closed
---after this.
function NetstringProtocol:length_limit_exceeded() end -- luacheck: ignore 212

---Sends one. A string that is longer than the limit is not sent.
---@param string string
---@return boolean? below_high_water
---@return ropewalk.Failure? failure
function NetstringProtocol:send_string(string)
  local below, code = (self.transport or no_transport("send_string")):send("string", string)
  if below ~= nil or not code then return below end
  return nil, Failure.new("too_long", format("a string of %d bytes is too long", #string))
end

return NetstringProtocol
