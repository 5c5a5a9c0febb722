-- SPDX-License-Identifier: MIT
-- What there is to call: names only, so that a call loads no more than it needs.

local core = require "ropewalk.core"
local rw = require "ropewalk"
local web = require "ropewalk.web"

local getmetatable = debug.getmetatable

local names = {}

local function sorted(t)
  local list = {}
  for name in next, t do if type(name) == "string" then list[#list + 1] = name end end
  table.sort(list)
  return list
end

local function all_names()
  local seen = {}
  for name in pairs(rw) do seen[name] = true end
  local lazy = {}
  for i = 1, 9 do
    local name, value = debug.getupvalue(getmetatable(rw).__index, i)
    if name == "LAZY" then lazy = value end
  end
  for name in pairs(lazy) do seen[name] = true end
  return sorted(seen)
end

names.rw, names.core, names.web = all_names(), sorted(core), sorted(web)

-- What can be read of a value by name: its own fields, its class's, and those of
-- the classes above.
function names.of(value)
  local seen, meta = {}, getmetatable(value)
  local function add(t)
    for _ = 1, 4 do
      if type(t) ~= "table" then break end
      for name in next, t do seen[name] = true end
      local above = getmetatable(t)
      t = above and rawget(above, "__index")
    end
  end
  if type(value) == "table" then add(value) end
  if meta then
    add(meta)
    add(rawget(meta, "__index"))
  end
  if type(value) == "userdata" and rawequal(meta, getmetatable(core.limits)) then add(core.limits) end
  return sorted(seen)
end

return names
