-- SPDX-License-Identifier: MIT
-- What the specs of datagrams and names in simulations share.

local rw = require "ropewalk"

local datagrams = {}

-- Nothing goes wrong.
datagrams.SURE = { faults = { loss = 0, duplicate = 0, delay = 0.01 } }

datagrams.Peer = rw.DatagramProtocol:extend "Peer" -- keeps what it hears
local Peer = datagrams.Peer
function Peer:init() self.got, self.from, self.refused = {}, {}, 0 end
function Peer:datagram_received(bytes, from)
  self.got[#self.got + 1], self.from[#self.from + 1] = bytes, from
end
function Peer:connection_refused() self.refused = self.refused + 1 end

datagrams.Echo = rw.DatagramProtocol:extend "Echo"
function datagrams.Echo:datagram_received(bytes, from) self.transport:write(bytes, from) end

function datagrams.factory(class) return rw.Factory:for_protocol(class) end

---@return any port
---@return any protocol
function datagrams.listen(where, class)
  local port = rw.listen(where, datagrams.factory(class or Peer)):await()
  return port, port.protocol
end

---@return any protocol
function datagrams.connect(where, class)
  return rw.connect(where, datagrams.factory(class or Peer)):await()
end

---@param ... any ports
function datagrams.close(...)
  for _, each in ipairs { ... } do each:stop_listening():await() end
end

return datagrams
