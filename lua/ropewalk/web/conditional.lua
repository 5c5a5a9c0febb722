-- SPDX-License-Identifier: MIT
--- Conditional requests (RFC 9110 §13), in the order of §13.2.2.

local core = require "ropewalk.core"
local _ENV <const> = nil

local conditional = {}

--- Does a list of entity tags name this one? `weak`: W/ does not matter.
local function matches(field, etag, weak)
  if field:find "^%s*%*%s*$" then return true end
  for prefix, tag in field:gmatch '(W?/?)("[^"]*")' do
    if tag == etag and (weak or prefix == "") then return true end
  end
  return false
end

--- What the preconditions say of a representation: 304, 412 or nil (go on).
---
---     local code = conditional.check(request, '"v1"', file.mtime)
---@param request table
---@param etag string strong
---@param mtime integer seconds
---@return integer|nil
function conditional.check(request, etag, mtime)
  local headers = request.headers
  local field = headers["if-match"]
  if field then
    if not matches(field, etag, false) then return 412 end
  else
    field = headers["if-unmodified-since"]
    local since = field and core.http_date_parse(field)
    if since and mtime > since then return 412 end
  end
  local safe = request.method == "GET" or request.method == "HEAD"
  field = headers["if-none-match"]
  if field then
    if matches(field, etag, true) then return safe and 304 or 412 end
  elseif safe then
    field = headers["if-modified-since"]
    local since = field and core.http_date_parse(field)
    if since and mtime <= since then return 304 end
  end
end

--- Does If-Range, if it is there, let the Range field count (§13.1.5)?
---@param request table
---@param etag string
---@param mtime integer
---@return boolean
function conditional.range_counts(request, etag, mtime)
  local field = request.headers["if-range"]
  if not field then return true end
  if field:find '^W/"' or field:find '^"' then return field == etag end
  return core.http_date_parse(field) == mtime
end

return conditional
