-- SPDX-License-Identifier: MIT
-- Endpoints as text: "tcp:127.0.0.1:80", "unix:/run/x.sock:mode=660",
-- "proxy:tcp:8080". grammar.lua cuts the text, kinds.lua knows what the core
-- can do, and further prefixes stand for other endpoints or wrap them. The
-- parser is strict and never raises for a text: it returns nil and a Failure
-- which names what it did not like.

local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local check = require "ropewalk.endpoint.check"
local grammar = require "ropewalk.endpoint.grammar"
local known = require "ropewalk.endpoint.kinds"
local proxy = require "ropewalk.endpoint.proxy"
local tls = require "ropewalk.endpoint.tls"

local error, getmetatable, ipairs, pairs, setmetatable, tostring, type =
  error, getmetatable, ipairs, pairs, setmetatable, tostring, type
local concat, remove, sort = table.concat, table.remove, table.sort
local find, format, gsub, sub = string.find, string.format, string.gsub, string.sub
local mtype = math.type
local expect = argument.expect

local _ENV <const> = nil

local kinds, common = known.kinds, known.common

local MAX_TEXT <const> = 4096 -- a path is at most this long
local MAX_DEPTH <const> = 8   -- of wrappers

---@class ropewalk.Endpoint
---@field kind string "tcp", "udp", "unix", "unixgram", "stdio", "fd", "systemd"
---@field text string as text again, in its canonical form
local Endpoint = { __name = "Endpoint" }
Endpoint.__index = Endpoint
function Endpoint:__tostring() return self.text end

local endpoint = {}
local wrappers = { proxy = proxy, tls = tls } -- and what scripts register

local function bad(text, why, ...)
  return nil, Failure.new("bad_endpoint",
    format('endpoint "%s": %s', gsub(tostring(text), "[%c\128-\255]", "?"), format(why, ...)))
end

-- Options --------------------------------------------------------------------

local function read_limit(result, name, word)
  local limit = check.positive(word)
  if not limit then return format("the limit %s must be a number above 0", name) end
  result.limits = result.limits or {}
  result.limits[name] = limit
  return nil
end

-- What the builder has left: of the kind, of all kinds, or limits.
local function read_options(result, options)
  local own = kinds[result.kind].options
  for name, word in pairs(options) do
    local option = own and own[name] or common[name]
    local why
    if option then
      local value = option[1](word)
      if value == nil then why = format('%s %s, not "%s"', name, option[2], word) end
      result[name] = value
    elseif check.is_limit(name) then
      why = read_limit(result, name, word)
    else
      why = format('unknown option "%s"; limits have the names of docs/limits.md', name)
    end
    if why then return why end
    options[name] = nil
  end
  return nil
end

-- Building -------------------------------------------------------------------

