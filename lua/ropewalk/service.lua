-- SPDX-License-Identifier: MIT
-- Services: what a script is made of. A tree; children start in the order they
-- were added and stop in reverse; who fails to start or stop is logged and
-- holds up nobody else.
--
--   privileged_start_service   while the new code is staged: bind ports, open
--                              what may be refused; an error stops the reload
--   restore(data)              what save() of the same service in the code
--                              before has given (handover.lua)
--   start_service              the code is live
--   save()                     newer code is about to take over: plain data
--   stop_service               newer code has taken over, or the process ends

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"
local log = require "ropewalk.log"

local error, getmetatable, ipairs, tostring, type = error, getmetatable, ipairs, tostring, type
local insert, remove = table.insert, table.remove
local format = string.format
local misuse, optional = argument.misuse, argument.optional

local _ENV <const> = nil

---@class ropewalk.Service
---@field name? string
---@field parent? ropewalk.MultiService
---@field running boolean
local Service = Object:extend "Service"

Service.name = false
Service.parent = false
Service.running = false
Service.prepared = false -- privileged_start_service was called
Service.ending = false   -- a Deferred, while its stop takes time

local logger = log.logger "service"

---Before it starts, while a failure can still stop the reload. May wait or
---return a Deferred.
---@return ropewalk.Deferred?
function Service:privileged_start_service() end -- luacheck: ignore 212

---Starts. Overriding it, there is no need to call this one.
---
---    function Ticker:start_service() self.loop:start(1) end
---@return ropewalk.Deferred?
function Service:start_service() self.running = true end

---Stops; may take its time by returning a Deferred, or by waiting.
---
---    function Store:stop_service() return self.db:close() end
---@return ropewalk.Deferred?
function Service:stop_service() self.running = false end

---Gives it a name, before it gets a parent.
---
---    service:set_name "web"
---@param name string
---@return ropewalk.Service self
function Service:set_name(name)
  if self.parent then error("set_name: the service has a parent already", 2) end
  self.name = name
  return self
end

---Puts it into a tree.
---@param parent ropewalk.MultiService
---@return ropewalk.Service self
function Service:set_service_parent(parent)
  argument.object("set_service_parent", 1, parent, "add_service", "MultiService")
  if self.parent then self:disown_service_parent() end
  parent:add_service(self)
  return self
end

---Takes it out of its tree, which stops it.
---@return ropewalk.Deferred?
function Service:disown_service_parent()
  if self.parent then return self.parent:remove_service(self) end
end

local function title(service)
  if service.name then return format('service "%s"', service.name) end
  if (getmetatable(service) or service).__tostring then return tostring(service) end
  return "service " .. tostring(service.__name)
end

local function prepared(service)
  service.prepared = true
  return Deferred.maybe(service.privileged_start_service, service)
end

-- In a task of its own: one that waits there holds up nobody else.
local function call(service, method)
  return async.spawn(function() return service[method](service) end)
end

local function started(service)
  service.running = true
  return call(service, "start_service"):add_errback(function(failure)
    service.running = false
    return failure
  end)
end

local function stopped(service)
  service.running, service.prepared = false, false
  local d = call(service, "stop_service"):add_errback(function(failure)
    logger:failure(failure, title(service) .. " did not stop well")
  end)
  if d:peek() then return d end
  service.ending = d
  return d:add_callback(function() service.ending = false end)
end

-- Is there anything to stop? The port of one that did not start is bound.
local function is_up(service) return service.running or service.prepared end

-- Fires when the other one does, without taking its result from anybody.
local function after(d)
  local result = Deferred.new()
  d:add_both(function(value)
    result:callback()
    return value
  end)
  return result
end

-- Many ---------------------------------------------------------------------

---@class ropewalk.MultiService: ropewalk.Service
---@field services ropewalk.Service[]
local MultiService = Service:extend "MultiService"

function MultiService:init(services)
  self.services, self.by_name = {}, {}
  for _, service in ipairs(optional("MultiService", 1, services, "table") or {}) do self:add_service(service) end
