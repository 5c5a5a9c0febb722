-- SPDX-License-Identifier: MIT
-- What requests say besides their syntax: fields (Range, If-…, Accept, Cookie,
-- Content-Type), queries, paths of files. Each has a simple reader beside it that
-- has to agree, or is written again and read as the same.

local conditional = require "ropewalk.web.conditional"
local cookie = require "ropewalk.web.cookie"
local core = require "ropewalk.core"
local negotiate = require "ropewalk.web.negotiate"
local property = require "property"
local range = require "ropewalk.web.range"
local static = require "ropewalk.web.static"

local must, same = property.check, property.same

-- Range: which bytes of a small file are named, one after the other ------------

local function named(field, size)
  local set, bytes, count = field:match "^[Bb][Yy][Tt][Ee][Ss]=(.*)$", {}, 0
  if not set or #field > 512 then return nil end
  for member in set:gmatch "[^,]+" do
    member = member:gsub("^%s+", ""):gsub("%s+$", "")
    if member ~= "" then
      local first, last = member:match "^(%d*)%-(%d*)$"
      if not first or #first > 15 or #last > 15 or member == "-" then return nil end
      first, last = math.tointeger(first), math.tointeger(last)
      if first and last and last < first then return nil end
      if not first then first, last = math.max(size - last, 0), size - 1 end
      count = count + 1
      for i = first, math.min(last or size - 1, size - 1) do
        if bytes[i] then return nil end
        bytes[i] = true
      end
    end
  end
  if count == 0 or count > 10 then return nil end
  return next(bytes) ~= nil and bytes
end

local function look_at_range(field)
  local size
  size, field = property.byte(field)
  local list, bytes = range.parse(field, size), {}
  for _, each in ipairs(list or {}) do
    must(each.first >= 0 and each.first <= each.last and each.last < size, "out of the file")
    for i = each.first, each.last do bytes[i] = true end
  end
  must(same(list and bytes, named(field, size)), "other bytes")
end

-- Conditions -------------------------------------------------------------------

local TAG <const>, MTIME <const> = '"v1"', 784111777
local CONDITIONS <const> = { "if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range" }

local function look_at_conditions(text)
  local which
  which, text = property.byte(text)
  local name = CONDITIONS[which % #CONDITIONS + 1]
  local method = which > 127 and "PUT" or "GET"
  local request = { method = method, headers = { [name] = text } }
  local code = conditional.check(request, TAG, MTIME)
  must(code == nil or code == 412 or (code == 304 and method == "GET"), "another code")
  local has = text:find(TAG, 1, true)
  if name == "if-match" and not has and not text:find "*" then must(code == 412, "a tag that is not there") end
  if name == "if-none-match" and not has and not text:find "*" then must(not code, "a tag that is not there") end
  if name == "if-none-match" and text == TAG then must(code, "a tag that is there") end
  local counts = conditional.range_counts(request, TAG, MTIME)
  must(name == "if-range" or counts, "no condition")
  if name == "if-range" and counts then
    must(text == TAG or core.http_date_parse(text) == MTIME, "another condition")
  end
end

-- Accept -------------------------------------------------------------------------

local A <const>, B <const> = "text/html; charset=utf-8", "application/json"

local function look_at_accept(field)
  local both, a, b = negotiate.best(field, A, B), negotiate.best(field, A), negotiate.best(field, B)
  must(a == nil or a == A, "not what was offered")
  must(b == nil or b == B, "not what was offered")
  must(not both == not (a or b), "one of two, or none")
  must(both == nil or both == a or both == b, "what is not wanted")
end

-- Media types: written again, and read as the same ---------------------------------

local function look_at_media_type(text)
  local kind, params = core.media_type(text)
  if not kind then return end
  must(kind == kind:lower() and kind:match "^[^/%s;]+/[^/%s;]+$", "no type")
  local again = kind
  for name, value in pairs(params) do
    must(core.is_token(name), "a name that is none")
    again = again .. "; " .. name .. '="' .. value:gsub('["\\]', "\\%0") .. '"'
  end
  local kind_again, params_again = core.media_type(again)
  must(kind == kind_again and same(params, params_again), "%q is another type", again)
end

-- Queries and forms ------------------------------------------------------------------

local function plain_text(text)
  text = text:gsub("+", " ")
  if text:gsub("%%%x%x", ""):find("%", 1, true) then return nil end
  return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

local function plain_query(text)
  local fields, list = {}, {}
  for pair in text:gmatch "[^&]+" do
    local name, value = pair:match "^([^=]*)=?(.*)$"
    name, value = plain_text(name), plain_text(value)
    if not name or not value then return nil end
    if fields[name] == nil then fields[name] = value end
    list[#list + 1] = { name, value }
  end
  return fields, list
end

local function look_at_query(text)
  local fields, list = core.query_decode(text)
  local others, other_list = plain_query(text)
  must(same(fields, others), "other fields")
  must(same(list, other_list), "another list")
end

-- Cookies: what we set is what comes back -----------------------------------------------

local function look_at_cookies(text)
  for name, value in pairs(core.cookie_decode(text)) do
    must(#name > 0 and not (name .. value):find ";", "no cookie")
    local set = property.attempt(function(e) return type(e) == "string" end, cookie.format, name, value,
      { path = "/", secure = true })
    if set then
      must(not set:find "[%c]", "a field that is several")
      must(core.cookie_decode(set:match "^[^;]*")[name] == value, "another cookie comes back")
    end
  end
end

-- Paths ------------------------------------------------------------------------------------

local function look_at_path(text)
  local hidden = text:byte() == 64
  local path, is_directory = static.decode(text, hidden)
  if not path then return must(is_directory == 400 or is_directory == 404, "another code") end
  must(not path:find "[%z\\]" and path:sub(1, 1) ~= "/" and not path:find("//", 1, true), "not below")
  for name in path:gmatch "[^/]+" do
    must(name ~= "." and name ~= "..", "another directory")
    must(hidden or name:sub(1, 1) ~= "." or name == ".well-known", "what is hidden")
  end
end

local READERS <const> = {
  look_at_range, look_at_conditions, look_at_accept, look_at_media_type, look_at_query, look_at_cookies,
  look_at_path,
}

return function(bytes)
  local which, text = property.byte(bytes)
  return READERS[which % #READERS + 1](text)
end