local function unknown(prefix, text)
  local names = {}
  for name in pairs(kinds) do names[#names + 1] = name end
  for name in pairs(wrappers) do names[#names + 1] = name end
  sort(names)
  local hint = find(text, "^[%w.%-]*:?%d+$") and "; is tcp:" .. text .. " meant?" or ""
  if prefix == "http" or prefix == "https" then
    hint = "; a web site is served at tcp:[HOST:]PORT or tls:[HOST:]PORT"
  end
  return nil, format('unknown kind "%s" (there is: %s)%s', prefix, concat(names, ", "), hint)
end

-- A script's own table: is it one that the core can take?
local function misfit(result)
  if type(result) ~= "table" then return "a " .. type(result) .. ", not an endpoint" end
  local kind = result.kind
  if not kinds[kind] then return format('an endpoint of the unknown kind "%s"', tostring(kind)) end
  local function wants(field, what, optional)
    local value = result[field]
    if value == nil and optional then return nil end
    if (what == "integer" and mtype(value) or type(value)) == what then return nil end
    return format("a %s endpoint whose %s is %s, not a%s", kind, field, tostring(value),
      what == "integer" and "n integer" or " " .. what)
  end
  local why
  if kind == "tcp" or kind == "udp" then why = wants("port", "integer") or wants("host", "string", true)
  elseif kind == "unix" or kind == "unixgram" then why = wants("path", "string")
  elseif kind == "fd" then why = wants("fd", "integer") end
  return why or check.unfit(result)
end

local function build_kind(prefix, words, options)
  local result, why = kinds[prefix].build(words, options)
  if not result then return nil, why end
  result.kind = prefix
  local shown = { prefix }
  for _, word in ipairs(result.words) do shown[#shown + 1] = word end
  result.words, result.text = nil, grammar.join(shown, options)
  why = read_options(result, options)
  if why then return nil, why end
  return setmetatable(result, Endpoint)
end

local build

-- A script's own kind gave text: an endpoint, too.
local function again(text, depth)
  local words, options, rest = grammar.split(text)
  if not words then return nil, options end
  return build(remove(words, 1), words, options, sub(text, rest), depth + 1)
end

local function build_wrapped(prefix, words, options, rest, depth)
  local function inner(example)
    if #words == 0 then
      return nil, "an endpoint inside is missing" .. (example and "; " .. example .. " is meant" or "")
    end
    local name = remove(words, 1)
    local shown = {}
    for i, word in ipairs(words) do shown[i] = grammar.escape(word) end
    return build(name, words, options, grammar.join(shown, options), depth + 1)
  end
  local result, why = wrappers[prefix](words, options, rest, inner)
  if not result then
    return nil, type(why) == "table" and why.message or why or "refused"
  end
  if getmetatable(result) == Endpoint then return result end
  if type(result) == "string" then return again(result, depth) end
  why = misfit(result)
  if why then return nil, format('the kind "%s" gave %s', prefix, why) end
  why = read_options(result, options)
  if why then return nil, why end
  if not result.text then result.text = prefix .. ":" .. rest end
  return setmetatable(result, Endpoint)
end

function build(prefix, words, options, rest, depth)
  if depth > MAX_DEPTH then return nil, "too many endpoints inside of each other" end
  if kinds[prefix] then return build_kind(prefix, words, options) end
  if wrappers[prefix] then return build_wrapped(prefix, words, options, rest, depth) end
  return unknown(prefix, prefix .. (rest == "" and "" or ":" .. rest))
end

-- Public ---------------------------------------------------------------------

---Reads an endpoint.
---
---    local at, failure = rw.endpoint.parse "tcp:[::1]:8080:backlog=128"
---@param text string|ropewalk.Endpoint
---@return ropewalk.Endpoint? endpoint
---@return ropewalk.Failure? failure
function endpoint.parse(text)
  if getmetatable(text) == Endpoint then return text end
  if type(text) ~= "string" then
    local hint = mtype(text) == "integer" and format('; is "tcp:%d" meant?', text) or ""
    return bad(text, "a string is needed, not a %s%s", type(text), hint)
  end
  if #text > MAX_TEXT then return bad(sub(text, 1, 40), "longer than %d bytes", MAX_TEXT) end
  if find(text, "[%z\1-\31\127]") then return bad(text, "control characters are not allowed") end
  local words, options, rest = grammar.split(text)
  if not words then return bad(text, "%s", options) end
  local result, why = build(remove(words, 1), words, options, sub(text, rest), 1)
  if not result then return bad(text, "%s", why) end
  return result
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
---knows), the text after the prefix, and a function that reads what is left of
---words and options as an endpoint inside. It returns another endpoint, as text
---or parsed, or the fields of one, or nil and why not.
---
---    rw.endpoint.register("app", function(words)
---      return "unix:/run/" .. rw.endpoint.escape(words[1]) .. "/socket"
---    end)
---@param prefix string
---@param fn fun(words: string[], options: table<string, string>, rest: string, inner: function): table|string?, any
function endpoint.register(prefix, fn)
  if type(prefix) ~= "string" or not find(prefix, "^%l[%l%d_]*$") then
    error("register: the prefix must be a lower-case word", 2)
  end
  if type(fn) ~= "function" then
    error("register: a function is needed, not a " .. type(fn), 2)
  end
  if kinds[prefix] or prefix == "proxy" or prefix == "tls" then
    error(format('register: the kind "%s" is built in', prefix), 2)
  end
  wrappers[prefix] = fn
end

---Makes a word safe to stand in an endpoint.
---
---    "unix:" .. rw.endpoint.escape(path)
---@param word string
---@return string
function endpoint.escape(word) return grammar.escape(expect("escape", 1, word, "string")) end

---A "proxy:" endpoint to connect to for somebody else: the header names the
---ends of that connection. Without, it says that we speak for ourselves.
---
---    rw.connect(rw.endpoint.on_behalf("proxy:tcp:127.0.0.1:8080", self.transport), factory)
---@param where string|ropewalk.Endpoint
---@param who table a transport, a request, or { source =, destination = } as text
---@param more? { alpn: string?, authority: string?, unique_id: string? } of version 2
---@return ropewalk.Endpoint
function endpoint.on_behalf(where, who, more)
  local at = endpoint.need(where)
  if not at.proxy then
    error(format('on_behalf: "%s" is no proxy: endpoint', at.text), 2)
  end
  local source = who.source or who.peer
  local destination = who.destination or who.local_address or who.host
  if not source or not destination then error("on_behalf: source and destination are needed", 2) end
  local result, ends = {}, { source = tostring(source), destination = tostring(destination) }
  for key, value in pairs(at) do result[key] = value end
  for key, value in pairs(more or {}) do ends[key] = value end
  for key, value in pairs(at.proxy) do ends[key] = value end
  result.proxy = ends
  return setmetatable(result, Endpoint)
end

---`rw.endpoint "tcp:8080"` is `need`.
return setmetatable(endpoint, { __call = function(_, text) return endpoint.need(text) end })
