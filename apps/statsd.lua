-- SPDX-License-Identifier: MIT
-- Counts what it is told over UDP, a line a datagram, and says the counts to who
-- asks for them:
--
--     ropewalk run apps/statsd.lua
--     echo "logins:1|c" | nc -u -w1 127.0.0.1 8125
--     echo "stats"      | nc -u -w1 127.0.0.1 8125
--
-- With `--set listen=unixgram:/run/statsd.sock:mode=660` over a UNIX socket.

local rw = require "ropewalk"

local MOST_NAMES <const> = 10000 -- names come from the network

local Stats = rw.DatagramProtocol:extend "Stats"

function Stats:init() self.counts, self.names = {}, 0 end

function Stats:count(name, value)
  if not self.counts[name] then
    if self.names == MOST_NAMES then return end
    self.names = self.names + 1
  end
  self.counts[name] = (self.counts[name] or 0) + value
end

function Stats:report()
  local lines = {}
  for name, value in pairs(self.counts) do lines[#lines + 1] = ("%s %g\n"):format(name, value) end
  table.sort(lines)
  return table.concat(lines)
end

function Stats:datagram_received(bytes, address)
  if bytes:match "^stats%s*$" then return self.transport:write(self:report(), address) end
  for line in bytes:gmatch "[^\n]+" do
    local name, value = line:match "^([%w_.-]+):(-?%d+%.?%d*)|c%s*$"
    if name then self:count(name, tonumber(value)) end
  end
end

return rw.server(rw.config.listen or "udp:127.0.0.1:8125", rw.Factory:for_protocol(Stats))
