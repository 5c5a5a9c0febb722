-- SPDX-License-Identifier: MIT
-- rw.names: what the Domain Name System and the hosts file know. Lookups are
-- Deferreds, done in C beside everything else; cancelling one forgets it.
--
-- A script may install a resolver of its own; rw.connect asks that one then,
-- too.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local listen = require "ropewalk.listen"
local service = require "ropewalk.names.service"

local error, ipairs, next, tostring, type = error, ipairs, next, tostring, type
local concat, sort = table.concat, table.sort
local format, upper = string.format, string.upper
local expect, optional, misuse = argument.expect, argument.optional, argument.misuse

-- Where lookups are done: in C; in a simulation by what its test says.
local engine = core.simulation and require "ropewalk.names.simulated" or core

local _ENV <const> = nil

---@class ropewalk.names.Record
---@field name string whose record it is
---@field type string "A", "MX", …
---@field ttl integer seconds
---@field address? string of A and AAAA
---@field target? string of NS, CNAME, PTR, SRV
---@field [string] any what else the type has, by its name in the RFC, lower case

---@class ropewalk.names.Resolver
---@field lookup fun(self: table, name: string, type: string): ropewalk.Deferred
---@field resolve fun(self: table, host: string): ropewalk.Deferred

local names = {}

-- The resolver in C ---------------------------------------------------------

local CODES <const> = {
  RW_ENONAME = "name_not_found", RW_ENODATA = "no_data", RW_ESERVFAIL = "server_failure",
  RW_EREFUSED = "refused", RW_EBADANSWER = "bad_answer", RW_ENOSERVER = "no_server",
  RW_ESYNTAX = "bad_name", RW_ELIMIT = "too_many", ETIMEDOUT = "timeout", ECANCELED = "cancelled",
}

local function failed(what, code, message)
  if code == "ETIMEDOUT" then message = "no answer in time" end
  local failure = Failure.new(CODES[code] or code, format("cannot %s: %s", what, message))
  failure.name = code
  return failure
end

-- begin(done) starts the lookup.
local function deferred(what, begin)
  local lookup
  local d = Deferred.new(function() lookup:cancel() end)
  local code, message
  lookup, code, message = begin(function(result, why, text)
    if d:called() then return nil end -- memory failed when it was told
    if result then return core.spawn_detached(d.callback, d, result) end
    return d:errback(failed(what, why, text))
  end)
  if not lookup then d:errback(failed(what, code, message)) end
  return d
end

local system = {}

function system:lookup(name, kind) -- luacheck: ignore 212
  return deferred(format("look up %s of %s", kind, name), function(done)
    return engine.names_lookup(name, kind, done)
  end)
end

function system:resolve(host) -- luacheck: ignore 212
  return deferred("resolve " .. host, function(done) return engine.names_resolve(host, done) end)
end

local resolver = system

---Installs a resolver instead of the one in C: an object with `lookup(name,
---type)` and `resolve(host)`, each returning a Deferred. What it does not have
---is left to the one in C; nil brings that back.
---
---    rw.names.install { resolve = function(_, host) return rw.Deferred.succeed { "127.0.0.1" } end }
---@param new? ropewalk.names.Resolver
---@return ropewalk.names.Resolver old
function names.install(new)
  if new ~= nil and type(new) ~= "table" then
    error("install: a table with lookup and resolve is needed, not a " .. type(new), 2)
  end
  local old = resolver
  resolver = new or system
  listen.resolver = resolver ~= system and names or false
  return old
end

-- Lookups -------------------------------------------------------------------

local function need_text(what, value)
  if type(value) ~= "string" then
    error(format("%s: a name is needed, not a %s", what, type(value)), 3)
  end
end

local function lookup(name, kind)
  return Deferred.maybe((resolver.lookup or system.lookup), resolver, name, kind)
end

---The records of a name, as a list. If the name is an alias, those of what it
---stands for, whose name they have.
---
---    for _, r in ipairs(rw.names.lookup("example.com", "CAA"):await()) do print(r.tag, r.value) end
---@param name string
---@param kind string "A", "MX", "TYPE65", …
---@return ropewalk.Deferred of ropewalk.names.Record[]
function names.lookup(name, kind)
  need_text("lookup", name)
  expect("lookup", 2, kind, "string")
  if not core.names_type(kind) then
    error(format('lookup: "%s" is no type of records; "MX", say, or "TYPE65280"', kind), 2)
  end
  return lookup(name, upper(kind))
end

-- Twisted's words for those types that need no more than that.
for word, kind in next, {
  address = "A", ipv6_address = "AAAA", nameservers = "NS", canonical_name = "CNAME",
  authority = "SOA", pointer = "PTR", naming_authority_pointer = "NAPTR",
  certification_authority = "CAA", all_records = "ANY",
} do
  word = "lookup_" .. word
  names[word] = function(name)
    need_text(word, name)
    return lookup(name, kind)
  end
