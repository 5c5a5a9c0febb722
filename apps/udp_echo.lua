-- SPDX-License-Identifier: MIT
-- Sends back the datagrams that it gets.
--
--     ropewalk run apps/udp_echo.lua
--     nc -u 127.0.0.1 7000
--
--     ropewalk run apps/udp_echo.lua --set listen=unixgram:/tmp/echo
--     socat - UNIX-SENDTO:/tmp/echo,bind=/tmp/me

local rw = require "ropewalk"

local Echo = rw.DatagramProtocol:extend "Echo"

function Echo:datagram_received(bytes, address)
  self.transport:write(bytes, address)
end

return rw.server(rw.config.listen or "udp:127.0.0.1:7000", rw.Factory:for_protocol(Echo))
