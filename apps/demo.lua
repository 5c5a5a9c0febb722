-- SPDX-License-Identifier: MIT
-- What `make run` serves: one page that says what else there is to try. Change
-- this file while it runs and send SIGHUP, or run it with --watch.

local rw, web = require "ropewalk", require "ropewalk.web"

local started, visits = os.time(), 0

local site = web.Site()

site:get("/", function(request)
  visits = visits + 1
  local here = request:url():gsub("/$", "")
  return ([[
Ropewalk is up. This page comes from apps/demo.lua; visit number %d.

  curl HERE/hello/you                        a path parameter
  curl HERE/api/status                       JSON
  curl HERE/api/sum -d '{"numbers":[1,2,3]}' JSON in and out
  curl HERE/form -F name=you -F file=@README.md
  curl -N HERE/count                         a response that takes its time
  curl -T README.md HERE/upload              a body read as it comes
  curl HERE/docs/                            static files
  curl -i HERE/teapot                        an error
]]):format(visits):gsub("HERE", (here:gsub("%%", "%%%%")))
end)

site:get("/hello/:name", function(request)
  return "Hello, " .. request.params.name .. "\n"
end)

-- A site of its own, hung in below /api.
local api = web.Site()

api:get("/status", function()
  return web.json { visits = visits, started = started, uptime = os.time() - started }
end)

api:post("/sum", function(request)
  local sum, body = 0, request:json()
  for _, n in ipairs(type(body) == "table" and body.numbers or {}) do
    sum = sum + (tonumber(n) or error(web.error(422, "only numbers can be added")))
  end
  return web.json { sum = sum }
end)

site:mount("/api", api)

site:post("/form", function(request)
  local form, all = request:form()
  local file = type(form.file) == "table" and form.file
  return ("%d fields%s\n"):format(#all,
    file and (", and a file %s of %d bytes"):format(file.filename, #file.content) or "")
end)

site:get("/count", function()
  return web.stream(function(write)
    for i = 5, 1, -1 do
      write(i .. "\n")
      rw.sleep(1):await()
    end
    write "lift-off\n"
  end)
end)

site:put("/upload", function(request)
  local pieces, bytes = 0, 0
  for piece in request:chunks() do
    pieces, bytes = pieces + 1, bytes + #piece
  end
  return 201, ("%d bytes in %d pieces\n"):format(bytes, pieces)
end)

site:any("/teapot", function() return web.error(418, "short and stout") end)

local ok, docs = pcall(web.static, rw.config.root or "docs", { listing = true })
if ok then site:mount("/docs", docs) end

return rw.server(rw.config.listen or "tcp:8080", site)
