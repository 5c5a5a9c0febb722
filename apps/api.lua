-- SPDX-License-Identifier: MIT
-- A JSON API over a table in memory: tasks that can be listed, made, read,
-- replaced, changed and deleted.
--
--     ropewalk run apps/api.lua
--     curl localhost:8080/tasks -d '{"title": "splice the mainbrace"}'
--     curl localhost:8080/tasks/1 -X PATCH -d '{"done": true}'
--     curl 'localhost:8080/tasks?done=true&limit=10'

local rw, web = require "ropewalk", require "ropewalk.web"

local tasks, last_id = {}, 0 -- id → task

local PAGE <const>, MAX_PAGE <const> = 20, 100

--- What the members of a task have to be: the message if they are not.
local members = {
  title = function(value)
    if type(value) ~= "string" or value == "" or #value > 200 then
      return "a text of 1 to 200 bytes"
    end
  end,
  done = function(value)
    if type(value) ~= "boolean" then return "true or false" end
  end,
}

--- The body as a task; `partial`: members may be missing.
local function read_task(request, partial)
  local body = request:json()
  if type(body) ~= "table" or #body > 0 then error(web.error(422, { error = "not an object" })) end
  local task, errors = {}, {}
  for name, value in pairs(body) do
    local check = members[name]
    errors[name] = not check and "unknown" or check and check(value) or nil
    task[name] = value
  end
  if not partial and task.title == nil then errors.title = "missing" end
  if next(errors) then error(web.error(422, { error = "invalid task", members = errors })) end
  return task
end

local function find(request)
  local id = math.tointeger(tonumber(request.params.id))
  return tasks[id] or error(web.error(404, { error = "no such task" }))
end

--- A query parameter that is a number within bounds.
local function number(request, name, default, low, high)
  local text = request.query[name]
  local value = text and (text:find "^%d+$" and math.tointeger(tonumber(text))) or default
  if text and (not text:find "^%d+$" or not value or value < low or value > high) then
    error(web.error(400, { error = ("%s is a number from %d to %d"):format(name, low, high) }))
  end
  return value
end

local api = web.Site()

api:get("/tasks", function(request)
  local offset = number(request, "offset", 0, 0, 1000000)
  local limit = number(request, "limit", PAGE, 1, MAX_PAGE)
  local done, found = request.query.done, {}
  for _, task in pairs(tasks) do
    if not done or tostring(task.done) == done then found[#found + 1] = task end
  end
  table.sort(found, function(a, b) return a.id < b.id end)
  local page = web.array(table.move(found, offset + 1, offset + limit, 1, {}))
  return web.json { tasks = page, total = #found, offset = offset, limit = limit }
end)

api:post("/tasks", function(request)
  local task = read_task(request)
  last_id = last_id + 1
  task.id, task.done = last_id, task.done or false
  tasks[last_id] = task
  return web.json(task, 201):header("Location", "/tasks/" .. last_id)
end)

api:get("/tasks/:id", function(request) return web.json(find(request)) end)

api:put("/tasks/:id", function(request)
  local old = find(request)
  local task = read_task(request)
  task.id, task.done = old.id, task.done or false
  tasks[old.id] = task
  return web.json(task)
end)

api:patch("/tasks/:id", function(request)
  local task = find(request)
  for name, value in pairs(read_task(request, true)) do task[name] = value end
  return web.json(task)
end)

api:delete("/tasks/:id", function(request)
  tasks[find(request).id] = nil
  return 204
end)

api:not_found(function() return web.error(404, { error = "not found" }) end)
api:on_error(function() return web.error(500, { error = "internal error" }) end)

return rw.server(rw.config.listen or "tcp:8080", api)
