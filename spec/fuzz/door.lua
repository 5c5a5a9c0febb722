-- SPDX-License-Identifier: MIT
-- The script of fuzz_door.c: reads the input's bytes as calls of the public API
-- and of the core, with arguments of every kind, made when the script is loaded,
-- in its checks, while it serves, in hooks and callbacks, and when it stops. What
-- calls return goes into a pool, whose objects are called in turn.

local core = require "ropewalk.core"
local rw = require "ropewalk"
local web = require "ropewalk.web"
local names = require "door.names"
local words = require "door.words"

local getmetatable, fields_of = debug.getmetatable, names.of
local pack, unpack = table.pack, table.unpack

local RW <const>, CORE <const>, WEB <const> = names.rw, names.core, names.web
local TEXTS <const>, NUMBERS <const>, KEYS <const> = words.texts, words.numbers, words.keys
local FIELDS <const> = words.fields

local input, at = rw.host.input(), 0
local MAX_CALLS <const>, MAX_DEPTH <const>, MAX_POOL <const> = 1000, 6, 48
local calls, depth = 0, 0
local pool, newest = {}, 0
local act

-- The bytes, as choices ------------------------------------------------------

local function byte()
  at = at + 1
  return input:byte(at) or 0
end

local over = false
local function more()
  if at < #input and calls < MAX_CALLS then return true end
  if not over then rw.host.over() end
  over = true
  return false
