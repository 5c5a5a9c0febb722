-- SPDX-License-Identifier: MIT
-- The other end of a connection, in this process: collects what it gets.
--
--   local peer = Peer.connect(port)
--   peer.transport:write "hello"
--   peer.ended:await()
--   assert.equal("HELLO", peer.text)

local rw = require "ropewalk"

local Peer = rw.Protocol:extend "Peer"

function Peer:init() self.text, self.ended = "", rw.Deferred() end
function Peer:data_received(bytes) self.text = self.text .. bytes end
function Peer:connection_lost(reason) self.ended:callback { reason = reason } end

--- Connects one to a port of this process.
function Peer.connect(port)
  local at = "tcp:127.0.0.1:" .. port.address.port
  return rw.connect(at, rw.Factory:for_protocol(Peer)):await()
end

--- Cuts the connection and waits for its end.
function Peer:finish()
  self.transport:abort_connection()
  self.ended:await()
end

--- Waits until the condition holds; fails after five seconds.
function Peer.eventually(condition)
  for _ = 1, 500 do
    if condition() then return end
    rw.sleep(0.01):await()
  end
  error("it did not happen", 2)
end

return Peer
