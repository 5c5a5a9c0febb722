-- SPDX-License-Identifier: MIT
-- JUnit's XML, as build servers read it: a suite a file.

local ipairs, setmetatable = ipairs, setmetatable
local format, gsub = string.format, string.gsub

local _ENV <const> = nil

local Junit = {}
Junit.__index = Junit

function Junit.new(out)
  return setmetatable({ out = out, suites = {}, by_file = {}, errors = 0 }, Junit)
end

function Junit:begin() end

function Junit:record(record)
  local suite = self.by_file[record.file]
  if not suite then
    suite = { file = record.file, failed = 0, errors = 0, skipped = 0, seconds = 0 }
    self.by_file[record.file] = suite
    self.suites[#self.suites + 1] = suite
  end
  suite[#suite + 1] = record
  suite.seconds = suite.seconds + record.seconds
  local kind = record.outside and "errors" or record.status
  if suite[kind] then suite[kind] = suite[kind] + 1 end
  if record.outside then self.errors = self.errors + 1 end
end

local ENTITY <const> = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;",
  ["\n"] = "&#10;", ["\t"] = "&#9;" }

-- XML 1.0 has no way to say most control characters.
local function attribute(text)
  return (gsub(gsub(text, '[&<>"\n\t]', ENTITY), "[%z\1-\31\127]", "?"))
end

local function content(text)
  return (gsub(gsub(text, "[&<>]", ENTITY), "[%z\1-\8\11\12\14-\31]", "?"))
end

local function write_case(out, record)
  out:write(format('    <testcase name="%s" classname="%s" file="%s" line="%d" time="%.6f"',
    attribute(record.name), attribute(record.file), attribute(record.file), record.line or 0,
    record.seconds))
  if record.status == "passed" then return out:write "/>\n" end
  out:write ">\n"
  local message = record.message or ""
  if record.status == "skipped" then
    out:write(format('      <skipped message="%s"/>\n', attribute(message)))
  else
    local kind = record.outside and "error" or "failure"
    out:write(format('      <%s message="%s">%s</%s>\n', kind, attribute(message),
      content(message .. "\n" .. (record.traceback or "")), kind))
    if record.log and record.log ~= "" then
      out:write(format("      <system-err>%s</system-err>\n", content(record.log)))
    end
  end
  return out:write "    </testcase>\n"
end

function Junit:finish(totals)
  local out = self.out
  out:write '<?xml version="1.0" encoding="UTF-8"?>\n'
  out:write(format('<testsuites tests="%d" failures="%d" errors="%d" skipped="%d" time="%.6f">\n',
    totals.passed + totals.failed + totals.skipped, totals.failed - self.errors, self.errors,
    totals.skipped, totals.seconds))
  for _, suite in ipairs(self.suites) do
    out:write(format('  <testsuite name="%s" tests="%d" failures="%d" errors="%d" skipped="%d"'
      .. ' time="%.6f">\n', attribute(suite.file), #suite, suite.failed, suite.errors, suite.skipped,
      suite.seconds))
    for _, record in ipairs(suite) do write_case(out, record) end
    out:write "  </testsuite>\n"
  end
  out:write "</testsuites>\n"
end

return Junit
