-- SPDX-License-Identifier: MIT
-- Forwards a port: each connection is joined to a new one to another endpoint.
--
--     ropewalk run apps/forward.lua --set to=tcp:127.0.0.1:8080
--
-- Bandwidth and numbers are limited by the endpoint's own options:
--
--     --set listen=tcp:127.0.0.1:7002:write_rate=100000:max_port_connections=50

local rw = require "ropewalk"

local to = rw.config.to or error("--set to=ENDPOINT is missing: where to forward to", 0)

return rw.server(rw.config.listen or "tcp:127.0.0.1:7002",
  rw.Forwarder(to, { idle = tonumber(rw.config.idle) }))