end

---Mail exchanges, the preferred one first.
---
---    local mx = rw.names.lookup_mail_exchange("example.com"):await()[1].exchange
---@param name string
---@return ropewalk.Deferred
function names.lookup_mail_exchange(name)
  need_text("lookup_mail_exchange", name)
  return lookup(name, "MX"):add_callback(function(records)
    sort(records, function(a, b) return a.preference < b.preference end)
    return records
  end)
end

---Texts: each record's strings are its `data`, and joined its `text`.
---
---    local spf = rw.names.lookup_text("example.com"):await()[1].text
---@param name string
---@return ropewalk.Deferred
function names.lookup_text(name)
  need_text("lookup_text", name)
  return lookup(name, "TXT"):add_callback(function(records)
    for _, record in ipairs(records) do record.text = concat(record.data) end
    return records
  end)
end

-- Services ------------------------------------------------------------------

names.order_services = service.order

---Where a service is, in the order in which to try. A service that is said not
---to be there (the target ".") fails as "no_data".
---
---    for _, at in ipairs(rw.names.lookup_service("_imap._tcp.example.com"):await()) do
---      print(at.target, at.port)
---    end
---@param name string
---@return ropewalk.Deferred
function names.lookup_service(name)
  need_text("lookup_service", name)
  return lookup(name, "SRV"):add_callback(function(records)
    local target = #records == 1 and records[1].target
    if target == "." or target == "" then
      return Failure.new("no_data", "there is no service " .. name)
    end
    return names.order_services(records)
  end)
end

-- Hosts ---------------------------------------------------------------------

---The addresses of a host, of both families, best first (RFC 6724). Numeric
---ones are their own; the hosts file and the search list are looked at.
---
---    for _, address in ipairs(rw.names.resolve("example.com"):await()) do print(address) end
---@param host string may be UTF-8
---@return ropewalk.Deferred of a list of addresses
function names.resolve(host)
  need_text("resolve", host)
  return Deferred.maybe((resolver.resolve or system.resolve), resolver, host)
end

---The best address of a host.
---
---    local address = rw.names.get_host_by_name("localhost"):await()
---@param host string
---@return ropewalk.Deferred of an address
function names.get_host_by_name(host)
  need_text("get_host_by_name", host)
  return names.resolve(host):add_callback(function(addresses) return addresses[1] end)
end

---The names of an address. Anybody may claim any name in there: resolve it
---before believing it.
---
---    local name = rw.names.reverse("192.0.2.1"):await()[1]
---@param address string
---@return ropewalk.Deferred of a list of names
function names.reverse(address)
  need_text("reverse", address)
  local _, _, pointer = core.address_parse(address)
  if not pointer then
    return Deferred.fail(Failure.new("bad_address", format('"%s" is no address', address)))
  end
  return lookup(pointer, "PTR"):add_callback(function(records)
    local result = {}
    for i, record in ipairs(records) do result[i] = record.target end
    return result
  end)
end

---A host's name as DNS has it: lower case, non-ASCII labels as A-labels; nil
---when it cannot be one.
---
---    rw.names.to_ascii "Bücher.example" -- xn--bcher-kva.example
---@param host string
---@return string?
function names.to_ascii(host) return core.host_to_ascii(expect("to_ascii", 1, host, "string")) end

-- Configuration -------------------------------------------------------------

local function joined(list)
  if list == nil or type(list) == "string" then return list end
  for i, each in ipairs(expect("configure", 1, list, "table")) do
    if type(each) ~= "string" then misuse(format("configure: entry %d of a list is no string", i)) end
  end
  return concat(list, ",")
end

---Says where this script's lookups go, instead of the system's configuration.
---
---    rw.names.configure { servers = { "192.0.2.53", "[2001:db8::53]:5353" }, search = { "lan.example" } }
---@param options { servers?: string[], search?: string[], hosts_file?: string, resolv_file?: string, limits?: table }
function names.configure(options)
  expect("configure", 1, options, "table")
  optional("configure", 1, options.hosts_file, "string")
  optional("configure", 1, options.resolv_file, "string")
  optional("configure", 1, options.limits, "table")
  local ok, _, message = engine.names_configure {
    servers = joined(options.servers), search = joined(options.search),
    hosts_file = options.hosts_file, resolv_file = options.resolv_file, limits = options.limits,
  }
  if not ok then misuse("configure: " .. tostring(message)) end
end

---The name servers to ask, each "ADDRESS" or "ADDRESS:PORT".
---
---    rw.names.servers { "127.0.0.1:5353" }
---@param list string[]
function names.servers(list) return names.configure { servers = list } end

---What goes on: lookups that are asking and waiting, sockets, answers kept.
---@return table { asking, waiting, sockets, cached, cached_bytes, asked, hits, failed, servers }
function names.state() return engine.names_state() end

return names
