-- SPDX-License-Identifier: MIT
--- Methods of the request object that are written in Lua; the object itself
--- is C's (docs/border.md). They may wait. What is the peer's fault raises the
--- response that says so: 400, 413, 415.

local core = require "ropewalk.core"
local multipart = require "ropewalk.web.multipart"
local negotiate = require "ropewalk.web.negotiate"
local response = require "ropewalk.web.response"
local Failure = require "ropewalk.failure"

local error, table = error, table
local _ENV <const> = nil

---@class ropewalk.web.Request
local Request = core.request_methods

local function lost(code, message)
  local failure = Failure.new("lost", message or "the peer is gone", "read the body")
  failure.name = code
  error(failure, 0)
end

--- The pieces of the body as they come. If the peer goes away in the middle an
--- error is raised: half a body is never taken for a whole one.
---
---     for piece in request:chunks() do hash:add(piece) end
---@return fun(): string|nil
function Request:chunks()
  return function()
    local piece, code, message = self:chunk()
    if code then lost(code, message) end
    return piece
  end
end

--- The whole body. Above `max` bytes (limit max_buffered_body) 413 is raised.
--- Can be called again.
---
---     local text = request:read(4096)
---@param max? integer
---@return string
function Request:read(max)
  max = max or self.limits.max_buffered_body
  local length = self._body and #self._body or self.length
  if length and length > max then error(response.error(413), 0) end
  if self._body then return self._body end
  local pieces, size = {}, 0
  for piece in self:chunks() do
    size = size + #piece
    if size > max then error(response.error(413), 0) end
    pieces[#pieces + 1] = piece
  end
  self._body = table.concat(pieces)
  return self._body
end

--- The body as JSON, whatever its Content-Type says; 400 is raised if it is
--- not.
---
---     local order = request:json()
---@return any
function Request:json()
  local value, message = core.json_decode(self:read())
  if value == nil then error(response.error(400, "not JSON: " .. message), 0) end
  return value
end

local function form_urlencoded(self)
  local fields, list = core.query_decode(self:read())
  if not fields then error(response.error(400, "malformed form"), 0) end
  return fields, list
end

local function form_multipart(self, boundary)
  local max, size = self.limits.max_buffered_body, 0
  local fields, list = {}, {}
  if self.length and self.length > max then error(response.error(413), 0) end
  for part in multipart.parts(self:chunks(), boundary) do
    local pieces = {}
    for piece in part.chunks do
      size = size + #piece
      if size > max then error(response.error(413), 0) end
      pieces[#pieces + 1] = piece
    end
    local value = table.concat(pieces)
    if part.filename then
      value = { filename = part.filename, type = part.type, content = value }
    end
    if fields[part.name] == nil then fields[part.name] = value end
    list[#list + 1] = { part.name, value }
  end
  return fields, list
end

local function form_kind(self)
  local kind, params = core.media_type(self.headers["content-type"] or "")
  if kind == "multipart/form-data" then
    local boundary = params.boundary
    if not multipart.is_boundary(boundary) then
      error(response.error(400, "no boundary"), 0)
    end
    return kind, boundary
  end
  return kind
end

--- A form that was sent: `application/x-www-form-urlencoded` or
--- `multipart/form-data`. A file is a table {filename, type, content}. Of equal
--- names the first counts; the second result has all, in order.
---
---     local form = request:form()
---     save(form.photo.filename, form.photo.content)
---@return table<string, string|table> fields
---@return table list of {name, value}
function Request:form()
  local kind, boundary = form_kind(self)
  if boundary then return form_multipart(self, boundary) end
  if kind == "application/x-www-form-urlencoded" then return form_urlencoded(self) end
  error(response.error(415), 0)
end

--- The parts of a `multipart/form-data` body as they come, for uploads that do
--- not fit into memory. A part is {name, filename or nil, type or nil, headers,
--- chunks}; the part before is skipped when the next one is asked for.
---
---     for part in request:parts() do
---       for piece in part.chunks do file:write(piece) end
---     end
---@return fun(): table|nil
function Request:parts()
  local _, boundary = form_kind(self)
  if not boundary then error(response.error(415), 0) end
  return multipart.parts(self:chunks(), boundary)
end

--- A cookie.
---
---     request:cookie "session"
---@param name string
---@return string|nil
function Request:cookie(name)
  return self.cookies[name]
end

--- Is this the method?
---
---     if request:is "POST" then … end
---@param method string
---@return boolean
function Request:is(method)
  return self.method == method:upper()
end

--- The best of the types we offer for the peer's Accept field; the first one
--- if it has no preference; nil if it accepts none.
---
---     local kind = request:accepts("text/html", "application/json")
---@param ... string
---@return string|nil
function Request:accepts(...)
  return negotiate.best(self.headers["accept"], ...)
end

--- Would the peer rather have JSON than HTML?
---
---     if request:wants_json() then return web.json(t) end
---@return boolean
function Request:wants_json()
  return self:accepts("text/html", "application/json") == "application/json"
end

--- The whole address that was asked for.
---
---     request:url() --> "http://example.org/a?b=c"
---@return string
function Request:url()
  if self.target:find("^%a[%w+.-]*://") then return self.target end
  return (self.scheme or "http") .. "://" .. (self.authority or "") .. self.target
end

--- The peer's address, without the port.
---
---     rw.log.info("hello", { peer = request:peer_address() })
---@return string
function Request:peer_address()
  local peer = self.peer
  return peer and peer.host or ""
end

--- Splits the path (as it came, not decoded) before its n+1st segment.
local function split(self, n)
  local path, at = self.path, 1
  for _ = 1, n do
    local slash = path:find("/", at + 1, true)
    if not slash then return path, "" end
    at = slash
  end
  return path:sub(1, at - 1), path:sub(at)
end

--- Where the site or function that handles this is mounted: "" at the top.
---
---     "/admin" for "/admin/users" in a site mounted at "/admin"
---@return string
function Request:base_path()
  local route = self.route
  return (split(self, route and route.base or 0))
end

--- The path as it is seen from there, not decoded.
---
---     "/users" for "/admin/users" in a site mounted at "/admin"
---@return string
function Request:rest_path()
  local route = self.route
  local _, rest = split(self, route and route.base or 0)
  return rest
end

return Request
