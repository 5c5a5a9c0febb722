-- SPDX-License-Identifier: MIT
-- UNIX datagram sockets in this process, for specs.
local rw = require "ropewalk"

local Client = require("spec.support.datagram").Client

local unixgram = {}

local Echo = rw.DatagramProtocol:extend "Echo"
function Echo:datagram_received(bytes, address)
  self.from = address
  self.sent, self.failure = self.transport:write(bytes, address)
end
unixgram.Echo = Echo

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
