-- SPDX-License-Identifier: MIT
-- For people: a character a test, then what failed, and a list of that. The last
-- line is the totals.

local ipairs, setmetatable = ipairs, setmetatable
local format, gsub = string.format, string.gsub

local _ENV <const> = nil

local Text = {}
Text.__index = Text

local SIGN <const> = { passed = ".", failed = "F", skipped = "s" }
local WIDTH <const> = 78

function Text.new(out)
  return setmetatable({ out = out, column = 0, failures = {}, skipped = {} }, Text)
end

function Text:begin() end

function Text:record(record)
  self.out:write(SIGN[record.status])
  self.column = self.column + 1
  if self.column == WIDTH then
    self.out:write "\n"
    self.column = 0
  end
  self.out:flush()
  local list = record.status == "failed" and self.failures
    or record.status == "skipped" and self.skipped
  if list then list[#list + 1] = record end
end

local function indent(text) return "  " .. gsub(gsub(text, "\n+$", ""), "\n", "\n  ") end

-- A process, or a file that does not load, has no line.
local function place(record)
  return record.line and format("%s:%d", record.file, record.line) or record.file
end

function Text:finish(totals)
  local out = self.out
  if self.column > 0 then out:write "\n" end
  for _, record in ipairs(self.skipped) do
    out:write(format("\nskipped: %s: %s\n", place(record), record.name))
    if record.message then out:write(indent(record.message), "\n") end
  end
  for _, record in ipairs(self.failures) do
    local title = record.outside and "error outside of a test" or "failed"
    out:write(format("\n%s: %s: %s\n", title, place(record), record.name))
    out:write(indent(record.message or "?"), "\n")
    if record.traceback then out:write("  stack traceback:\n", indent(record.traceback), "\n") end
    if record.log and record.log ~= "" then
      out:write("  log of the test:\n", indent(indent(record.log)), "\n")
    end
  end
  if #self.failures > 1 then -- their details may be screens apart
    out:write "\nthese failed:\n"
    for _, record in ipairs(self.failures) do
      out:write(format("  %s: %s\n", place(record), record.name))
    end
  end
  if totals.seed then out:write("\norder: --seed=", totals.seed, "\n") end
end

return Text
