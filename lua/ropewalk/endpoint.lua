-- SPDX-License-Identifier: MIT
-- Endpoints as text: "tcp:127.0.0.1:80", "unix:/run/x.sock:mode=660".
--
--   PREFIX ":" [ word | key "=" word ] { ":" … }
--
-- A backslash takes the next character as it is; brackets keep the colons of
-- an IPv6 address together. The parser is strict and never raises for a text:
-- it returns nil and a Failure which names what it did not like.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"
local read_bind = require "ropewalk.bind_option"

local error, getmetatable, ipairs, pairs, pcall, setmetatable, tonumber, tostring, type =
  error, getmetatable, ipairs, pairs, pcall, setmetatable, tonumber, tostring, type
local concat, remove, sort = table.concat, table.remove, table.sort
local byte, find, format, gsub, match, sub =
  string.byte, string.find, string.format, string.gsub, string.match, string.sub

local _ENV <const> = nil

local MAX_TEXT <const> = 4096 -- a path is at most this long

---@class ropewalk.Endpoint
---@field kind string "tcp", "udp", "unix", "stdio", "fd"
---@field text string as text again, in its canonical form
local Endpoint = { __name = "Endpoint" }
Endpoint.__index = Endpoint
function Endpoint:__tostring() return self.text end

local endpoint = {}
local prefixes = {}

local function bad(text, why, ...)
  return nil, Failure.new("bad_endpoint",
    format('endpoint "%s": %s', gsub(tostring(text), "[%c\128-\255]", "?"), format(why, ...)))
end

-- Splitting ----------------------------------------------------------------

