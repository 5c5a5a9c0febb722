-- SPDX-License-Identifier: MIT
--- `require "ropewalk.web"`: sites, and the answers that their handlers give.
---
---     local rw, web = require "ropewalk", require "ropewalk.web"
---     local site = web.Site()
---     site:get("/", function() return "Hello from Ropewalk\n" end)
---     site:get("/users/:id", function(request)
---       return web.json(users[request.params.id] or web.error(404))
---     end)
---     return rw.server("tcp:8080", site)

local core = require "ropewalk.core"
local file = require "ropewalk.web.file"
local log = require "ropewalk.web.middleware.log"
local response = require "ropewalk.web.response"
local static = require "ropewalk.web.static"
local status = require "ropewalk.web.status"
require "ropewalk.web.request"
local Site = require "ropewalk.web.site"
local _ENV <const> = nil

return {
  Site = Site,
  Response = response.Response,
  response = response.response,
  text = response.text,
  html = response.html,
  json = response.json,
  redirect = response.redirect,
  error = response.error,
  stream = response.stream,
  is_response = response.is,
  static = static.static,
  file = file.file,
  status = status,
  log = log,
  null = core.null,
  array = core.array,
  escape = core.escape_html,
}
