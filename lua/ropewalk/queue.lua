-- SPDX-License-Identifier: MIT
-- DeferredQueue: one side puts, the other gets a Deferred, in order.

local argument = require "ropewalk.argument"
local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"

local error, ipairs, next, tostring, type = error, ipairs, next, tostring, type
local remove = table.remove
local format = string.format
local huge = math.huge
local optional = argument.optional

local _ENV <const> = nil

---@class ropewalk.DeferredQueue
---@field size number most values that may lie in it
---@field backlog number most gets that may wait
local Queue = Object:extend "DeferredQueue"

---    local jobs = rw.DeferredQueue { size = 1000 }
---    rw.spawn(function() while true do work(jobs:get():await()) end end)
---    jobs:put(job)
---@param options? { size: integer, backlog: integer }
function Queue:init(options)
  self.size, self.backlog = huge, huge
  for key, value in next, optional("DeferredQueue", 1, options, "table") or {} do
    if key ~= "size" and key ~= "backlog" then
      argument.refuse("DeferredQueue", 1, format("there is no option '%s'", tostring(key)))
    elseif type(value) ~= "number" or value ~= value or value < 0 then
      argument.refuse("DeferredQueue", 1, format("%s must be a number from 0 on", key))
    end
    self[key] = value
  end
  self.waiting, self.values, self.first, self.last = {}, {}, 1, 0
end

---How many values lie in it.
---@return integer
function Queue:__len() return self.last - self.first + 1 end

---Puts a value; raises "queue_overflow" when it is full.
---@param value any
function Queue:put(value)
  local d = remove(self.waiting, 1)
  if d then return d:callback(value) end
  if #self >= self.size then
    error(Failure.new("queue_overflow", "the queue is full"):at(2), 0)
  end
  self.last = self.last + 1
  self.values[self.last] = value
end

---Gets the next value; fires when there is one. Raises "queue_underflow" when
---too many wait.
---@return ropewalk.Deferred
function Queue:get()
  if self.first <= self.last then
    local value = self.values[self.first]
    self.values[self.first] = nil
    self.first = self.first + 1
    return Deferred.succeed(value)
  end
  if #self.waiting >= self.backlog then
    error(Failure.new("queue_underflow", "too many wait for the queue"):at(2), 0)
  end
  local d
  d = Deferred.new(function()
    for i, each in ipairs(self.waiting) do
      if each == d then return remove(self.waiting, i) end
    end
  end)
  self.waiting[#self.waiting + 1] = d
  return d
end

return Queue
