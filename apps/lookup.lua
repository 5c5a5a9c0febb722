-- SPDX-License-Identifier: MIT
-- What the Domain Name System says, over HTTP.
--
--     ropewalk run apps/lookup.lua
--     curl localhost:8080/host/localhost
--     curl localhost:8080/MX/example.com
--
-- Other servers than the system's: --set servers=192.0.2.53,192.0.2.54

local rw, web = require "ropewalk", require "ropewalk.web"

if rw.config.servers then rw.names.servers { rw.config.servers } end

local STATUS <const> = { name_not_found = 404, no_data = 404, bad_name = 400, timeout = 504 }

--- The result of a lookup, or what became of it, as JSON.
local function answer(lookup)
  return lookup:add_callbacks(web.json, function(failure)
    return web.json({ error = failure.code, message = failure.message },
      STATUS[failure.code] or 502)
  end)
end

local site = web.Site()

site:get("/host/:name", function(request) return answer(rw.names.resolve(request.params.name)) end)

site:get("/address/:address", function(request)
  return answer(rw.names.reverse(request.params.address))
end)

site:get("/:type/:name", function(request)
  local ok, lookup = pcall(rw.names.lookup, request.params.name, request.params.type)
  if not ok then return web.json({ error = "bad_type" }, 400) end
  return answer(lookup)
end)

return rw.server(rw.config.listen or "tcp:127.0.0.1:8080", site)