end
local function pick(list) return list[byte() % #list + 1] end
local function wide(list) return list[(byte() << 8 | byte()) % #list + 1] end

local function keep(value)
  local kind = type(value)
  if kind ~= "table" and kind ~= "userdata" and kind ~= "function" and kind ~= "thread" then return end
  newest = newest + 1
  pool[newest <= MAX_POOL and newest or byte() % MAX_POOL + 1] = value
end

local function keep_all(...)
  for i = 1, select("#", ...) do keep((select(i, ...))) end
  return ...
end

local function object()
  if newest == 0 then return nil end
  local count = #pool
  if byte() % 2 == 0 then return pool[count] end
  return pool[byte() % count + 1]
end

-- Values ---------------------------------------------------------------------

local circle = {}
circle[1], circle.self, circle.factory = circle, circle, circle

local function acts(count)
  return function(...)
    keep_all(...)
    for _ = 1, count do if more() and depth < MAX_DEPTH then act() end end
    return object(), ...
  end
end

local function deep() return 1 + deep() end
local function spin() while true do end end
local function sleep_a_bit(...)
  rw.sleep(0.001):await()
  return ...
end

local FUNCTIONS <const> = {
  function() end, function() error "on purpose" end, function() error() end, function() error(circle) end,
  function(...) return coroutine.yield(...) end, acts(1), acts(2), acts(3), acts(6), sleep_a_bit,
  function() return rw.await(object()) end, function() return unpack({}, 1, 200) end, function() return nil, "x" end,
  function(...) return ... end, function() return 1, 2, 3 end, print, next, getmetatable, coroutine.wrap(sleep_a_bit),
  function(...)
    core.spawn(acts(2), ...)
    return core.park()
  end,
}

local value

local function a_table()
  local t = {}
  for _ = 1, byte() % 6 do
    local how = byte()
    if how < 180 then t[wide(KEYS)] = value() else t[#t + 1] = value() end
  end
  if byte() > 200 then setmetatable(t, { __index = pick(FUNCTIONS), __len = pick(FUNCTIONS),
    __newindex = pick(FUNCTIONS), __pairs = pick(FUNCTIONS), __tostring = pick(FUNCTIONS),
    __name = value() }) end
  return t
end

local levels = 0
function value()
  local how = byte() % 32
  if how < 2 then return nil end
  if how < 3 then return byte() > 127 end
  if how < 8 then return pick(NUMBERS) end
  if how < 13 then return pick(TEXTS) end
  if how < 14 then return input:sub(at + 1, at + byte() % 32) end
  if how < 16 then return byte() end
  if how < 17 then return byte() > 230 and pick { deep, spin } or circle end
  if how < 22 then return pick(FUNCTIONS) end
  if how < 25 and levels < 3 then
    levels = levels + 1
    local t = a_table()
    levels = levels - 1
    return t
  end
  if how < 26 then return coroutine.create(pick(FUNCTIONS)) end
  if how < 27 then return rw[wide(RW)] end
  return object()
end

local function arguments()
  local list = { n = byte() % 6 }
  for i = 1, list.n do list[i] = value() end
  return unpack(list, 1, list.n)
end

-- Calls ----------------------------------------------------------------------

local function try(name, fn, ...)
  calls = calls + 1
  rw.host.say("call " .. name)
  local results = pack(pcall(fn, ...))
  rw.host.say((results[1] and "  ok " or "  no ") .. tostring(type(results[2]) == "string" and results[2] or ""))
  for i = 2, results.n < 9 and results.n or 9 do keep(results[i]) end
end

-- Not a cat on the machine's files, nor a descriptor that is libFuzzer's.
local NEVER <const> = { source = true, config = true, say = true, input = true, host = true }

local function call_field(name, of, with_self)
  local found, member = pcall(function() return of[name] end)
  if not found or NEVER[name] then return end
  if type(member) == "table" and not with_self then
    keep(member)
    local inner = fields_of(member)
    if #inner > 0 and byte() > 40 then
      name = pick(inner)
      of, member = member, member[name]
    end
    with_self = byte() % 4 > 0
  end
  if type(member) ~= "function" and not (getmetatable(member) or {}).__call then
    return keep(member)
  end
  if with_self then return try(name, member, of, arguments()) end
  return try(name, member, arguments())
end

local function call_object()
  local it = object()
  local members = fields_of(it)
  if #members > 0 then call_field(pick(members), it, byte() > 20) else try("()", it, arguments()) end
end

local function get_and_set()
  local it, name, new = object(), byte() > 60 and pick(FIELDS) or value(), nil
  if byte() > 200 then new = value() end
  local meta = getmetatable(it)
  if meta and not rawget(meta, "__index") then return end
  try("get", function() return it[name], tostring(it), #it end)
  if new ~= nil then try("set", function() it[name] = new end) end
end

local SCENES <const> = require "door.scenes" {
  byte = byte, pick = pick, keep = keep, keep_all = keep_all, acts = acts, object = object, try = try,
  value = function() return value() end, functions = FUNCTIONS,
  may_act = function() return more() and depth < MAX_DEPTH end,
}

-- One act ----------------------------------------------------------------------

local ACTS <const> = {
  function() call_field(wide(RW), rw, false) end,
  function() call_field(wide(CORE), core, false) end,
  function() call_field(wide(WEB), web, false) end,
  call_object, call_object, call_object, call_object, get_and_set,
  function() try("scene", pick(SCENES)) end,
  function() try("wrap", coroutine.wrap(acts(2)), arguments()) end,
  function() try("spawn", rw.spawn, acts(2), arguments()) end,
  function() try("await", rw.await, object()) end,
  function() try("later", rw.call_later, 0.001, acts(2)) end,
  function() collectgarbage(byte() > 30 and "step" or "collect") end,
  function() pool[byte() % MAX_POOL + 1] = pool[#pool] end,
  function() try("close", function() local _ <close> = object() end) end,
}

function act()
  depth = depth + 1
  local ok, why = pcall(pick(ACTS))
  if not ok then rw.host.say("  act: " .. tostring(type(why) == "string" and why)) end
  depth = depth - 1
end

local function some(count)
  for _ = 1, count do if more() then act() end end
end

-- When ---------------------------------------------------------------------------

local Fuzz = rw.Service:extend "Fuzz"
function Fuzz:start_service() -- luacheck: ignore 212
  some(byte() % 32)
  core.spawn_detached(function()
    while more() do
      some(4)
      rw.sleep(0):await()
    end
  end)
  keep(rw.call_later(0.01, some, 8))
end
function Fuzz:stop_service() some(8) end -- luacheck: ignore 212
function Fuzz:save() return value() end -- luacheck: ignore 212
function Fuzz:restore(saved) -- luacheck: ignore 212
  keep(saved)
  some(4)
end

rw.exports.more = function(...)
  keep_all(...)
  some(16)
  return value()
end
rw.on_check(function() some(4) end)
rw.reactor:add_system_event_trigger("before", "shutdown", some, 8)
rw.reactor:add_system_event_trigger("after", "startup", some, 4)
some(byte() % 16)

local service = Fuzz()
service:set_name "fuzz"
return service
