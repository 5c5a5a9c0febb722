-- SPDX-License-Identifier: MIT
-- "tls:ENDPOINT" and, short, "tls:[HOST:]PORT": TLS over any stream endpoint. The
-- files are read when it is listened at or connected to (ropewalk.tls).

local check = require "ropewalk.endpoint.check"
local grammar = require "ropewalk.endpoint.grammar"
local kinds = require "ropewalk.endpoint.kinds"

local ipairs, pairs, require, type = ipairs, pairs, require, type
local concat, insert, sort = table.concat, table.insert, table.sort
local find, format, gmatch = string.find, string.format, string.gmatch

local _ENV <const> = nil

local function one_of(...)
  local words = { ... }
  return function(word)
    for _, each in pairs(words) do
      if each == word then return word end
    end
    return nil, "must be " .. concat(words, " or ")
  end
end

local function path(word)
  if word == "" then return nil, "must be a path" end
  return word
end

local function names(word)
  local list = {}
  for name in gmatch(word, "[^,]+") do
    if #name > 255 then return nil, "must be names of at most 255 bytes" end
    insert(list, name)
  end
  if #list == 0 or #list > 8 then return nil, "must be 1 to 8 names with commas between them" end
  return list
end

local function host(word)
  local name = check.host(word)
  if not name then return nil, "must be a host name or an address" end
  return name
end

local function flag(word)
  local value = check.flag(word)
  if value == nil then return nil, "must be yes or no" end
  return value
end

local OPTIONS <const> = {
  cert = path, key = path, chain = path, ca = path, crl = path,
  verify = one_of("required", "optional"), alpn = names, min = one_of("1.2", "1.3"),
  name = host, insecurely_trust_anyone = flag, insecurely_log_session_keys_to = path,
  tickets = flag, ticket_key = path,
}

-- What goes with acme=EMAIL (ropewalk.acme.options).
local ACME <const> = { "host", "directory", "directory_ca", "store", "http01", "eab_kid", "eab_key" }

return function(words, options, _, inner)
  local tls, shown = {}, {}
  for name, read in pairs(OPTIONS) do
    local word = kinds.take(options, name)
    if word then
      local value, why = read(word)
      if value == nil then return nil, format('%s %s, not "%s"', name, why, word) end
      tls[name] = value
      insert(shown, name .. "=" .. grammar.escape(word))
    end
  end
  local contact = kinds.take(options, "acme")
  if contact then
    local given = {}
    for _, name in ipairs(ACME) do given[name] = kinds.take(options, name) end
    for name, word in pairs(given) do insert(shown, name .. "=" .. grammar.escape(word)) end
    insert(shown, "acme=" .. grammar.escape(contact))
    local why
    tls.acme, why = require "ropewalk.acme.options".from_words(given, contact)
    if not tls.acme then return nil, why end
  end
  if not words[1] or not find(words[1], "^%l[%l%d_]*$") or (#words == 2 and check.number(words[2], 0, 65535)
    and not kinds.kinds[words[1]] and words[1] ~= "proxy") then
    insert(words, 1, "tcp")
  end
  local at, why = inner "tls:8443"
  if not at then return nil, why end
  if at.tls then return nil, "tls: inside of tls:" end
  if type(at.kind) ~= "string" or kinds.is_datagram(at) then return nil, "TLS needs a stream" end
  local result = {}
  for key, value in pairs(at) do result[key] = value end
  sort(shown)
  insert(shown, 1, "tls:" .. at.text)
  result.tls, result.text = tls, concat(shown, ":")
  return result
end
