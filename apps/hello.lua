-- SPDX-License-Identifier: MIT
-- The smallest web site.
--
--     ropewalk run apps/hello.lua
--     curl localhost:8080/

local rw, web = require "ropewalk", require "ropewalk.web"

local site = web.Site()

site:get("/", function()
  return "Hello from Ropewalk\n"
end)

site:get("/hello/:name", function(request)
  return "Hello, " .. request.params.name .. "\n"
end)

return rw.server(rw.config.listen or "tcp:8080", site)
