-- SPDX-License-Identifier: MIT
-- LineProtocol: lines, and raw bytes in between (a literal, a message body).
-- The C engine finds the lines; a change of mode counts from the next byte,
-- also in the middle of what one packet brought.

local argument = require "ropewalk.argument"
local Protocol = require "ropewalk.protocol"
local no_transport = argument.no_transport

local _ENV <const> = nil

---@class ropewalk.LineProtocol: ropewalk.Protocol
---@field delimiter? string "any" (LF or CR LF, the default), "crlf" (strict), or 1 to 8 bytes
---@field max_length? integer longest line; the limit max_line when left out
local LineProtocol = Protocol:extend "LineProtocol"

LineProtocol.engine = "line"
LineProtocol.events =
  { line = "line_received", raw = "raw_data_received", raw_end = "raw_data_ended" }
LineProtocol.delimiter = false
LineProtocol.max_length = false

function LineProtocol:make_connection(transport)
  if self.delimiter then transport:set_delimiter(self.delimiter) end
  if self.max_length then transport.limits.max_line = self.max_length end
  return Protocol.make_connection(self, transport)
end

---A line came, without its end.
---
---    function Shout:line_received(line) self:send_line(line:upper()) end
---@param line string
function LineProtocol:line_received(line) end -- luacheck: ignore 212

---Bytes came in raw mode.
---@param bytes string
function LineProtocol:raw_data_received(bytes) end -- luacheck: ignore 212

---The announced number of raw bytes has come; lines follow.
function LineProtocol:raw_data_ended() end -- luacheck: ignore 212

---A line is longer than allowed. The connection is closed after this: say why, if
---you like.
function LineProtocol:line_length_exceeded() end -- luacheck: ignore 212

---Sends a line; the delimiter is added. A line that contains it raises: nobody
---can slip in a second one.
---
---    self:send_line "250 OK"
---@param line string
---@return boolean below_high_water
function LineProtocol:send_line(line) return (self.transport or no_transport("send_line")):send("line", line) end

---What follows is raw: so many bytes, or until set_line_mode.
---
---    self:set_raw_mode(tonumber(length))
---@param bytes? integer
function LineProtocol:set_raw_mode(bytes) (self.transport or no_transport("set_raw_mode")):set_raw(bytes) end

---Back to lines. `rest` is what of the raw bytes was too much: it is read again.
---@param rest? string
function LineProtocol:set_line_mode(rest) (self.transport or no_transport("set_line_mode")):set_lines(rest) end

---Forgets what was read and not yet delivered, and returns it.
---
---    local rest = self:clear_line_buffer()
---@return string bytes
function LineProtocol:clear_line_buffer()
  return (self.transport or no_transport("clear_line_buffer")):clear_buffer()
end

return LineProtocol
