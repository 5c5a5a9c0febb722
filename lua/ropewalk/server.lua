-- SPDX-License-Identifier: MIT
-- rw.server: a service that listens. The port is bound while the code is
-- staged, so that a port which cannot be had stops the reload, not the server.

local endpoint = require "ropewalk.endpoint"
local net = require "ropewalk.listen"
local Service = require "ropewalk.service".Service

local error, tostring, type = error, tostring, type

local _ENV <const> = nil

---@class ropewalk.Server: ropewalk.Service
---@field address? table { kind, host, port }, once it listens
---@field port? integer
---@field factory ropewalk.Factory
local Server = Service:extend "Server"

Server.bound = false

---A service that listens at the endpoint.
---
---    return rw.server("tcp:127.0.0.1:7000", rw.Factory:for_protocol(Echo))
---@param where string|ropewalk.Endpoint
---@param factory ropewalk.Factory
function Server:init(where, factory)
  if type(factory) ~= "table" or not (factory.build_protocol or factory.http) then
    error("server: the second argument must be a factory or a site, not "
      .. (type(factory) == "table" and "a table without build_protocol (for a protocol class: "
      .. "rw.Factory:for_protocol(Class))" or type(factory)), 3)
  end
  self.endpoint, self.factory = endpoint.need(where), factory
end

function Server:privileged_start_service()
  if self.bound then return end
  local port, failure = net.open(self.endpoint, self.factory)
  if not port then error(failure, 0) end
  self.bound, self.address, self.port = port, port.address, port.port
end

function Server:start_service()
  self.running = true
  return Server.privileged_start_service(self)
end

function Server:stop_service()
  self.running = false
  local port = self.bound
  if not port then return nil end
  self.bound, self.address, self.port = false, nil, nil
  return port:stop_listening()
end

function Server:__tostring() return "server " .. tostring(self.endpoint) end

return Server
