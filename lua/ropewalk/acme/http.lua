-- SPDX-License-Identifier: MIT
-- Requests to an authority: one connection each, TLS with a checked certificate
-- (plain HTTP to this machine only), no redirects, and bounds for time and size.

local core = require "ropewalk.core"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Factory = require "ropewalk.factory"
local Protocol = require "ropewalk.protocol"
local Reader = require "ropewalk.acme.reader"
local check = require "ropewalk.endpoint.check"
local net = require "ropewalk.listen"
local tls = require "ropewalk.tls"

local pcall, tonumber = pcall, tonumber
local concat = table.concat
local find, format, match, sub = string.find, string.format, string.match, string.sub

local _ENV <const> = nil

local http = {}

local LOOPBACK <const> = { localhost = true, ["127.0.0.1"] = true, ["::1"] = true }

local MAX_AUTHORITY <const> = 262 -- bytes: a name of 255, a port

local function bad_url(url, why)
  return nil, Failure.new("bad_url", format('"%s": %s', sub(url, 1, 200), why))
end

---Takes an absolute URL apart: { secure, host, port, authority, target }.
---@return table? parts
---@return ropewalk.Failure? failure
function http.parse_url(url)
  local scheme, rest = match(url, "^(https?)://([^#]*)$")
  local authority, target = match(rest or "", "^([^/?]+)(.*)$")
  if not authority or find(url, "[%c\127-\255 \\]") then return bad_url(url, "this is no URL of HTTP") end
  if #authority > MAX_AUTHORITY then return bad_url(url, "its host is malformed") end
  local host, port = match(authority, "^(%[[%x:.]+%]):?(%d*)$")
  if not host then host, port = match(authority, "^([%w_.%-]+):?(%d*)$") end
  host = host and check.host(host)
  port = tonumber(port) or (port == "" and (scheme == "https" and 443 or 80)) or nil
  if not host or not port or port < 1 or port > 65535 then return bad_url(url, "its host is malformed") end
  if scheme == "http" and not LOOPBACK[host] then
    return bad_url(url, "plain HTTP is for this machine only; https: is needed")
  end
  if sub(target, 1, 1) ~= "/" then target = "/" .. target end
  return { secure = scheme == "https", host = host, port = port, authority = authority, target = target }
end

local Exchange = Protocol:extend "Exchange"

function Exchange:init(bytes, reader, d) self.bytes, self.reader, self.d = bytes, reader, d end

function Exchange:connection_made() self.transport:write(self.bytes) end

local function settle(self, ...)
  local ok, failure = pcall(...)
  if self.d:called() then return end
  if ok and not self.reader.response then return end
  self.transport:abort_connection()
  if ok then return self.d:callback(self.reader.response) end
  return self.d:errback(failure)
end

function Exchange:data_received(bytes) settle(self, self.reader.feed, self.reader, bytes) end

function Exchange:connection_lost(reason)
  settle(self, self.reader.finish, self.reader, reason.clean)
end

-- `fields`: names and values in turn.
local function encode(method, url, fields, body)
  local lines = { format("%s %s HTTP/1.1", method, url.target), "Host: " .. url.authority,
    "Connection: close", "User-Agent: Ropewalk/" .. (core.version or "0") }
  for i = 1, #fields, 2 do lines[#lines + 1] = fields[i] .. ": " .. fields[i + 1] end
  if body then lines[#lines + 1] = format("Content-Length: %d", #body) end
  return concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

local function endpoint_of(url, context)
  local host = find(url.host, ":", 1, true) and "[" .. url.host .. "]" or url.host
  local at = format("tcp:%s:%d", host, url.port)
  if not url.secure then return at end
  return tls.over(at, { context = context })
end

---Sends a request and fires with the response.
---
---    http.request { method = "HEAD", url = url, context = context }
---@param request { method: string, url: string, fields?: string[], body?: string,
---  context: userdata of rw.tls.client_context, timeout: number, max_body: integer }
---@return ropewalk.Deferred # { status, headers (names in lower case), body }
function http.request(request)
  local url, failure = http.parse_url(request.url)
  if not url then return Deferred.fail(failure) end
  local bytes = encode(request.method, url, request.fields or {}, request.body)
  local connecting, exchange
  local d = Deferred.new(function()
    if exchange then return exchange.transport:abort_connection() end
    connecting:cancel()
  end)
  local factory = Factory:for_protocol(Exchange, bytes,
    Reader(request.method == "HEAD", request.max_body), d)
  connecting = net.connect(endpoint_of(url, request.context), factory)
  connecting:add_callbacks(function(protocol) exchange = protocol end, function(unreachable)
    if not d:called() then d:errback(unreachable) end
  end)
  return d:add_timeout(request.timeout)
end

return http
