-- SPDX-License-Identifier: MIT
-- Names in a simulation (rw.testing.simulate): what core's functions of these
-- names do in reality. What `sim:names` was given is the Domain Name System of
-- all states of the world; before that every name is a host, with an address of
-- its own. Lookups take a while, and may fail, as the faults say.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"

local ipairs, next, pairs, tostring, type = ipairs, next, pairs, tostring, type
local find, format, lower, upper = string.find, string.format, string.lower, string.upper
local insert = table.insert
local misuse = argument.misuse

local _ENV <const> = nil

local simulated = {}
local world = core.simulation

local TTL <const> = 60    -- seconds, of records that do not say
local ALIASES <const> = 8 -- one leading to the other

local MESSAGES <const> = {
  RW_ENONAME = "name not found", RW_ENODATA = "the name has no such record",
  RW_EBADANSWER = "too many aliases", RW_ESYNTAX = "malformed text",
  RW_ELIMIT = "more hosts, or a longer name, than a simulation has room for",
}

-- Which field a record is that is given as text.
local FIELDS <const> = {
  CNAME = "target", NS = "target", PTR = "target", MX = "exchange", TXT = "data", SPF = "data",
}

-- The table of the test -----------------------------------------------------

local function need_ascii(name)
  local text = type(name) == "string" and core.host_to_ascii(name)
  if not text or core.address_parse(name) then
    misuse(format("names: %s cannot be a name", type(name) == "string" and format("%q", name)
      or "a " .. type(name)))
  end
  return text
end

local function record(name, kind, value)
  if type(value) == "string" and FIELDS[kind] then
    if FIELDS[kind] == "data" then value = { value } end
    value = { [FIELDS[kind]] = value }
    if kind == "MX" then value.preference = 10 end
  elseif type(value) ~= "table" then
    misuse(format("names: %s: a record of type %s is a table, not a %s", name, kind, type(value)))
  end
  local result = { name = name, type = kind, ttl = TTL }
  for key, field in pairs(value) do result[key] = field end
  if kind == "CNAME" and type(result.target) ~= "string" then
    misuse(format("names: %s: a CNAME has a target", name))
  end
  return result
end

local function add_addresses(entry, name, list)
  for _, text in ipairs(list) do
    local address, family = core.address_parse(text)
    if not address then misuse(format("names: %s: %q is no address", name, text)) end
    local kind = family == 4 and "A" or "AAAA"
    entry[kind] = entry[kind] or {}
    insert(entry[kind], record(name, kind, { address = address }))
    insert(entry.addresses, address)
  end
end

local function add_records(entry, name, kind, value)
  if type(kind) ~= "string" or not core.names_type(kind) then
    misuse(format("names: %s: there are no records of type %s", name, tostring(kind)))
  end
  kind = upper(kind)
  if type(value) ~= "table" or value[1] == nil then value = { value } end
  if kind == "A" or kind == "AAAA" then return add_addresses(entry, name, value) end
  entry[kind] = {}
  for i, each in ipairs(value) do entry[kind][i] = record(name, kind, each) end
end

-- The entry of a name, or of what it is an alias of; nil and why there is none.
-- One that has what is wanted is none of an alias.
local function entry_of(zone, name, wanted)
  for _ = 1, ALIASES do
    local entry = zone[name]
    if not entry then return nil, "RW_ENONAME" end
    if wanted(entry) or not entry.CNAME then return entry end
    name = lower(entry.CNAME[1].target)
  end
  return nil, "RW_EBADANSWER"
end

local function has_addresses(entry) return #entry.addresses > 0 end

local function addresses_in(zone, name)
  local entry, code = entry_of(zone, name, has_addresses)
  if not entry then return nil, code end
  if not has_addresses(entry) then return nil, "RW_ENODATA" end
  return entry.addresses
end

-- Who has an address can be found by it, unless the test says otherwise.
local function add_pointers(zone)
  local pointers = {}
  for name, entry in pairs(zone) do
    for _, address in ipairs(entry.addresses) do
      local _, _, pointer = core.address_parse(address)
      if not zone[pointer] then insert(pointers, { pointer, name }) end
    end
  end
  for _, each in ipairs(pointers) do
    local pointer, name = each[1], each[2]
    zone[pointer] = zone[pointer] or { addresses = {}, PTR = {} }
    insert(zone[pointer].PTR, record(pointer, "PTR", name))
  end