-- text → list of { value, key }, or nil, why
local function split(text)
  local words, word, key, at = {}, {}, nil, 1
  local bracket = false
  while at <= #text + 1 do
    local c = sub(text, at, at)
    if c == "" or (c == ":" and not bracket) then
      words[#words + 1] = { value = concat(word), key = key, at = at }
      word, key = {}, nil
    elseif c == "\\" then
      at = at + 1
      if at > #text then return nil, "a backslash at the end" end
      word[#word + 1] = sub(text, at, at)
    elseif c == "[" and #word == 0 then
      bracket = true
      word[1] = "["
    elseif c == "]" and bracket then
      bracket = false
      word[#word + 1] = "]"
    elseif c == "=" and not key and #words > 0 and not bracket then
      key, word = concat(word), {}
      if key == "" then return nil, "an option without a name" end
    else
      word[#word + 1] = c
    end
    at = at + 1
  end
  if bracket then return nil, "a bracket without its end" end
  return words
end

local function escape(word)
  word = gsub(word, "[\\:=]", "\\%0")
  return byte(word) == 91 and "\\" .. word or word -- "["
end

-- Checking -----------------------------------------------------------------

local function number(word, low, high)
  if not find(word, "^%d+$") or #word > 15 then return nil end
  local value = tonumber(word)
  return value >= low and value <= high and value or nil
end

local function is_ipv6(word)
  local groups, rest = 0, match(word, "^([^%%]*)%%?[%w_.%-]*$")
  if not rest or not find(rest, ":", 1, true) then return false end
  local _, doubles = gsub(rest, "::", "")
  if doubles > 1 or find(rest, ":::", 1, true) then return false end
  local v4 = match(rest, ":(%d+%.%d+%.%d+%.%d+)$")
  if v4 then
    rest, groups = sub(rest, 1, -#v4 - 1) .. "0", 1
  end
  if find(rest, "^:[^:]") or find(rest, "[^:]:$") then return false end
  for group in rest:gmatch "[^:]+" do
    if not find(group, "^%x%x?%x?%x?$") then return false end
    groups = groups + 1
  end
  return doubles == 1 and groups <= 7 or groups == 8
end

local function host_of(word)
  local inner = match(word, "^%[(.*)%]$")
  if inner then return is_ipv6(inner) and inner or nil end
  if is_ipv6(word) then return word end
  if find(word, "[\128-\255]") then word = core.host_to_ascii(word) or "" end
  if #word > 253 or not find(word, "^[%w_][%w_.%-]*$") then return nil end
  if find(word, "^[%d.]+$") then
    local a, b, c, d = match(word, "^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
    for _, part in ipairs { a or "x", b, c, d } do
      if not number(part, 0, 255) or #part > 3 then return nil end
    end
  end
  return word
end

local function known_limit(name)
  local ok, value = pcall(function() return core.limits[name] end)
  return ok and value ~= nil
end

-- Options that any kind has: how to listen and connect, and limits.
local function common(result, options)
  for key, value in pairs(options) do
    if key == "backlog" then
      result.backlog = number(value, 1, 65535)
      if not result.backlog then return "backlog must be a number from 1 to 65535" end
    elseif key == "timeout" then
      local seconds = find(value, "^%d+%.?%d*$") and tonumber(value)
      if not seconds or seconds <= 0 then return "timeout must be a number of seconds" end
      result.timeout = seconds
    elseif key == "listen_multiple" and value == "true" and result.kind == "udp" then
      result.listen_multiple = true
    elseif known_limit(key) then
      local limit = find(value, "^%d+%.?%d*$") and #value <= 15 and tonumber(value)
      if not limit or limit <= 0 then return format("the limit %s must be a number above 0", key) end
      result.limits = result.limits or {}
      result.limits[key] = limit
    else
      return format('unknown option "%s"', key)
    end
    result.options[key] = value
  end
  return nil
end

local function take(options, name)
  local value = options[name]
  options[name] = nil
  return value
end

-- The kinds ----------------------------------------------------------------

local function inet(kind, words, options)
  local port = take(options, "port") or remove(words)
  local host = take(options, "host") or take(options, "interface") or remove(words)
  if #words > 0 then return nil, "too many words; " .. kind .. ":[HOST:]PORT is meant" end
  if not port then return nil, "the port is missing" end
  local result = { kind = kind, port = number(port, 0, 65535) }
  if not result.port then
    return nil, format('the port must be a number from 0 to 65535, not "%s"', port)
  end
  if host then
    result.host = host_of(host)
    if not result.host then return nil, format('"%s" is no host name or address', host) end
  end
  local why = read_bind(result, take(options, "bind"))
  if why then return nil, why end
  local shown = result.host and find(result.host, ":", 1, true) and "[" .. result.host .. "]"
  port = format("%d", result.port)
  result.words = host and { shown or result.host, port } or { port }
  return result
end

function prefixes.tcp(words, options) return inet("tcp", words, options) end

function prefixes.udp(words, options) return inet("udp", words, options) end

function prefixes.unix(words, options)
  local path = take(options, "path") or remove(words, 1)
  if #words > 0 then return nil, "too many words; unix:PATH is meant" end
  if not path or path == "" then return nil, "the path is missing" end
  if #path > 107 then return nil, "the path is longer than 107 bytes" end
  local result = { kind = "unix", path = path, words = { escape(path) } }
  local mode = take(options, "mode")
  if mode then
    if not find(mode, "^[0-7][0-7][0-7][0-7]?$") then
      return nil, format('the mode must be octal like 660, not "%s"', mode)
    end
    result.mode, result.shown_mode = tonumber(mode, 8), mode
  end
  return result
end

function prefixes.stdio(words)
  if #words > 1 or (words[1] and words[1] ~= "") then return nil, "stdio: takes nothing" end
  return { kind = "stdio", words = { "" } }
end

function prefixes.fd(words)
  local fd = words[1] and number(words[1], 0, 1048576)
  if #words ~= 1 or not fd then return nil, "fd:N with a number N is meant" end
  return { kind = "fd", fd = fd, words = { format("%d", fd) } }
end

local function unparse(prefix, result)
  local parts = { prefix }
  for _, word in ipairs(result.words) do parts[#parts + 1] = word end
  if result.shown_mode then parts[#parts + 1] = "mode=" .. result.shown_mode end
  if result.shown_bind then parts[#parts + 1] = "bind=" .. gsub(result.shown_bind, ":", "\\:") end
  local keys = {}
  for key in pairs(result.options) do keys[#keys + 1] = key end
  sort(keys)
  for _, key in ipairs(keys) do
    parts[#parts + 1] = key .. "=" .. escape(result.options[key])
  end
  return concat(parts, ":")
end

-- Public -------------------------------------------------------------------

---Reads an endpoint.
---
---    local at, failure = rw.endpoint.parse "tcp:[::1]:8080:backlog=128"
---@param text string|ropewalk.Endpoint
---@return ropewalk.Endpoint? endpoint
---@return ropewalk.Failure? failure
function endpoint.parse(text)
  if getmetatable(text) == Endpoint then return text end
  if type(text) ~= "string" then return bad(text, "a string is needed, not a %s", type(text)) end
  if #text > MAX_TEXT then return bad(sub(text, 1, 40), "longer than %d bytes", MAX_TEXT) end
  if find(text, "[%z\1-\31\127]") then return bad(text, "control characters are not allowed") end
  local words, why = split(text)
  if not words then return bad(text, "%s", why) end
  local prefix = words[1].value
  local build = prefixes[prefix]
  if not build then
    local known = {}
    for name in pairs(prefixes) do known[#known + 1] = name end
    sort(known)
    local hint = find(text, "^[%w.%-]*:?%d+$") and "; is tcp:" .. text .. " meant?" or ""
    return bad(text, 'unknown kind "%s" (there is: %s)%s', prefix, concat(known, ", "), hint)
  end
  local positional, options = {}, {}
  for i = 2, #words do
    local word = words[i]
    if not word.key then
      positional[#positional + 1] = word.value
    elseif options[word.key] ~= nil then
      return bad(text, 'the option "%s" is given twice', word.key)
    else
      options[word.key] = word.value
    end
  end
  local result
  result, why = build(positional, options, sub(text, words[1].at + 1))
  if not result then
    return bad(text, "%s", type(why) == "table" and why.message or why or "refused")
  end
  if getmetatable(result) == Endpoint then return result end
  result.options = result.options or {}
  why = common(result, options)
  if why then return bad(text, "%s", why) end
  result.text = result.text or (result.words and unparse(prefix, result)) or text
  result.words, result.shown_mode, result.shown_bind, result.options = nil, nil, nil, nil
  return setmetatable(result, Endpoint)
end

---Like parse, but raises: for endpoints that the script itself writes.
---@param text string|ropewalk.Endpoint
---@return ropewalk.Endpoint
function endpoint.need(text)
  local result, failure = endpoint.parse(text)
  if not result then error(failure, 0) end
  return result
end

---Adds a kind. `build` gets the words, the options (it takes out those that it
---knows) and the text after the prefix; it returns the endpoint's table, or
---another parsed endpoint, or nil and why not.
---
---    rw.endpoint.register("local", function(words)
---      return rw.endpoint.parse("unix:/run/my/" .. words[1])
---    end)
---@param prefix string
---@param build fun(words: string[], options: table<string, string>, rest: string): table?, any
function endpoint.register(prefix, build)
  if type(prefix) ~= "string" or not find(prefix, "^%l[%l%d_]*$") then
    error("register: the prefix must be a lower-case word", 2)
  end
  prefixes[prefix] = build
end

---Makes a word safe to stand in an endpoint.
---
---    "unix:" .. rw.endpoint.escape(path)
---@param word string
---@return string
function endpoint.escape(word) return escape(word) end

return endpoint
