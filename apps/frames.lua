-- SPDX-License-Identifier: MIT
-- A store of values in binary frames: magic, kind, key, value.
--
--     ropewalk run apps/frames.lua
--     printf '\312\376\2\0\0\0\16\0\3key\0\0\0\5value' | nc 127.0.0.1 7005 | xxd

local rw = require "ropewalk"

local GET <const>, PUT <const>, VALUE <const>, NONE <const> = 1, 2, 3, 4
local MOST_KEYS <const> = 10000

-- The payload is a key with its length, then the value with its own.
local Store = rw.frame("> magic:I2=0xCAFE kind:B length:I4", { max = 65536 })

local values, count = {}, 0

local function put(key, value)
  if values[key] == nil then
    if count == MOST_KEYS then return false end
    count = count + 1
  end
  values[key] = value
  return true
end

function Store:frame_received(frame)
  local ok, key, value = pcall(string.unpack, frame.kind == PUT and ">s2s4" or ">s2", frame.payload)
  if not ok or (frame.kind ~= GET and frame.kind ~= PUT) then
    return self.transport:lose_connection()
  end
  if frame.kind == PUT and not put(key, value) then return self:send_frame { kind = NONE } end
  local found = values[key]
  self:send_frame { kind = found and VALUE or NONE, payload = found }
end

return rw.server(rw.config.listen or "tcp:127.0.0.1:7005", rw.Factory:for_protocol(Store))
