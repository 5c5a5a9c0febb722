-- SPDX-License-Identifier: MIT
-- Policies: wraps a factory (or a site) so that its connections are kept within
-- bounds, or written down. They work below the protocol, in C, and can be put
-- around each other in any order:
--
--     rw.server(where, policy.throttle(policy.idle(site, 30), { write = 100000 }))
--
-- All but the traffic log are limits: an operator can set the same in the endpoint.

local argument = require "ropewalk.argument"
local error, format, next, pairs, setmetatable, type =
  error, string.format, next, pairs, setmetatable, type
local misuse, optional = argument.misuse, argument.optional
local min = math.min

local _ENV <const> = nil

local policy = {}

local function is_from(value, least) return type(value) == "number" and value >= least end

-- What a wrapped factory does itself: it is still the inner one that makes
-- protocols, counts its ports and knows its connections.
local FORWARDED <const> = { "build_protocol", "restore", "do_start", "do_stop", "is_lazy" }

local function wrap(what, factory, fields)
  if type(factory) ~= "table" or not (factory.build_protocol or factory.http) then
    misuse(format("%s: a factory or a site is needed, not %s", what, type(factory) == "table"
      and "a table without build_protocol" or type(factory)))
  end
  for _, name in next, FORWARDED do
    if factory[name] then
      fields[name] = function(_, ...) return factory[name](factory, ...) end
    end
  end
  fields.wrapped = factory
  return setmetatable(fields, { __index = factory,
    __newindex = function(_, key, value) factory[key] = value end })
end

-- A factory with other limits; where both say something, the smaller one counts.
local function limited(what, factory, limits)
  local own = type(factory) == "table" and factory.limits
  for name, value in pairs(own or {}) do
    if not limits[name] or value < limits[name] then limits[name] = value end
  end
  return wrap(what, factory, { limits = limits })
end

-- options, by their names for people → limits
local function translate(what, options, names)
  if type(options) ~= "table" then
    error(format("%s: a table of options is needed, not %s", what, type(options)), 3)
  end
  local limits = {}
  for key, value in pairs(options) do
    local name = names[key]
    if not name then error(format("%s: there is no option '%s'", what, key), 3) end
    if not is_from(value, 1) then
      error(format("%s: %s must be a number from 1 on", what, key), 3)
    end
    limits[name] = value
  end
  return limits
end

local RATES <const> = { read = "read_rate", write = "write_rate", total_read = "total_read_rate",
  total_write = "total_write_rate", burst = "rate_burst" }

---Bytes per second: `read` from each connection and `write` to it, `total_read` and
---`total_write` of all connections of a port, which share them fairly. `burst`
---bytes may pass at once after a rest.
---
---    rw.server("tcp:8080", policy.throttle(site, { write = 200000, total_write = 5e6 }))
---@param factory table
---@param options { read: number, write: number, total_read: number, total_write: number, burst: number }
---@return table factory
function policy.throttle(factory, options)
  return limited("throttle", factory, translate("throttle", options, RATES))
end

local COUNTS <const> = { total = "max_port_connections", per_peer = "max_connections_per_peer" }

---At most so many connections at a port, and from one address. What is too much is
---closed at once.
---
---    rw.server("tcp:7000", policy.limit_connections(factory, { total = 100, per_peer = 4 }))
---@param factory table
---@param options { total: integer, per_peer: integer }
---@return table factory
function policy.limit_connections(factory, options)
  return limited("limit_connections", factory,
    translate("limit_connections", options, COUNTS))
end

---Closes connections from which nothing has come for so long: the limit idle_timeout.
---
---    rw.server("tcp:7000", policy.idle(factory, 60))
---@param factory table
---@param seconds number
---@return table factory
function policy.idle(factory, seconds)
  if not is_from(seconds, 0.001) then
    error("idle: a number of seconds from 0.001 on is needed", 2)
  end
  return limited("idle", factory, { idle_timeout = seconds * 1000 })
end

local LOG <const> = { path = "string", format = "string", max_bytes = "number",
  max_record = "number" }
local MOST <const> = 2 ^ 53
local FORMATS <const> = { hex = true, text = true, raw = true }

---Writes down what passes, in both directions, with times: to the file `path`, or
---to the log. `format` is "hex" (the default), "text" or "raw"; of each piece
---`max_record` bytes are shown (1024), and after `max_bytes` (64 MiB) it ends.
---
---    rw.server("tcp:7000", policy.traffic_log(factory, { path = "traffic.log" }))
---@param factory table
---@param options? { path: string, format: string, max_bytes: integer, max_record: integer }
---@return table factory
function policy.traffic_log(factory, options)
  local own = {}
  for key, value in pairs(optional("traffic_log", 2, options, "table") or {}) do
    local kind = LOG[key]
    if not kind then error(format("traffic_log: there is no option '%s'", key), 2) end
    if type(value) ~= kind or (kind == "number" and not is_from(value, 1)) then
      error(format("traffic_log: %s must be a %s%s", key, kind,
        kind == "number" and " from 1 on" or ""), 2)
    end
    own[key] = kind == "number" and min(value, MOST) // 1 | 0 or value
  end
  if own.format and not FORMATS[own.format] then
    error("traffic_log: the format must be hex, text or raw", 2)
  end
  return wrap("traffic_log", factory, { traffic_log = own })
end

return policy
