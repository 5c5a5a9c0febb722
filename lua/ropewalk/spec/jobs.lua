-- SPDX-License-Identifier: MIT
-- Several processes at once, a spec file each: the longest files do not hold up
-- the others, and no file finds what another one left in the state.

local async = require "ropewalk.async"
local coverage = require "ropewalk.spec.coverage"
local Deferred = require "ropewalk.deferred"
local records = require "ropewalk.spec.records"

local ipairs, pcall, require, tostring = ipairs, pcall, require, tostring
local concat, move, sort = table.concat, table.move, table.sort
local find, format, gsub, match = string.find, string.format, string.gsub, string.match
local io, os = io, os

local _ENV <const> = nil

local jobs = {}

local SELF <const> = "/proc/self/exe"
local MAX_TIME <const> = 3600       -- seconds for a file; each test has a time of its own
local MAX_OUTPUT <const> = 1 << 26
local USAGE <const> = 2             -- the status of a process that does not like its options

-- Files ---------------------------------------------------------------------

local function pattern_of(rest)
  local pattern = "_spec"
  for i, word in ipairs(rest) do
    if word == "-p" or word == "--pattern" then pattern = rest[i + 1] end
    pattern = match(word, "^%-%-pattern=(.*)$") or pattern
  end
  return pattern
end

local function is_directory(path)
  local file = io.open(path .. "/.")
  if file then file:close() end
  return file ~= nil
end

-- Every file below, but not in hidden directories.
local function list_directory(path, into, pattern)
  local quoted = "'" .. gsub(path, "'", "'\\''") .. "'"
  local listing <close> = io.popen("find " .. quoted .. " -name '.?*' -prune -o -type f -print")
  local found = {}
  for file in listing:lines() do
    if find(match(file, "[^/]*$"), pattern) then found[#found + 1] = file end
  end
  sort(found)
  return move(found, 1, #found, #into + 1, into)
end

---The spec files below these paths, in the order in which busted runs them.
---@param paths string[]
---@param rest string[] busted's options
---@return string[]
function jobs.files(paths, rest)
  local files, pattern = {}, pattern_of(rest)
  for _, path in ipairs(paths) do
    if is_directory(path) then list_directory(path, files, pattern)
    else files[#files + 1] = path end
  end
  return files
end

local function read_file(path)
  local file <close> = io.open(path)
  return file and file:read "a" or ""
end

-- Those with the tag #alone somewhere, say because they tell how long a thing
-- takes, would be disturbed by others and disturb them.
local function split_alone(files)
  local together, alone = {}, {}
  for _, file in ipairs(files) do
    local list = find(read_file(file), "#alone", 1, true) and alone or together
    list[#list + 1] = file
  end
  return together, alone
end

-- One file ------------------------------------------------------------------

local function arguments_for(wanted, file, coverage_file)
  local list = { "test", "--output=records", format("--timeout=%.3f", wanted.timeout) }
  if wanted.leftovers then list[#list + 1] = "--allow-leftovers" end
  if wanted.errors then list[#list + 1] = "--allow-errors" end
  if wanted.log then list[#list + 1] = "--log=" .. wanted.log end
  if coverage_file then list[#list + 1] = "--coverage-file=" .. coverage_file end
  move(wanted.rest, 1, #wanted.rest, #list + 1, list)
  list[#list + 1] = file
  return list
end

-- What it printed goes on, but for the records; returns those, how many are of
-- failures, and the one that says that these are all.
local function read_output(output)
  local rest, list, failed, ending = {}, {}, 0, nil
  for line in (output .. "\n"):gmatch "([^\n]*)\n" do
    local record = records.from_line(line)
    if record and record.count then
      ending = record
    elseif record then
      list[#list + 1] = record
      if record.status == "failed" then failed = failed + 1 end
    elseif line ~= "" then
      rest[#rest + 1] = line
    end
  end
  if #rest > 0 then io.stdout:write("\n", concat(rest, "\n"), "\n") end
  return list, failed, ending
end

-- What is wrong with the process itself, beyond the tests that it told of. A
-- file without tests ends with status 1, too, which is no failure among others.
local function trouble(ok, result, total, failed, ending)
  if not ok then return result.message end
  if result.signal then return "it ended by the signal " .. tostring(result.signal) end
  if result.status > 1 or (result.status == 1 and total > 0 and failed == 0) then
    return format("it ended with status %d", result.status)
  end
  if not ending then return format("it ended with status %d before its tests did", result.status) end
  if ending.count ~= total then
    return format("it ran %d tests, but the results of %d have come", ending.count, total)
  end
  if ending.status ~= 0 and failed == 0 then return "its tests could not be run" end
  return nil
end

-- It will run again; what it said now is shown, but does not count.
local function show_disturbed(file, list)
  io.stdout:write(format("\nfailed beside others, and will run again by itself: %s\n", file))
  for _, record in ipairs(list) do
    if record.status == "failed" then
      io.stdout:write(format("  %s: %s\n    %s\n", record.line or "-", record.name,
        (gsub(record.message or "?", "\n", "\n    "))))
    end
  end
end

-- They all have the same options: what is wrong with those is said once. Returns
-- false if it failed and shall run again.
local function run_file(wanted, file, report, covered, last_time)
  local coverage_file = wanted.coverage and os.tmpname()
  local process = require "ropewalk".run_process(SELF,
    arguments_for(wanted, file, coverage_file), { max_output = MAX_OUTPUT, timeout = MAX_TIME })
  local ok, result = pcall(process.await, process)
  if report.totals.status == USAGE then return true end
  local list, failed, ending = read_output(result.stdout or "")
  io.stderr:write(result.stderr or "")
  if result.status == USAGE and #list == 0 then
    report.totals.status = USAGE
    return true
  end
  local message = trouble(ok, result, #list, failed, ending)
  if message then
    failed = failed + 1
    list[#list + 1] = records.outside(file, "(the process)", message)
  end
  if coverage_file then
    coverage.merge(covered, coverage_file)
    os.remove(coverage_file)
  end
  if failed > 0 and wanted.again and not last_time then
    show_disturbed(file, list)
    return false
  end
  for _, record in ipairs(list) do report:record(record) end
  return true
end

-- All -----------------------------------------------------------------------

local function processors()
  local count = 0
  local file = io.open "/proc/cpuinfo"
  if not file then return 1 end
  for line in file:lines() do
    if find(line, "^processor%s*:") then count = count + 1 end
  end
  file:close()
  return count > 0 and count or 1
end

---@param wanted ropewalk.spec.Options
---@param report table
function jobs.run(wanted, report)
  local covered, again = {}, {}
  local function run_files(files, count, last_time)
    local next_file, workers = 0, {}
    local function work()
      while next_file < #files and report.totals.status ~= USAGE do
        next_file = next_file + 1
        local file = files[next_file]
        if not run_file(wanted, file, report, covered, last_time) then again[#again + 1] = file end
      end
    end
    for i = 1, count do workers[i] = async.spawn(work) end
    Deferred.gather(workers):await()
  end
  local together, alone = split_alone(jobs.files(wanted.paths, wanted.rest))
  run_files(together, wanted.jobs > 0 and wanted.jobs or processors())
  run_files(alone, 1, true)
  run_files(again, 1, true)
  if wanted.coverage then return coverage.report(wanted.coverage, covered, wanted.xml) end
  return true
end

return jobs
