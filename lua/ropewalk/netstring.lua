-- SPDX-License-Identifier: MIT
-- NetstringProtocol: "5:hello," both ways. Longer ones than the limit max_frame
-- close the connection before they are stored.

local Protocol = require "ropewalk.protocol"

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

---Sends one.
---@param string string
---@return boolean below_high_water
function NetstringProtocol:send_string(string) return self.transport:send("string", string) end

return NetstringProtocol