end

---Reads what a test says, raising where it makes no sense, and makes it so.
---@param names table<string, string|table> as Simulation:names
function simulated.say(names)
  argument.expect("names", 1, names, "table")
  local zone, addresses = {}, {} -- the latter: what C needs to know, aliases resolved
  for name, said in next, names do
    local text = need_ascii(name)
    local entry = { addresses = {} }
    if type(said) == "string" then said = { said } end
    if type(said) ~= "table" then
      misuse(format("names: %s: addresses are needed, not a %s", name, type(said)))
    end
    add_addresses(entry, text, said)
    for kind, value in next, said do
      if type(kind) ~= "number" then add_records(entry, text, kind, value) end
    end
    zone[text] = entry
  end
  for name in pairs(zone) do addresses[name] = addresses_in(zone, name) end
  add_pointers(zone)
  local ok, why = world.names(addresses, zone)
  if not ok then misuse("names: " .. why) end
end

-- Asking it -----------------------------------------------------------------

local names, version = nil, 0

local function current()
  local now, new = world.names_since(version)
  if now ~= version then names, version = new, now end
  return names
end

-- Scripts may change what they are given.
local function copy(value)
  if type(value) ~= "table" then return value end
  local result = {}
  for key, each in pairs(value) do result[key] = copy(each) end
  return result
end

local function all_of(entry)
  local list = {}
  for kind, records in pairs(entry) do
    if kind ~= "addresses" then
      for _, each in ipairs(records) do insert(list, each) end
    end
  end
  return list
end

-- Before the test has said anything.
local function own_address(name)
  local address, code = world.address(name)
  return address and { address }, code
end

local function records_of(name, kind)
  local zone = current()
  if not zone then
    local own, code = own_address(name)
    if not own then return nil, code end
    if kind ~= "A" and kind ~= "ANY" then return nil, "RW_ENODATA" end
    return { record(name, "A", { address = own[1] }) }
  end
  local entry, code = entry_of(zone, name, function(entry) return entry[kind] or kind == "ANY" end)
  if not entry then return nil, code end
  local records = kind == "ANY" and all_of(entry) or entry[kind]
  if not records or #records == 0 then return nil, "RW_ENODATA" end
  return copy(records)
end

local function addresses_of(name)
  local zone = current()
  if not zone then return own_address(name) end
  local addresses, code = addresses_in(zone, name)
  return addresses and copy(addresses), code
end

-- Tells after a while, if nothing goes wrong.
local function ask(text, answer, name, kind, done)
  return world.lookup(text, function(code, message)
    if code then return done(nil, code, message) end
    local result, why = answer(name, kind)
    if result then return done(result) end
    return done(nil, why, MESSAGES[why] or why)
  end)
end

-- As core's ------------------------------------------------------------------

function simulated.names_lookup(name, kind, done)
  local text = core.host_to_ascii(name)
  if not text then return nil, "RW_ESYNTAX", MESSAGES.RW_ESYNTAX end
  return ask(format("%s %s", kind, text), records_of, text, kind, done)
end

local NOTHING <const> = { cancel = function() end }

function simulated.names_resolve(host, done)
  local text = core.address_parse(host)
  if not text and (host == "" or lower(host) == "localhost") then text = "127.0.0.1" end
  if text then
    done { text }
    return NOTHING
  end
  text = not find(host, "\0", 1, true) and core.host_to_ascii(host)
  if not text then return nil, "RW_ESYNTAX", MESSAGES.RW_ESYNTAX end
  return ask(text, addresses_of, text, nil, done)
end

---There are no name servers to choose from.
function simulated.names_configure() return true end

function simulated.names_state()
  return { asking = 0, waiting = 0, sockets = 0, cached = 0, cached_bytes = 0, asked = 0,
    hits = 0, failed = 0, servers = "" }
end

return simulated
