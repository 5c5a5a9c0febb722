-- SPDX-License-Identifier: MIT
--- Connections within this process, for specs: our end, and the far one.
---
---     after_each(ends.close)
---     local a, far = ends.connected(Protocol)
---     far.transport:write "hello"
local rw = require "ropewalk"

local ends = { eventually = require("spec.support.core").eventually }

--- Collects what it gets; `ended` fires with { reason = … }.
local Collector = rw.Protocol:extend "Collector"
function Collector:init() self.pieces, self.size, self.ended = {}, 0, rw.Deferred() end
function Collector:data_received(bytes)
  self.pieces[#self.pieces + 1] = bytes
  self.size = self.size + #bytes
end
function Collector:read_connection_lost()
  self.eof = true
  if not self.stays then self.transport:lose_connection() end
end
function Collector:connection_lost(reason) self.ended:callback { reason = reason } end
function Collector:text() return table.concat(self.pieces) end
ends.Collector = Collector

local ports = {}

--- A new connection: our end of it (of the class), and the other, a Collector.
--- `dial`: the endpoint that the other one connects to, made of the plain one.
function ends.connected(class, where, dial)
  local made = rw.Deferred()
  local Server = (class or rw.Protocol):extend "Server"
  local before = Server.connection_made
  function Server:connection_made()
    made:callback { self }
    return before(self)
  end
  local port = rw.listen(where or "tcp:127.0.0.1:0", rw.Factory:for_protocol(Server)):await()
  ports[#ports + 1] = port
  local at = port.address.kind == "unix" and "unix:" .. port.address.path
    or "tcp:127.0.0.1:" .. port.address.port
  local far = rw.connect(dial and dial(at) or at, rw.Factory:for_protocol(Collector)):await()
  return made:await()[1], far
end

--- Stops listening, everywhere.
function ends.close()
  for _, port in ipairs(ports) do port:close():await() end
  ports = {}
end

--- What fn() gives, once it has given the same for a third of a second.
function ends.settled(fn)
  local value, since = fn(), 0
  for _ = 1, 300 do
    rw.sleep(0.03):await()
    local now = fn()
    value, since = now, now == value and since + 1 or 0
    if since == 10 then return value end
  end
  error("it does not settle", 2)
end

--- The failure of a Deferred that has to fail.
function ends.fails(d)
  local ok, failure = pcall(d.await, d)
  if ok then error("it did not fail", 2) end
  return failure
end

return ends
