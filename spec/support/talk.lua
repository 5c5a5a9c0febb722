-- SPDX-License-Identifier: MIT
-- For specs of protocols: a server and a client in this process.
local rw = require "ropewalk"

local talking = {}

-- Listens, connects: the client's protocol and the port.
function talking.talk(server_class, client_class, factory)
  local port = rw.listen("tcp:127.0.0.1:0", factory or rw.Factory:for_protocol(server_class)):await()
  local client = rw.connect("tcp:127.0.0.1:" .. port.port,
    rw.Factory:for_protocol(client_class)):await()
  return client, port
end

-- A client class which keeps what it gets: seen, more (a queue), lost (a Deferred).
function talking.recorder(base)
  local Client = base:extend "Client"
  function Client:init()
    self.seen = {}
    self.lost = rw.Deferred()
    self.more = rw.DeferredQueue()
  end
  function Client:note(value)
    self.seen[#self.seen + 1] = value
    self.more:put(value)
  end
  function Client:data_received(bytes) self:note(bytes) end
  function Client:line_received(line) self:note(line) end
  function Client:string_received(s) self:note(s) end
  function Client:connection_lost(reason) self.lost:callback { reason = reason, code = reason.code } end
  return Client
end

return talking
