-- SPDX-License-Identifier: MIT
-- Protocol: one object per connection. The C core looks up its hooks by name,
-- calls them in a task of the connection, one at a time: a hook may wait, and
-- what arrives meanwhile stays queued.
--
--   make_connection ─▶ connection_made ─▶ data_received … ─▶ connection_lost
--
-- connection_lost comes exactly once, as the last. Its reason is a Failure:
-- reason.clean, or reason.code "done", "lost", "aborted".

local Object = require "ropewalk.class"
require "ropewalk.transport"

local getmetatable, next, pairs, type = getmetatable, next, pairs, type
local find = string.find

local _ENV <const> = nil

---@class ropewalk.Protocol
---@field transport ropewalk.Transport the connection
---@field factory ropewalk.Factory who made this protocol
local Protocol = Object:extend "Protocol"

---Which engine of the C core cuts the bytes into events.
Protocol.engine = "raw"

---Which method each event of the engine calls.
Protocol.events = { data = "data_received" }

Protocol.transport = false
Protocol.factory = false

---Ties the protocol to its connection. Called by the core.
---@param transport ropewalk.Transport
function Protocol:make_connection(transport)
  self.transport = transport
  local factory = self.factory
  if factory then factory:track(self) end
  return self:connection_made()
end

---The connection is there: say hello.
---
---    function Greeter:connection_made() self.transport:write "hello\r\n" end
function Protocol:connection_made() end -- luacheck: ignore 212

---Bytes came, in pieces of any size.
---
---    function Echo:data_received(bytes) self.transport:write(bytes) end
---@param bytes string
function Protocol:data_received(bytes) end -- luacheck: ignore 212

---The connection is gone.
---
---    function User:connection_lost(reason)
---      if not reason.clean then rw.log.info("lost {peer}", { peer = self.transport.peer }) end
---    end
---@param reason ropewalk.Failure
function Protocol:connection_lost(reason) end -- luacheck: ignore 212

-- Hooks without a default: the connection is closed at the peer's half-close unless
-- read_connection_lost is there.
--
--   read_connection_lost()    the peer will send no more
--   write_connection_lost()   what was written before lose_write() is sent
--   protocol_switched(other)  the connection belongs to another protocol now

-- Moving to new code -------------------------------------------------------

-- A deep copy of what is plain data; nil for anything else.
local function plain(value, depth)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return value end
  if kind ~= "table" or depth > 8 or getmetatable(value) then return nil end
  local copy = {}
  for key, each in pairs(value) do
    local k, v = plain(key, depth + 1), plain(each, depth + 1)
    if k ~= nil and v ~= nil then copy[k] = v end
  end
  if next(copy) == nil and next(value) ~= nil then return nil end
  return copy
end

local OWN <const> = { transport = true, factory = true }

---What the protocol of the new code gets when the connection migrates (factory
---policy "migrate"): plain data. By default: all own fields which are plain and
---do not begin with an underscore.
---
---    function User:save() return { name = self.name } end
---@return table
function Protocol:save()
  local data = {}
  for key, value in pairs(self) do
    if type(key) == "string" and not find(key, "^_") and not OWN[key] then
      data[key] = plain(value, 1)
    end
  end
  return data
end

---The connection came from older code, whose protocol saved this. By default
---the fields are set again. connection_made is not called.
---@param data table
function Protocol:restored(data)
  for key, value in pairs(data) do self[key] = value end
end

return Protocol
