-- SPDX-License-Identifier: MIT
-- A generation's life, as the C core calls it. Each call is a task and may wait.
--
--   stage(path)  runs the script, binds its ports, runs its self-tests
--   save()       what the services hand over to newer code; may not wait
--   restore(…)   takes it, before the code is live; an error stops the reload
--   commit()     starts the services: the code is live
--   retire()     stops them, in reverse: newer code is live, or the process ends
--   report()     the last call before the state is closed
--
-- stage raises the whole diagnostic as text: what failed, in which file and
-- line, and the traceback. `ropewalk check` is a stage in which core.listen
-- binds nothing.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Failure = require "ropewalk.failure"
local Deferred = require "ropewalk.deferred"
local handover = require "ropewalk.handover"
local loader = require "ropewalk.loader"
local log = require "ropewalk.log"
local reactor = require "ropewalk.reactor"
local sandbox = require "ropewalk.sandbox"
local service = require "ropewalk.service"

local error, getmetatable, ipairs, pairs, tostring, type, xpcall =
  error, getmetatable, ipairs, pairs, tostring, type, xpcall
local find, format, gsub = string.find, string.format, string.gsub
local insert = table.insert
local MultiService = service.MultiService
local G = _G

local _ENV <const> = nil

local boot = {}

local logger = log.logger "boot"
local root   -- the tree of this generation
local checks = {}

---rw.on_check.
function boot.on_check(fn) insert(checks, argument.callable("on_check", 1, fn)) end

-- Diagnostics --------------------------------------------------------------

local function plural(value)
  local kind = type(value)
  if kind == "nil" then return "nothing" end
  if kind ~= "table" then return "a " .. kind end
  local class = getmetatable(value)
  return class and "a " .. tostring(class.__name or "table") or "a table"
end

local EXPECTED <const> = "a script returns a service, or a list of services, for example\n"
  .. '  return rw.server("tcp:127.0.0.1:7000", rw.Factory:for_protocol(Echo))'

-- What the author sees. Compile errors and plain errors begin with file:line
-- already; a Failure gets the place in front.
local function diagnose(what, failure)
  failure = Failure.wrap(failure)
  local text, inside = tostring(failure), 0
  if not find(text, "^[%w_.]+%.lua:") then
    text, inside = gsub(text, "^ropewalk[%w_.]*:%d+: ", "") -- not the script's line
  end
  local place = failure:location()
  local traceback = (place or inside > 0) and failure.traceback -- else nothing of the script is in it
  -- `return rw.server(…)` is a tail call: the stack does not know its line
  if not place and not find(text, "^[^%s:]+:%d+: ") then place = loader.script end
  if place and not find(text, place, 1, true) then text = place .. ": " .. text end
  if what then text = what .. ": " .. text end
  if traceback then text = text .. "\n" .. traceback end
  local cause = failure.cause
  if cause and cause.traceback and cause.traceback ~= failure.traceback then
    text = text .. "\ncaused by: " .. cause:describe()
  end
  return text
end

-- What the script returned, as a list of services; nil and why not.
local function services_of(value, path)
  if type(value) == "table" and type(value.start_service) == "function"
    and getmetatable(value) then
    return { value }
  end
  if type(value) ~= "table" then
    local hint = value == nil and " (is there a `return` at its end?)" or ""
    return nil, format("%s returned %s%s; %s", path, plural(value), hint, EXPECTED)
  end
  if getmetatable(value) then
    local hint = ""
    if value.build_protocol or value.http then hint = "; put it into rw.server(endpoint, …)" end
    return nil, format("%s returned %s, which is no service%s; %s", path, plural(value), hint,
      EXPECTED)
  end
  local list, items = {}, 0
  for i, each in ipairs(value) do
    items = i
    local inner, why = services_of(each, format("%s: item %d of the list", path, i))
    if not inner then return nil, why end
    for _, one in ipairs(inner) do insert(list, one) end
  end
  for key in pairs(value) do
    if type(key) ~= "number" then
      local name = tostring(key)
      return nil, format('%s returned a table with the field "%s"; %s', path, name, EXPECTED)
    elseif key > items then -- what is behind a hole would never start
      return nil, format("%s: item %d of the list is nil", path, items + 1)
    end
  end
  return list
end

-- Staging ------------------------------------------------------------------

local function stop(what, failure) error(diagnose(what, failure), 0) end

local function attempt(what, fn, ...)
  local ok, value, why = xpcall(fn, Failure.caught, ...)
  if ok and Deferred.is(value) then
    ok, value = xpcall(value.await, Failure.caught, value)
    why = nil
  end
  if not ok then stop(what, value) end
  return value, why
end

local function run_checks()
  for _, fn in ipairs(checks) do
    local value, why = attempt("self-test failed", fn)
    if Failure.is_failure(value) then stop("self-test failed", value) end
    if value == false or (value == nil and why ~= nil) then
      stop("self-test failed", why or "a function given to rw.on_check returned false")
    end
  end
end

---Runs the script and gets all ready that can fail.
---@param path string
function boot.stage(path)
  sandbox.install(G)
  root = MultiService()
  loader.set_script(path)
  local chunk, why
  if core.script then chunk, why = loader.load(core.script, "@" .. path)
  else chunk, why = loader.load_file(path) end
  if not chunk then error(why, 0) end
  local services
  services, why = services_of(attempt(nil, chunk, path), path)
  if not services then error(why, 0) end
  for _, each in ipairs(services) do attempt(path, root.add_service, root, each) end
  why = handover.objection(root)
  if why then error(path .. ": " .. why, 0) end
  attempt(nil, root.privileged_start_service, root)
  run_checks()
end

---What the services want to hand over: path → data.
---@return table<string, any>
function boot.save() return handover.save(root) end

---Gives the services what those before them saved.
---@param saved table<string, any>
function boot.restore(saved) handover.restore(root, saved) end

-- Live ---------------------------------------------------------------------

---Starts the services. What does not start is logged; the others do.
---@return boolean ok
function boot.commit()
  reactor.running = true
  reactor:fire("before", "startup"):await()
  local ok, failure = xpcall(function()
    root.running = true
    return Deferred.maybe(root.start_service, root):await()
  end, Failure.caught)
  if not ok then logger:failure(failure, "the services did not start") end
  reactor:fire("during", "startup")
  reactor.started = true
  reactor:fire("after", "startup")
  return ok
end

---Stops the services, the last first, and waits for them.
function boot.retire()
  if not root then return true end
  reactor:fire("before", "shutdown"):await()
  local ok, failure = xpcall(function()
    return Deferred.maybe(root.stop_service, root):await()
  end, Failure.caught)
  if not ok then logger:failure(failure, "the services did not stop well") end
  reactor.running, reactor.started = false, false
  reactor:fire("during", "shutdown")
  reactor:fire("after", "shutdown")
  return ok
end

---The last words: failures that nobody took.
function boot.report()
  Deferred.flush()
end

---The tree of services, for `status` and specs.
function boot.root() return root end

return boot
