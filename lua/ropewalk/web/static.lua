-- SPDX-License-Identifier: MIT
--- A directory that is served. Nothing outside of it is reachable, whatever
--- the path and whatever links lie in it: the kernel looks names up beneath
--- the directory only (openat2, RESOLVE_BENEATH), and what could confuse
--- somebody in between (encoded slashes, "..", NUL) is refused here already.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local file_response = require "ropewalk.web.file"
local mime = require "ropewalk.web.mime"
local response = require "ropewalk.web.response"

local error, ipairs, math, pairs, setmetatable, table, tostring, type =
  error, ipairs, math, pairs, setmetatable, table, tostring, type
local _ENV <const> = nil

---@class ropewalk.web.Static
local Static = { __name = "web.static", methods = { "GET" } }
Static.__index = Static

local SLASH <const> = 47
local MAX_AGE <const> = 2 ^ 31 -- RFC 9111 §1.2.2

local known = { index = "table", listing = "boolean", max_age = "number",
                hidden = "boolean", types = "table" }

--- The raw path below the directory: what follows the mount, or what a last
--- `*name` of the route matched.
local function raw_path(request)
  local route = request.route
  local skip = route and (route.star or route.base) or 0
  local path, at = request.path, 1
  for _ = 1, skip do
    at = path:find("/", at + 1, true)
    if not at then return "" end
  end
  return path:sub(at)
end

--- Raw path → relative path, segment by segment; or nil, status.
local function decode(raw, hidden)
  if raw:find "^/[%w_-]" and not raw:find "[^%w_./-]" and not raw:find "/[./]"
    and raw:byte(-1) ~= SLASH then
    return raw:sub(2), false -- nothing in it to look at closely
  end
  local out = {}
  for segment in (raw .. "/"):gmatch "([^/]*)/" do
    local name = core.percent_decode(segment)
    if not name then return nil, 400 end
    if name:find "[/%z\\]" or name == "." or name == ".." then return nil, 404 end
    if not hidden and name:find "^%." and name ~= ".well-known" then return nil, 404 end
    out[#out + 1] = name
  end
  if table.remove(out, 1) ~= "" then return nil, 404 end -- before the first slash
  local is_directory = #out == 0 or out[#out] == ""
  if is_directory then table.remove(out) end
  for _, name in ipairs(out) do -- "//": another name for the same thing
    if name == "" then return nil, 404 end
  end
  return table.concat(out, "/"), is_directory
end

--- "…/name" → "./name/": relative, so that no host can get into it.
local function to_directory(request)
  local query = request.query_string
  query = query and query ~= "" and "?" .. query or ""
  return response.redirect("./" .. request.path:match "^.*/(.*)$" .. "/" .. query, 301)
end

local function listing(self, request, file, path)
  local names = file:names()
  file:close()
  if not names then return response.error(403) end
  local title = core.escape_html("/" .. path)
  local out = { "<!doctype html>\n<meta charset=\"utf-8\">\n<title>", title,
    "</title>\n<h1>", title, "</h1>\n<ul>\n" }
  if path ~= "" then out[#out + 1] = "<li><a href=\"../\">../</a>\n" end
  table.sort(names)
  for _, name in ipairs(names) do
    if self.hidden or not name:find "^%." then
      local bare, slash = name:match "^(.-)(/?)$"
      out[#out + 1] = table.concat { "<li><a href=\"./", core.percent_encode(bare), slash,
        "\">", core.escape_html(name), "</a>\n" }
    end
  end
  out[#out + 1] = "</ul>\n"
  local made = response.html(table.concat(out))
  made:header("X-Content-Type-Options", "nosniff")
  made:header("Content-Security-Policy", "default-src 'none'")
  return made
end

local function directory(self, request, file, path)
  for _, index in ipairs(self.index) do
    local name = path == "" and index or path .. "/" .. index
    local found = self.dir:open(name)
    if found and found.is_regular then
      file:close()
      return file_response.respond(request, found, name, self)
    end
    if found then found:close() end
  end
  if self.listing then return listing(self, request, file, path) end
  file:close()
  return response.error(404)
end

--- The handler: a Static is called with the request.
function Static.__call(self, request)
  local path, is_directory = decode(raw_path(request), self.hidden)
  if not path then return response.error(is_directory) end
  local file, code = self.dir:open(path == "" and "." or path)
  if not file then return file_response.refused(code) end
  if file.is_directory then
    if is_directory then return directory(self, request, file, path) end
    file:close()
    return to_directory(request)
  end
  if is_directory or not file.is_regular then
    file:close()
    return response.error(404)
  end
  return file_response.respond(request, file, path, self)
end

local function check_options(options)
  for key, value in pairs(options) do
    if not known[key] then error("web.static: unknown option " .. tostring(key), 3) end
    if type(value) ~= known[key] then
      error("web.static: " .. key .. " is a " .. known[key], 3)
    end
    if key == "max_age" and not (value >= 0 and value <= MAX_AGE) then
      error("web.static: max_age is a number of seconds", 3)
    end
  end
end

--- Serves the files of a directory. Options: `index` ({"index.html"}), `listing`
--- (false), `max_age` (seconds, for Cache-Control), `hidden` (false: names
--- that begin with a dot do not exist), `types` (extension → media type).
---
---     site:mount("/static", web.static("public", { max_age = 3600 }))
---@param root string
---@param options? table
---@return ropewalk.web.Static
local function static(root, options)
  if type(root) ~= "string" then error("web.static takes a directory", 2) end
  options = argument.optional("static", 2, options, "table") or {}
  check_options(options)
  local dir, _, message = core.dir(root)
  if not dir then error("web.static: " .. root .. ": " .. tostring(message), 2) end
  return setmetatable({
    dir = dir,
    index = options.index or { "index.html" },
    listing = options.listing,
    hidden = options.hidden,
    max_age = options.max_age and math.floor(options.max_age),
    types = options.types and mime.normalise(options.types),
  }, Static)
end

return { static = static, Static = Static, decode = decode }
