-- SPDX-License-Identifier: MIT
-- The state of services goes over to newer code. At a commit each service of
-- the running code that has save() gives plain data; the service of the same
-- path in the new code gets it by restore(data), before anything starts.
--
--   function Counter:save() return { count = self.count } end
--   function Counter:restore(data) self.count = data.count end
--
-- A path is the names of a service and of those around it, "web/sessions". What
-- fails to save is logged and starts afresh: else a broken save() could never
-- be replaced. What fails to restore refuses the reload.

local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"

local error, ipairs, pairs, tostring, type, xpcall =
  error, ipairs, pairs, tostring, type, xpcall
local concat = table.concat
local format = string.format

local _ENV <const> = nil

local handover = {}
local logger = log.logger "service"

local function has_state(service)
  return type(service.save) == "function" or type(service.restore) == "function"
end

-- fn(service, path) for all below; an unnamed one has no path of its own.
local function walk(parent, around, fn)
  for _, service in ipairs(parent.services) do
    local path = around
    if service.name then path = around and concat({ around, service.name }, "/") or service.name end
    if has_state(service) then fn(service, service.name and path) end
    if type(service.services) == "table" then walk(service, path, fn) end
  end
end

---Why the services of a tree cannot be told apart, or nil.
---@param root ropewalk.MultiService
---@return string?
function handover.objection(root)
  local seen, why = {}, nil
  walk(root, nil, function(service, path)
    if not path then
      why = why or format("%s has save() or restore() but no name; give it one by set_name",
        tostring(service))
    elseif seen[path] then
      why = why or format('two services with save() or restore() are called "%s"', path)
    end
    if path then seen[path] = true end
  end)
  return why
end

---What the services save: path → data.
---@param root ropewalk.MultiService
---@return table<string, any>
function handover.save(root)
  local saved = {}
  walk(root, nil, function(service, path)
    if type(service.save) ~= "function" then return end
    if not path or saved[path] ~= nil then
      logger:error("{service} has no name of its own; its state is lost",
        { service = tostring(service) })
      return
    end
    local ok, data = xpcall(service.save, Failure.caught, service)
    if ok then
      saved[path] = data
    else
      logger:failure(data, format('service "%s" did not save its state', path))
    end
  end)
  return saved
end

---Gives saved data to the services; raises what one of them raises.
---@param root ropewalk.MultiService
---@param saved table<string, any>
function handover.restore(root, saved)
  local taken = {}
  walk(root, nil, function(service, path)
    local data = path and saved[path]
    if data == nil or type(service.restore) ~= "function" then return end
    taken[path] = true
    local ok, failure = xpcall(service.restore, Failure.caught, service, data)
    if not ok then
      failure.op = failure.op or format('restore of service "%s"', path)
      error(failure, 0)
    end
  end)
  for path in pairs(saved) do
    if not taken[path] then
      logger:info("the state of {service} has nobody to take it over", { service = path })
    end
  end
end

return handover
