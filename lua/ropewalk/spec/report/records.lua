-- SPDX-License-Identifier: MIT
-- For the process that started this one (jobs.lua): a record a line.

local records = require "ropewalk.spec.records"

local setmetatable = setmetatable

local _ENV <const> = nil

local Lines = {}
Lines.__index = Lines

function Lines.new(out) return setmetatable({ out = out }, Lines) end
function Lines:begin() end -- luacheck: ignore 212

function Lines:record(record)
  self.out:write("\n", records.to_line(record))
  self.out:flush()
end

function Lines:finish(totals)
  self.out:write("\n", records.end_line(totals))
  self.out:flush()
end

return Lines