end

---Adds a child; if this one runs, or is about to, so does the child.
---
---    parent:add_service(rw.server("tcp:7000", factory))
---@param service ropewalk.Service
---@return ropewalk.Deferred? fires when it has started
function MultiService:add_service(service)
  if type(service) ~= "table" or type(service.start_service) ~= "function" then
    misuse("add_service: a service is needed, not a " .. type(service))
  end
  if service.parent then error("add_service: the service has a parent already", 2) end
  local at = self
  while at do
    if at == service then error("add_service: a service cannot be inside of itself", 2) end
    at = at.parent
  end
  if service.name then
    if self.by_name[service.name] then
      error(format('add_service: there is a service "%s" already', service.name), 2)
    end
    self.by_name[service.name] = service
  end
  service.parent = self
  insert(self.services, service)
  if not is_up(self) then return nil end
  return prepared(service):add_callback(function()
    if service.parent == self and self.running then return started(service) end
  end)
end

---Takes a child out; if it runs, it stops.
---@param service ropewalk.Service
---@return ropewalk.Deferred? fires when it has stopped
function MultiService:remove_service(service)
  for i, each in ipairs(self.services) do
    if each == service then
      remove(self.services, i)
      if service.name then self.by_name[service.name] = nil end
      service.parent = nil
      if is_up(service) then return stopped(service) end
      return service.ending and after(service.ending) or nil
    end
  end
  error("remove_service: the service is not a child of this one", 2)
end

---The child of that name.
---
---    app:get_service_named("web"):add_service(…)
---@param name string
---@return ropewalk.Service?
function MultiService:get_service_named(name) return self.by_name[name] end

MultiService.add, MultiService.remove = MultiService.add_service, MultiService.remove_service
MultiService.get = MultiService.get_service_named

-- One child after the other, each when the one before is ready.
local function in_order(services, i, fn)
  local service = services[i]
  if not service then return Deferred.succeed() end
  local d = fn(service)
  local fired, result = d:peek()
  if fired and not Failure.is_failure(result) then return in_order(services, i + 1, fn) end
  return d:add_callback(function() return in_order(services, i + 1, fn) end)
end

local function copy(list)
  local result = {}
  for i, each in ipairs(list) do result[i] = each end
  return result
end

function MultiService:privileged_start_service()
  self.prepared = true
  return in_order(copy(self.services), 1, function(service)
    if service.prepared or service.parent ~= self then return Deferred.succeed() end
    return prepared(service):add_errback(function(failure)
      failure.op = failure.op or service.name and title(service) or nil
      return failure
    end)
  end)
end

-- One that takes for ever to start does not hold up those behind it.
local function or_too_late(service, d)
  if d:peek() then return d end
  local result = Deferred.new()
  local timer = core.timer(core.limits.load_timeout / 1000, function()
    logger:warn("{service} has not started yet; the next ones do",
      { service = title(service), limit = "load_timeout" })
    result:callback()
  end)
  d:add_callback(function()
    if timer:cancel() then result:callback() end
  end)
  return result
end

function MultiService:start_service()
  self.running = true
  return in_order(copy(self.services), 1, function(service)
    if service.running or service.parent ~= self or not self.running then
      return Deferred.succeed()
    end
    return or_too_late(service, started(service):add_errback(function(failure)
      logger:failure(failure, title(service) .. " did not start")
    end))
  end)
end

function MultiService:stop_service()
  self.running, self.prepared = false, false
  local waiting, services = {}, copy(self.services)
  for i = #services, 1, -1 do
    local service = services[i]
    if is_up(service) then insert(waiting, stopped(service))
    elseif service.ending then insert(waiting, after(service.ending)) end
  end
  return Deferred.gather(waiting):add_callback(function() end)
end

---Iterates over the children.
---
---    for _, service in parent:each() do … end
function MultiService:each() return ipairs(self.services) end

return { Service = Service, MultiService = MultiService }
