-- SPDX-License-Identifier: MIT
--- What a handler gives back when a string is not enough: a status, fields and
--- a body. Made by the functions of `ropewalk.web` (json, html, redirect, …).
---
--- A response is plain data until it is sent (answer.lua), so that middleware
--- can look at it and change it. The body is one of
---   body       a string, or an iterator that returns the next piece
---   producer   fn(request), which sends the bytes itself (files); false: the peer has gone

local cookie = require "ropewalk.web.cookie"
local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local status = require "ropewalk.web.status"

local error, getmetatable, ipairs, math, pairs, setmetatable, table, tostring, type =
  error, getmetatable, ipairs, math, pairs, setmetatable, table, tostring, type
local _ENV <const> = nil

---@class ropewalk.web.Response
---@field status integer
---@field headers table list of {name, value}
---@field body? string|function
---@field producer? fun(request: table)
---@field length? integer of what the producer sends
local Response = { __name = "web.Response" }
Response.__index = Response

function Response:__tostring()
  local text = tostring(self.status) .. " " .. (status[self.status] or "")
  return self.detail and text .. ": " .. self.detail or text
end

local response = { Response = Response }

--- Header lists that many responses share; copied before the first change.
local shared = setmetatable({}, { __mode = "k" })

local function constant(list)
  shared[list] = true
  return list
end

local TEXT = constant { { "Content-Type", "text/plain; charset=utf-8" } }
local HTML = constant { { "Content-Type", "text/html; charset=utf-8" } }
local JSON = constant { { "Content-Type", "application/json" } }
local NONE = constant {}

