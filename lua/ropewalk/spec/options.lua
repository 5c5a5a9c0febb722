-- SPDX-License-Identifier: MIT
-- The options of `ropewalk test`. What is not ours goes on to busted as it is.

local ipairs, tonumber = ipairs, tonumber
local find, format, lower, match = string.find, string.format, string.lower, string.match

local _ENV <const> = nil

local options = {}

---@class ropewalk.spec.Options
---@field jobs integer processes; 1: all tests run in this one
---@field timeout number seconds that one test may take
---@field reports table[] { format = "tap", path = "…" or nil for standard output }
---@field coverage string|false the file for the figures
---@field again boolean a file that fails beside others runs once more, by itself
---@field leftovers boolean a test may leave things behind
---@field errors boolean a test may log errors
---@field log string|false show the log from this level on, as it is written
---@field quiet? boolean another process tells
---@field xml? boolean standard output is XML, and nothing else
---@field paths string[]
---@field rest string[] for busted

local FORMATS <const> = { text = true, tap = true, junit = true, records = true }

local function seconds(text)
  local value = find(text, "^%d+%.?%d*$") and tonumber(text)
  return value and value > 0 and value or nil, "a number of seconds"
end

local function jobs(text)
  if text == "auto" then return 0 end
  local value = find(text, "^%d%d?%d?$") and tonumber(text)
  return value and value > 0 and value or nil, "a number, or auto"
end

local function level(text)
  local known = { debug = true, info = true, warn = true, error = true }
  return known[text] and text or nil, "debug, info, warn or error"
end

local function text(value) return value end

local function report(wanted)
  return function(value, result)
    result.reports[#result.reports + 1] = { format = wanted, path = value ~= "-" and value or nil }
    return value
  end
end

local function output(value, result)
  value = lower(value)
  if not FORMATS[value] then return nil, "text, tap or junit" end
  result.reports[#result.reports + 1] = { format = value }
  return value
end

-- name → field, reader (nil: a switch)
local OURS <const> = {
  ["-j"] = { "jobs", jobs }, ["--jobs"] = { "jobs", jobs },
  ["--timeout"] = { "timeout", seconds },
  ["-o"] = { "output", output }, ["--output"] = { "output", output },
  ["--tap"] = { "tap", report "tap" }, ["--junit"] = { "junit", report "junit" },
  ["--log"] = { "log", level },
  ["--coverage"] = { "coverage" }, ["-c"] = { "coverage" },
  ["--coverage-file"] = { "coverage", text },
  ["--again"] = { "again" },
  ["--allow-leftovers"] = { "leftovers" }, ["--allow-errors"] = { "errors" },
}

-- Those of busted that take a value as the next word: it is no path.
local VALUED <const> = {
  ["-p"] = true, ["--pattern"] = true, ["--exclude-pattern"] = true, ["-e"] = true,
  ["-C"] = true, ["--directory"] = true, ["-f"] = true, ["--config-file"] = true,
  ["-t"] = true, ["--tags"] = true, ["--exclude-tags"] = true, ["--filter"] = true,
  ["--filter-out"] = true, ["-m"] = true, ["--lpath"] = true, ["--cpath"] = true,
  ["-r"] = true, ["--run"] = true, ["--repeat"] = true, ["--seed"] = true,
  ["--lang"] = true, ["--loaders"] = true, ["--helper"] = true, ["-Xhelper"] = true,
}

local function take_value(arguments, at, inline)
  if inline then return inline, at end
  return arguments[at + 1], at + 1
end

---@param arguments string[]
---@return ropewalk.spec.Options? options
---@return string? why not
function options.parse(arguments)
  local result = { jobs = 1, timeout = 120, reports = {}, coverage = false, leftovers = false,
    again = false, errors = false, log = false, paths = {}, rest = {} }
  local at = 1
  while at <= #arguments do
    local word = arguments[at]
    local name, inline = match(word, "^(%-%-[%w%-]+)=(.*)$")
    if not name then name, inline = match(word, "^(%-j)(%d+)$") end
    name = name or word
    local ours = OURS[name]
    if ours and ours[2] then
      local value
      value, at = take_value(arguments, at, inline)
      if not value then return nil, format("%s needs a value", name) end
      local read, expected = ours[2](value, result)
      if not read then
        return nil, format('%s: %s is expected, not "%s"', name, expected, value)
      end
      result[ours[1]] = read
    elseif ours then
      if inline then return nil, format("%s takes no value", name) end
      result[ours[1]] = true
    elseif find(word, "^%-") then
      result.rest[#result.rest + 1] = word
      if VALUED[word] and arguments[at + 1] then
        at = at + 1
        result.rest[#result.rest + 1] = arguments[at]
      end
    else
      result.paths[#result.paths + 1] = word
    end
    at = at + 1
  end
  if result.coverage == true then result.coverage = "coverage.info" end
  local on_screen = false
  for _, each in ipairs(result.reports) do
    on_screen = on_screen or not each.path
    result.quiet = result.quiet or each.format == "records"
    result.xml = result.xml or not each.path and each.format == "junit"
  end
  if not on_screen then result.reports[#result.reports + 1] = { format = "text" } end
  if #result.paths == 0 then result.paths[1] = "spec" end
  return result
end

return options
