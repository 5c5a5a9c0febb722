-- SPDX-License-Identifier: MIT
-- Which lines the tests ran: a table for people, a file in the format of lcov
-- for tools. Of the files that were loaded, those below the working directory
-- count, but for the specs themselves.

local core = require "ropewalk.core"
local lines = require "ropewalk.spec.lines"

local ipairs, pairs, tonumber = ipairs, pairs, tonumber
local io = io
local find, format, match = string.find, string.format, string.match
local sort = table.sort

local _ENV <const> = nil

local coverage = {}

local function counts(path)
  return not find(path, "^/") and not find(path, "^%.%./") and not find(path, "_spec%.lua$")
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local text = file:read "a"
  file:close()
  return text
end

---Begins to count.
function coverage.start() core.test.cover() end

-- { { path, hits = { line → count }, total, hit } } in order of path
local function figures(covered)
  local list = {}
  for path, hits in pairs(covered) do
    local clean = match(path, "^%./(.*)$") or path
    local source = counts(clean) and read(clean)
    local active = source and lines.active(source)
    if active then
      local entry = { path = clean, hits = {}, total = 0, hit = 0 }
      for line in pairs(active) do
        entry.hits[line] = hits[line] or 0
        entry.total = entry.total + 1
        if hits[line] then entry.hit = entry.hit + 1 end
      end
      list[#list + 1] = entry
    end
  end
  sort(list, function(a, b) return a.path < b.path end)
  return list
end

local function write_lcov(path, list)
  local out, why = io.open(path, "w")
  if not out then return nil, why end
  for _, entry in ipairs(list) do
    out:write("SF:", entry.path, "\n")
    local order = {}
    for line in pairs(entry.hits) do order[#order + 1] = line end
    sort(order)
    for _, line in ipairs(order) do out:write(format("DA:%d,%d\n", line, entry.hits[line])) end
    out:write(format("LF:%d\nLH:%d\nend_of_record\n", entry.total, entry.hit))
  end
  return out:close()
end

---Reads what another process wrote, and adds it.
---@param covered table
---@param path string
function coverage.merge(covered, path)
  local hits
  for line in io.lines(path) do
    local name = match(line, "^SF:(.*)$")
    if name then
      hits = covered[name] or {}
      covered[name] = hits
    end
    local at, count = match(line, "^DA:(%d+),(%d+)$")
    if at and count ~= "0" then
      hits[tonumber(at)] = (hits[tonumber(at)] or 0) + tonumber(count)
    end
  end
end

---Writes the file, and the table unless `quiet`.
---@param path string
---@param covered? table what was merged; otherwise what this process ran
---@param quiet? boolean
---@return boolean? ok
---@return string? why not
function coverage.report(path, covered, quiet)
  local list = figures(covered or core.test.covered())
  local ok, why = write_lcov(path, list)
  if not ok then return nil, why end
  if quiet then return true end
  if #list == 0 then
    io.stdout:write("\ncoverage: no file below the working directory was run; ", path, "\n")
    return true
  end
  local total, hit = 0, 0
  io.stdout:write "\ncoverage:\n"
  for _, entry in ipairs(list) do
    total, hit = total + entry.total, hit + entry.hit
    io.stdout:write(format("  %5.1f %%  %5d of %5d  %s\n",
      entry.total > 0 and 100 * entry.hit / entry.total or 100, entry.hit, entry.total,
      entry.path))
  end
  io.stdout:write(format("  %5.1f %%  %5d of %5d lines in all; %s\n",
    total > 0 and 100 * hit / total or 100, hit, total, path))
  return true
end

return coverage
