-- SPDX-License-Identifier: MIT
-- Serves a directory.
--
--     ropewalk run apps/static.lua --set root=/srv/www --set listing=yes

local rw, web = require "ropewalk", require "ropewalk.web"

local site = web.Site()

site:mount("/", web.static(rw.config.root or ".", {
  listing = rw.config.listing == "yes",
  max_age = tonumber(rw.config.max_age),
}))

return rw.server(rw.config.listen or "tcp:8080", site)
