-- SPDX-License-Identifier: MIT
-- The Test Anything Protocol, version 13; the plan comes last.

local setmetatable = setmetatable
local format, gsub = string.format, string.gsub

local _ENV <const> = nil

local Tap = {}
Tap.__index = Tap

function Tap.new(out) return setmetatable({ out = out, count = 0 }, Tap) end

function Tap:begin() self.out:write "TAP version 13\n" end

local function comment(text) return "# " .. gsub(gsub(text, "\n+$", ""), "\n", "\n# ") .. "\n" end

function Tap:record(record)
  self.count = self.count + 1
  local name = gsub(gsub(record.name, "[#\\]", "\\%0"), "%c", " ")
  local ok = record.status == "failed" and "not ok" or "ok"
  local skip = record.status == "skipped" and " # SKIP" or ""
  self.out:write(format("%s %d - %s%s\n", ok, self.count, name, skip))
  if record.status == "failed" then
    self.out:write(comment(format("%s:%d", record.file, record.line or 0)))
    self.out:write(comment(record.message or "?"))
    if record.traceback then self.out:write(comment(record.traceback)) end
  end
  self.out:flush()
end

function Tap:finish(totals)
  self.out:write("1..", self.count, "\n")
  if totals.seed then self.out:write(comment("order: --seed=" .. totals.seed)) end
end

return Tap
