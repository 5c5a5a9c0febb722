-- SPDX-License-Identifier: MIT
-- Gives each record to all reporters and keeps the totals. A reporter has
-- new(file), begin(), record(record), finish(totals).

local ipairs, require, setmetatable = ipairs, require, setmetatable
local hrtime = require "ropewalk.core".hrtime
local io = io

local _ENV <const> = nil

local Report = {}
Report.__index = Report

---@param wanted table[] { format = "tap", path = "…" or nil }
---@return table? report
---@return string? why not
function Report.new(wanted)
  local self = setmetatable({ reporters = {}, files = {}, began = hrtime(),
    totals = { passed = 0, failed = 0, skipped = 0 } }, Report)
  for _, each in ipairs(wanted) do
    local out = io.stdout
    if each.path then
      local why
      out, why = io.open(each.path, "w")
      if not out then return nil, why end
      self.files[#self.files + 1] = { out = out, path = each.path }
    end
    local reporter = require("ropewalk.spec.report." .. each.format).new(out)
    self.reporters[#self.reporters + 1] = reporter
    reporter:begin()
  end
  return self
end

function Report:record(record)
  local totals = self.totals
  totals[record.status] = totals[record.status] + 1
  for _, reporter in ipairs(self.reporters) do reporter:record(record) end
end

---@return string? why a report could not be written
function Report:finish()
  local trouble
  self.totals.seconds = hrtime() - self.began
  for _, reporter in ipairs(self.reporters) do reporter:finish(self.totals) end
  for _, file in ipairs(self.files) do
    local ok, why = file.out:close()
    if not ok then trouble = trouble or file.path .. ": " .. why end
  end
  return trouble
end

return Report
