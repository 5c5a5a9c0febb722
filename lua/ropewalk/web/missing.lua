-- SPDX-License-Identifier: MIT
--- What a site answers when there is no handler, or when the handler failed:
--- 404, 405, OPTIONS, the redirect from a mount's prefix to its root, 500.

local core = require "ropewalk.core"
local answer = require "ropewalk.web.answer"
local response = require "ropewalk.web.response"

local ipairs, table, type = ipairs, table, type
local _ENV <const> = nil

local missing = {}

local function has(list, wanted)
  for _, item in ipairs(list) do
    if item == wanted then return true end
  end
end

--- The Allow field: what the router told, and what we answer by ourselves.
local function allow(methods)
  local list = table.move(methods, 1, #methods, 1, {})
  if has(list, "GET") and not has(list, "HEAD") then list[#list + 1] = "HEAD" end
  if not has(list, "OPTIONS") then list[#list + 1] = "OPTIONS" end
  table.sort(list)
  return table.concat(list, ", ")
end

--- The path as seen from a prefix, whose segments may be parameters; and how well that
--- one fits: the longer, the better, and words better than parameters. Or nil.
local function below(prefix, path)
  local at, fits = 1, 0
  for wanted in prefix:gmatch "/([^/]+)" do
    local slash = path:find("/", at + 1, true)
    if not slash then return nil end
    local segment, parameter = path:sub(at + 1, slash - 1), wanted:find "^:"
    if parameter and segment == "" then return nil end
    if not parameter and core.percent_decode(segment) ~= wanted then return nil end
    at, fits = slash, fits + (parameter and 2 or 3)
  end
  return path:sub(at), fits
end

--- The innermost site below whose prefix the path is, and that has the field.
local function responsible(site, path, field)
  local best, most = site[field], -1
  for _, mount in ipairs(site._mounts) do
    local rest, fits = below(mount.prefix, path)
    local found = mount.site and rest and fits > most and responsible(mount.site, rest, field)
    if found then best, most = found, fits end
  end
  return best
end

local function is_prefix(site, path)
  for _, mount in ipairs(site._mounts) do
    if mount.prefix ~= "" and path == mount.prefix then return true end
    if mount.site and path:sub(1, #mount.prefix) == mount.prefix
      and is_prefix(mount.site, path:sub(#mount.prefix + 1)) then
      return true
    end
  end
  return false
end

--- "/static" → "/static/": relative, so that it holds behind a proxy that
--- serves us under another path.
local function to_root(request)
  local query = request.query_string
  query = query and query ~= "" and "?" .. query or ""
  return response.redirect("./" .. request.path:match("^.*/(.*)$") .. "/" .. query, 308)
end

local function respond(site, request, allowed)
  local method, path = request.method, request.path or ""
  if allowed then
    local headers = { Allow = allow(allowed) }
    if method == "OPTIONS" then return response.response(204, nil, headers) end
    return response.error(405, nil, headers)
  end
  if method == "OPTIONS" and request.target == "*" then return response.response(204) end
  if (method == "GET" or method == "HEAD") and is_prefix(site, path) then
    return to_root(request)
  end
  local handler = responsible(site, path, "_not_found")
  if not handler then return response.error(404) end
  local result, second, third = handler(request)
  if type(result) == "string" then return response.text(result, 404) end
  return answer.resolve(result, second, third)
end

--- answer_missing of a site: called by C in a task of the connection.
---@param site table
---@return fun(request: table, allowed: string[]|nil)
function missing.handler(site)
  return function(request, allowed)
    local handler = function() return respond(site, request, allowed) end
    local chain = site._middleware
    if #chain > 0 then handler = site._compose(chain, handler) end
    answer.send(request, answer.call(handler, request))
  end
end

--- on_error of the innermost site that has one.
local function error_handler(site, request)
  local route = request.route
  local sites = type(route) == "table" and route.sites or { site }
  for i = #sites, 1, -1 do
    if sites[i]._on_error then return sites[i]._on_error end
  end
end

--- failed of a site: an error came out of a handler and nothing was sent yet.
---@param site table
---@param request table
---@param failure table
function missing.failed(site, request, failure)
  local made = answer.response_in(failure)
  if made then return answer.send(request, made) end
  local handler = error_handler(site, request)
  made = handler and answer.call(function() return handler(request, failure) end, request)
    or response.error(500)
  if handler and made.status == 204 and not made.body then made = response.error(500) end
  answer.send(request, made)
end

return missing
