-- SPDX-License-Identifier: MIT
-- UNIX datagram sockets in this process, for specs.
local rw = require "ropewalk"

local unixgram = {}

local Echo = rw.DatagramProtocol:extend "Echo"
function Echo:datagram_received(bytes, address)
  self.from = address
  self.sent, self.failure = self.transport:write(bytes, address)
end
unixgram.Echo = Echo

local Client = rw.DatagramProtocol:extend "Client"
function Client:init()
  self.more, self.refusals = rw.DeferredQueue(), 0
end
function Client:datagram_received(bytes, address)
  self.from = address
  self.more:put(bytes)
end
function Client:connection_refused() self.refusals = self.refusals + 1 end
unixgram.Client = Client

-- The port.
function unixgram.listen(class, where)
  return rw.listen("unixgram:" .. where, rw.Factory:for_protocol(class)):await()
end

-- The protocol.
function unixgram.connect(where, class)
  return rw.connect("unixgram:" .. where, rw.Factory:for_protocol(class or Client)):await()
end

return unixgram
