-- SPDX-License-Identifier: MIT
-- luacheck: read globals core
-- The service that haproxy.cfg uses.

local body = "Hello from Ropewalk\n"
local length = tostring(#body)

core.register_service("hello", "http", function(applet)
  applet:set_status(200)
  applet:add_header("content-type", "text/plain; charset=utf-8")
  applet:add_header("content-length", length)
  applet:start_response()
  applet:send(body)
end)