local function own_headers(self)
  local list = self.headers
  if shared[list] then
    list = table.move(list, 1, #list, 1, {})
    self.headers = list
  end
  return list
end

local function check_field(name, value, level)
  if type(name) ~= "string" or not core.is_token(name) then
    error("a header's name is a token, not " .. tostring(name), level + 1)
  end
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" or value:find("[\r\n\0]") then
    error("bad value for header " .. name, level + 1)
  end
  return value
end

local function remove(list, lower)
  for i = #list, 1, -1 do
    if list[i][1]:lower() == lower then table.remove(list, i) end
  end
end

local function set(self, name, value, level)
  local list = own_headers(self)
  if #list > 0 and type(name) == "string" then remove(list, name:lower()) end
  if type(value) ~= "table" then value = { value } end
  for _, v in ipairs(value) do
    list[#list + 1] = { name, check_field(name, v, level + 1) }
  end
end

--- Sets a field (a list: several of the same name), or, without a value, reads
--- it.
---
---     response:header("Cache-Control", "no-store")
---@param name string
---@param value? string|number|string[]
---@return ropewalk.web.Response|string|nil
function Response:header(name, value)
  argument.expect("header", 1, name, "string")
  if value ~= nil then
    set(self, name, value, 2)
    return self
  end
  local lower = name:lower()
  for _, field in ipairs(self.headers) do
    if field[1]:lower() == lower then return field[2] end
  end
end

--- Adds a field and leaves those of the same name.
---
---     response:add_header("Link", "</style.css>; rel=preload")
---@param name string
---@param value string|number
---@return ropewalk.web.Response
function Response:add_header(name, value)
  value = check_field(name, value, 2)
  local list = own_headers(self)
  list[#list + 1] = { name, value }
  return self
end

--- Takes a field out.
---
---     response:remove_header("ETag")
---@param name string
---@return ropewalk.web.Response
function Response:remove_header(name)
  remove(own_headers(self), argument.expect("remove_header", 1, name, "string"):lower())
  return self
end

--- Sets a cookie; options as in `cookie.format`.
---
---     web.text("welcome"):cookie("session", token, { max_age = 86400, secure = true })
---@param name string
---@param value string
---@param options? table
---@return ropewalk.web.Response
function Response:cookie(name, value, options)
  local field = cookie.format(name, value, argument.optional("cookie", 3, options, "table"), 2)
  local list = own_headers(self)
  list[#list + 1] = { "Set-Cookie", field }
  return self
end

--- Has the browser forget a cookie: path and domain as when it was set.
---
---     web.redirect("/"):delete_cookie("session")
---@param name string
---@param options? table
---@return ropewalk.web.Response
function Response:delete_cookie(name, options)
  local o = { max_age = 0, expires = 0 }
  for key, value in pairs(argument.optional("delete_cookie", 2, options, "table") or {}) do
    if o[key] == nil then o[key] = value end
  end
  local field = cookie.format(name, "", o, 2)
  local list = own_headers(self)
  list[#list + 1] = { "Set-Cookie", field }
  return self
end

---@return boolean
function response.is(value)
  return type(value) == "table" and getmetatable(value) == Response
end

local function check_status(code, level)
  if math.type(code) ~= "integer" or code < 200 or code > 599 then
    error("bad status " .. tostring(code), level + 1)
  end
end

--- `level` is the caller's to blame; callers use (make(…)), not a tail call,
--- which would take a level away.
local function make(code, headers, body, extra, level)
  level = (level or 2) + 1
  check_status(code, level)
  local self = setmetatable({ status = code, headers = headers, body = body }, Response)
  if extra then
    local names = {}
    for name in pairs(extra) do names[#names + 1] = name end
    table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
    for _, name in ipairs(names) do set(self, name, extra[name], level) end
  end
  return self
end

--- For our own use: a list of fields that needs no check, and a body, or a
--- function that sends `length` bytes itself.
---@param code integer
---@param list table list of {name, value}
---@param body? string
---@param length? integer
---@param producer? fun(request: table)
---@return ropewalk.web.Response
function response.made(code, list, body, length, producer)
  return setmetatable({ status = code, headers = list, body = body, length = length,
    producer = producer }, Response)
end

--- Any response.
---
---     web.response(200, svg, { ["Content-Type"] = "image/svg+xml" })
---@param code integer
---@param body? string|function text, or an iterator of pieces
---@param headers? table map; a list as value: several fields
---@return ropewalk.web.Response
function response.response(code, body, headers)
  local kind = type(body)
  if body ~= nil and kind ~= "string" and kind ~= "function" then
    error("a body is a string or an iterator, not a " .. kind, 2)
  end
  return (make(code, NONE, body, headers))
end

--- Plain text.
---
---     web.text("pong\n")
---@param text string
---@param code? integer 200
---@return ropewalk.web.Response
function response.text(text, code)
  return (make(code or 200, TEXT, tostring(text)))
end

--- HTML. Escape what comes from outside: `web.escape(text)`.
---
---     web.html("<h1>" .. web.escape(name) .. "</h1>")
---@param text string
---@param code? integer 200
---@return ropewalk.web.Response
function response.html(text, code)
  return (make(code or 200, HTML, tostring(text)))
end

--- JSON. A response that is given to it comes back as it is, so that this can
--- be written:
---
---     return web.json(row or web.error(404))
---@param value any
---@param code? integer 200; may be left out
---@param options? table {pretty=, sorted=}
---@return ropewalk.web.Response
function response.json(value, code, options)
  if response.is(value) then return value end
  if type(code) == "table" then code, options = nil, code end -- also web.json(request:form())
  local text, message = core.json_encode(value, options)
  if not text then error("web.json: " .. message, 2) end
  return (make(code or 200, JSON, text))
end

--- Sends the browser elsewhere. 302 by default; 303 after a POST, 308 for good.
---
---     return web.redirect("/login", 303)
---@param location string
---@param code? integer
---@return ropewalk.web.Response
function response.redirect(location, code)
  code = code or 302
  if math.type(code) ~= "integer" or code < 300 or code > 399 then
    error("a redirect's status is 3xx", 2)
  end
  return (make(code, TEXT, (status[code] or "Redirect") .. "\n",
    { Location = argument.expect("redirect", 1, location, "string") }))
end

--- An error for the peer; can be returned, or thrown with `error()` from
--- anywhere below a handler. The detail is text, or a table that is sent as
--- JSON.
---
---     error(web.error(403, "members only"))
---@param code integer
---@param detail? string|table
---@param headers? table
---@return ropewalk.web.Response
function response.error(code, detail, headers)
  check_status(code, 2)
  if type(detail) == "table" then
    local text, message = core.json_encode(detail)
    if not text then error("web.error: " .. message, 2) end
    return (make(code, JSON, text, headers))
  end
  local self = make(code, TEXT, tostring(detail or status[code] or code) .. "\n", headers)
  self.detail = detail
  return self
end

--- The body is written by a function, piece by piece, as fast as the peer
--- reads; it may wait for anything in between. Options: status, type, headers.
---
---     return web.stream(function(write)
---       for i = 1, 10 do write(i .. "\n") rw.sleep(1):await() end
---     end)
---@param fn fun(write: fun(bytes: string), request: table)
---@param options? table
---@return ropewalk.web.Response
function response.stream(fn, options)
  if type(fn) ~= "function" then error("web.stream takes a function", 2) end
  local o = argument.optional("stream", 2, options, "table") or {}
  local self = make(o.status or 200, TEXT, nil, o.headers)
  if o.type then set(self, "Content-Type", o.type, 2) end
  self.writer = fn
  return self
end

return response
