-- SPDX-License-Identifier: MIT
-- What the specs of names in simulations share: servers that say who they are,
-- and who asks them.

local rw = require "ropewalk"
local factory = require "spec.sim.datagrams".factory

local servers = {}

servers.Peer = rw.Protocol:extend "Peer"
local Peer = servers.Peer
function Peer:connection_made() self.got = "" end
function Peer:data_received(bytes) self.got = self.got .. bytes end

---A server that says a word, and no more.
function servers.serve(sim, where, word)
  local Server = rw.Protocol:extend "Server"
  function Server:connection_made() self.transport:write(word) self.transport:lose_connection() end
  return sim:run_app(rw.server(where, factory(Server)))
end

---What the server there says.
---@return string word
function servers.word_at(sim, where)
  local peer = rw.connect(where, factory(Peer)):await()
  return sim:run_until(function() return #peer.got > 0 and not peer.transport.connected and peer.got end)
end

---@param d ropewalk.Deferred
---@return string code of the Failure that it ends with, or "none"
function servers.code_of(d)
  local ok, failure = pcall(d.await, d)
  return not ok and failure.code or "none"
end

return servers
