-- SPDX-License-Identifier: MIT
--- Every public function, found by walking what `require "ropewalk"` gives, so
--- that a new one is in the list as soon as it exists.
---
---     for _, entry in ipairs(public.functions()) do
---       entry.path                -- "rw.Deferred:add_callback"
---       entry.name                -- "add_callback"
---       entry.fn(entry.own(), …)  -- own: gives what is called, or nothing
---     end

local rw = require "ropewalk"
local web = require "ropewalk.web"

local public = {}

local function noop() end
local function factory() return rw.Factory:for_protocol(rw.Protocol) end

-- How to make an object of a class; those that are not here take no arguments.
local MAKE <const> = {
  ["rw.ClientService"] = function(class) return class("tcp:127.0.0.1:1", factory()) end,
  ["rw.DeferredFilesystemLock"] = function(class) return class "/none/lock" end,
  ["rw.DeferredSemaphore"] = function(class) return class(1) end,
  ["rw.Failure"] = function(class) return class.new("code", "message") end,
  ["rw.FilePath"] = function(class) return class "/none" end,
  ["rw.FileSender"] = function(class) return class() end,
  ["rw.Forwarder"] = function(class) return class "tcp:127.0.0.1:1" end,
  ["rw.LoopingCall"] = function(class) return class(noop) end,
  ["rw.ThreadPool"] = function(class) return class { max = 1 } end,
  ["rw.TimerService"] = function(class) return class(60, noop) end,
  ["rw.server"] = function(class) return class("tcp:127.0.0.1:0", factory()) end,
  ["web.Response"] = function() return web.text "text" end,
}
MAKE["rw.client"] = MAKE["rw.ClientService"]

-- Functions of a class that are called without an object.
local STATIC <const> = {
  ["rw.Deferred"] = { gather = true, race = true, maybe = true, succeed = true, fail = true, list = true,
    set_debugging = true, flush = true, report = true, new = true, wait = true, is = true },
  ["rw.Failure"] = { new = true, wrap = true, raise = true, is_failure = true, caught = true, from_close = true },
}

-- What is not called, and why.
local EXCLUDED <const> = {
  ["rw.reactor:stop"] = "it stops the process that asks",
  ["rw.reactor:fire"] = "the library's own, it runs the triggers of the sweep",
  ["rw.Failure.raise"] = "raising is what it is for",
  ["rw.acme.http01_resource"] = "it makes the directory that it is given",
  ["rw.testing.simulate"] = "a world for each call takes too long; its own spec has its arguments",
  ["rw.testing.simulate_many"] = "as simulate",
}

-- The library's own: one module calls them in another, or C does.
local function own(class, ...)
  for _, name in ipairs { ... } do EXCLUDED[class .. name] = "the library's own" end
end
own("rw.Deferred.", "wait", "report")
own("rw.Factory:", "track", "untrack", "restore")
own("rw.Failure:", "at", "add_frames", "from_close")
own("rw.Failure.", "from_close", "caught")
own("rw.FrameProtocol:", "checksum_failed")
own("rw.ProcessMonitor:", "ended", "halt", "launch")
own("rw.Protocol:", "restored")
own("rw.TimeoutMixin.", "set_timeout", "reset_timeout", "timeout_connection") -- need a protocol
own("rw.thread.", "enter", "describe", "inside")
own("rw.acme.", "listening")
own("rw.tls.", "connecting", "listening", "start")

local function sorted(t)
  local names = {}
  for name in next, t do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- What the table has, and what it loads when it is asked for.
local function names_of(library)
  local all = {}
  for name in pairs(library) do all[name] = true end
  local index = (getmetatable(library) or {}).__index
  for i = 1, 200 do
    local name, value = nil, nil
    if type(index) == "function" then name, value = debug.getupvalue(index, i) end
    if not name then break end
    if name == "LAZY" then for lazy in pairs(value) do all[lazy] = true end end
  end
  return sorted(all)
end

local function is_class(t) return rawget(t, "__index") == t or rawget(t, "__name") ~= nil end

local list, seen

local function add(path, name, fn, of)
  if seen[fn] or EXCLUDED[path] then return end
  seen[fn] = true
  list[#list + 1] = { path = path, name = name, fn = fn, own = of }
end

local function add_class(path, class)
  local make = MAKE[path] or function() return class() end
  local ok, why = pcall(make, class)
  local no_objects = not ok and (tostring(why):find "not in a thread" or tostring(why):find "in a simulation")
  if not ok and not no_objects then error(path .. " needs an entry in MAKE: " .. tostring(why), 0) end
  for _, name in ipairs(sorted(class)) do
    local member = class[name]
    if type(member) == "function" and not name:find "^_" and name ~= "init" then
      local static = STATIC[path] and STATIC[path][name]
      if static then add(path .. "." .. name, name, member, noop)
      elseif not no_objects then add(path .. ":" .. name, name, member, function() return make(class) end) end
    end
  end
  if getmetatable(class) and getmetatable(class).__call then
    local name = path:match "[^.]*$"
    add(path, name, function(...)
      local made = class(...)
      return made
    end, noop)
  end
end

local add_table

local function add_value(path, name, value, depth)
  if type(value) == "function" then return add(path, name, value, noop) end
  if type(value) ~= "table" or seen[value] then return end
  seen[value] = true
  if is_class(value) then return add_class(path, value) end
  if depth < 3 then add_table(path, value, depth + 1) end
end

function add_table(path, t, depth)
  for _, name in ipairs(names_of(t)) do
    if not name:find "^_" then add_value(path .. "." .. name, name, t[name], depth) end
  end
  local class = getmetatable(t)
  local methods = class and rawget(class, "__index")
  if type(methods) ~= "table" then return end
  for _, name in ipairs(sorted(methods)) do
    if type(methods[name]) == "function" and not name:find "^_" then
      add(path .. ":" .. name, name, methods[name], function() return t end)
    end
  end
end

--- All of them, in the order of their names.
---@return { path: string, name: string, fn: function, own: function }[]
function public.functions()
  list, seen = {}, { [rw.config] = true, [rw.args] = true, [rw.exports] = true, [rw.host] = true }
  add_table("rw", rw, 1)
  add_table("web", web, 1)
  return list
end

return public
