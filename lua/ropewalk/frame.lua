-- SPDX-License-Identifier: MIT
-- rw.frame: protocols of binary frames, from a pattern (pattern.lua). The C engine
-- `frame` collects whole frames; here their headers become tables and back.

local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local Protocol = require "ropewalk.protocol"
local pattern = require "ropewalk.pattern"

local error, ipairs, next, tostring, type = error, ipairs, next, tostring, type
local format, unpack = string.format, string.unpack
local mtype = math.type
local expect, misuse, optional, no_transport =
  argument.expect, argument.misuse, argument.optional, argument.no_transport

local _ENV <const> = nil

---@class ropewalk.FrameProtocol: ropewalk.Protocol
local FrameProtocol = Protocol:extend "FrameProtocol"

FrameProtocol.engine = "frame"
FrameProtocol.events = { frame = "_frame" }

---A whole frame came: a table with the fields by their names (those without a
---name by their number) and `payload`.
---
---    function Store:frame_received(frame)
---      if frame.kind == 1 then self:put(frame.payload) end
---    end
---@param frame table
function FrameProtocol:frame_received(frame) end -- luacheck: ignore 212

---The peer announced more than the limit max_frame. The connection is closed
---after this.
---@param length integer
function FrameProtocol:length_limit_exceeded(length) end -- luacheck: ignore 212

---The checksum of a frame is wrong. By default the connection is closed: nobody
---knows any more where the next frame begins.
---@param frame table
function FrameProtocol:checksum_failed(frame) -- luacheck: ignore 212
  (self.transport or no_transport("checksum_failed")):abort_connection()
end

local function take(frame, part, bytes)
  local names = part.names
  for i, value in ipairs { unpack(part.code, bytes) } do
    local name = names[i]
    if name ~= nil then frame[name] = value end -- the last value is a position
  end
end

function FrameProtocol:_frame(header, payload, trailer)
  local layout, checksum = self.layout, self.checksum
  local frame = { payload = payload }
  take(frame, layout.header, header)
  if trailer ~= "" then take(frame, layout.trailer, trailer) end
  if checksum and checksum(header, payload) ~= frame[layout.trailer.names[1]] then
    return self:checksum_failed(frame)
  end
  return self:frame_received(frame)
end

local function too_long(payload)
  return nil, Failure.new("too_long", format("a payload of %d bytes is too long", #payload))
end

-- The trailer, with the checksum of what stands before it.
local function make_trailer(self, frame, header, payload)
  local part = self.layout.trailer
  if part.size == 0 then return "" end
  local computed = {}
  if self.checksum then computed[part.names[1]] = self.checksum(header, payload) end
  return pattern.pack(part, frame, computed)
end

---Sends a frame: a table with its fields. The length, constants and the checksum
---are filled in. A field that is missing or does not fit raises; a frame that is
---longer than allowed is not sent.
---
---    self:send_frame { kind = 2, payload = "hello" }
---@param frame table
---@return boolean? below_high_water
---@return ropewalk.Failure? failure
function FrameProtocol:send_frame(frame)
  local layout, payload = self.layout, expect("send_frame", 1, frame, "table").payload or ""
  if not layout then misuse "send_frame: it is for a class that rw.frame has made" end
  if type(payload) ~= "string" then error("send_frame: the payload must be a string", 2) end
  local length = #payload - self.frame_format.adjust
  if layout.width < 8 and length >> (8 * layout.width) ~= 0 then return too_long(payload) end
  local header, why = pattern.pack(layout.header, frame, layout.constants, length)
  local trailer
  if header then trailer, why = make_trailer(self, frame, header, payload) end
  if not trailer then error("send_frame: " .. why, 2) end
  local below, code = (self.transport or no_transport("send_frame")):send("frame", header, payload, trailer)
  if below ~= nil or not code then return below end
  return too_long(payload)
end

local OPTIONS <const> = { counts = true, max = true, checksum = true }
local COUNTS <const> = { payload = true, rest = true, all = true }

---Makes the class of a protocol of binary frames. Options: `counts`, what the
---length counts: "payload" (the default), "rest" (all that is behind it) or "all"
---(the whole frame); `max`, the longest payload, if it is less than the limit
---max_frame; `checksum`, a function of header and payload which gives the
---value of the trailer's one field.
---
---    local Store = rw.frame("> magic:I2=0xCAFE kind:B length:I4")
---    function Store:frame_received(frame)
---      self:send_frame { kind = frame.kind, payload = frame.payload:upper() }
---    end
---@param text string
---@param options? { counts: string, max: integer, checksum: fun(header: string, payload: string): any }
---@return ropewalk.FrameProtocol class
function FrameProtocol.of(text, options)
  options = optional("frame", 2, options, "table") or {}
  local counts = options.counts or "payload"
  for name in next, options do
    if not OPTIONS[name] then misuse(format("frame: there is no option '%s'", tostring(name))) end
  end
  if options.max ~= nil and not (mtype(options.max) == "integer" and options.max >= 0) then
    misuse "frame: max is a number of bytes"
  end
  if type(text) ~= "string" then error("frame: the pattern must be a string", 2) end
  if not COUNTS[counts] then error('frame: counts is "payload", "rest" or "all"', 2) end
  local layout, why = pattern.parse(text)
  if not layout then error(format('frame "%s": %s', text, why), 2) end
  if options.checksum and #layout.trailer.names ~= 1 then
    error(format('frame "%s": a checksum needs one field behind the payload', text), 2)
  end
  return FrameProtocol:extend("FrameProtocol", {
    layout = layout, checksum = options.checksum or false,
    frame_format = pattern.engine_format(layout, counts, options.max),
  })
end

return FrameProtocol
