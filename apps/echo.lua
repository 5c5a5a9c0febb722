-- SPDX-License-Identifier: MIT
-- Sends back what it gets.
--
--     ropewalk run apps/echo.lua
--     nc 127.0.0.1 7000

local rw = require "ropewalk"

local Echo = rw.Protocol:extend "Echo"

function Echo:data_received(bytes)
  self.transport:write(bytes)
end

return rw.server(rw.config.listen or "tcp:127.0.0.1:7000", rw.Factory:for_protocol(Echo))
