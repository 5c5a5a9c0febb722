-- SPDX-License-Identifier: MIT
-- `ropewalk test`: the system's busted reads the specs and knows their tree;
-- what a test's life is (it.lua) and what is told of it (report) are ours. C
-- calls run(arguments) in a task, so specs wait for Deferreds where they like.

local coverage = require "ropewalk.spec.coverage"
local errors = require "ropewalk.testing.errors"
local it = require "ropewalk.spec.it"
local jobs = require "ropewalk.spec.jobs"
local options = require "ropewalk.spec.options"
local records = require "ropewalk.spec.records"
local Report = require "ropewalk.spec.report"
local core = require "ropewalk.core"
local log = require "ropewalk.log"

local error, ipairs, os, package, require, tostring, type, xpcall =
  error, ipairs, os, package, require, tostring, type, xpcall
local concat, move, unpack = table.concat, table.move, table.unpack
local find, string_unpack = string.find, string.unpack
local debug, io, G = debug, io, _G

local _ENV <const> = nil

local spec = {}

local ROOTS <const> = { "/usr/local", "/usr" }

local function use_system_modules()
  local paths, cpaths = {}, {}
  for _, root in ipairs(ROOTS) do
    local share = root .. "/share/lua/5.4"
    paths[#paths + 1] = share .. "/?.lua;" .. share .. "/?/init.lua"
    cpaths[#cpaths + 1] = root .. "/lib/lua/5.4/?.so"
  end
  -- Debian's folders for C modules are named after the machine
  local listing <close> = io.popen "ls -d /usr/lib/*/lua/5.4 2>/dev/null"
  for folder in listing:lines() do cpaths[#cpaths + 1] = folder .. "/?.so" end
  package.path = package.path .. ";" .. concat(paths, ";")
  package.cpath = package.cpath .. ";" .. concat(cpaths, ";")
end

-- busted's core with our `it`, and our reports listening.
local function dress(busted, wanted, report)
  local register = busted.register
  function busted.register(descriptor, executor, attributes)
    if descriptor == "it" and type(executor) == "function" then
      executor = it.executor(busted, wanted)
    end
    return register(descriptor, executor, attributes)
  end
  records.subscribe(busted, function(record) report:record(record) end)
  busted.subscribe({ "suite", "start" }, function(_, _, _, seed)
    report.totals.seed, report.totals.began = seed, true
    return nil, true
  end)
  -- what a teardown logs is after the last test, which could have been failed by it
  busted.subscribe({ "file", "end" }, function(file)
    log._captures(0)
    local logged = errors.flush()
    if #logged > 0 and not wanted.errors then
      report:record(records.outside(file.name, "(after its tests)",
        "errors were logged:\n" .. concat(logged)))
    end
    return nil, true
  end)
  return busted
end

-- The first path that is not there.
local function missing(paths)
  for _, path in ipairs(paths) do
    local file, why = io.open(path)
    if not file then return why end
    file:close()
  end
  return nil
end

local DONE = {}

local function protected(arguments, wanted, report)
  use_system_modules()
  G.arg = arguments
  os.exit = function(status) -- luacheck: ignore
    if not find(debug.getinfo(2, "S").source, "/busted/", 1, true) then
      report.totals.status = 1
      error(("os.exit(%s) was called: a spec cannot end the process"):format(tostring(status)), 2)
    end
    if status == true or status == nil then status = 0 end
    report.totals.status = report.totals.began and status or 2 -- it has not liked its options
    error(DONE, 0)
  end
  local make = require "busted.core"
  package.loaded["busted.core"] = function() return dress(make(), wanted, report) end
  -- an output handler that says nothing: the reports have what they need
  package.preload["ropewalk.spec.silent"] = function()
    return function() return { subscribe = function() end } end
  end
  local function nested() -- busted asks who called, twice
    require "busted.runner" { standalone = false }
    return nil
  end
  nested()
end

-- The order by chance has a seed that can be shown, the same in all processes.
local function choose_seed(wanted, report)
  local text = concat(wanted.rest, " ")
  if not find(text, "--shuffle", 1, true) or find(text, "--seed", 1, true) then return end
  report.totals.seed = string_unpack("<I3", core.random(3))
  wanted.rest[#wanted.rest + 1] = "--seed=" .. report.totals.seed
end

-- What busted is told: its own options, the paths.
local function busted_arguments(wanted)
  local list = { [0] = "ropewalk test", "--output=ropewalk.spec.silent" }
  move(wanted.rest, 1, #wanted.rest, #list + 1, list)
  list[#list + 1] = "--"
  list = move(wanted.paths, 1, #wanted.paths, #list, list)
  return list
end

local function run_here(wanted, report)
  if wanted.coverage then coverage.start() end
  local ok, e = xpcall(protected, function(e)
    if e == DONE then return e end
    return debug.traceback(tostring(e), 2)
  end, busted_arguments(wanted), wanted, report)
  if not ok and e ~= DONE then
    io.stderr:write("ropewalk test: ", tostring(e), "\n")
    report.totals.status = 1
  end
  if not wanted.coverage then return true end
  return coverage.report(wanted.coverage, nil, wanted.quiet or wanted.xml)
end

---Runs the specs; returns the exit status.
---@param arguments string[]
---@return integer
function spec.run(arguments)
  local wanted, why = options.parse({ unpack(arguments) })
  local report
  if wanted then report, why = Report.new(wanted.reports) end
  if not report then
    io.stderr:write("ropewalk test: ", why, "\n")
    return 2
  end
  if wanted.log then core.test.show_log(wanted.log) end
  choose_seed(wanted, report)
  why = missing(wanted.paths)
  if not why then
    local _
    _, why = (wanted.jobs == 1 and run_here or jobs.run)(wanted, report)
  end
  if why then
    io.stderr:write("ropewalk test: ", why, "\n")
    report.totals.status = 1
  end
  local totals = report.totals
  why = report:finish()
  if why then
    io.stderr:write("ropewalk test: ", why, "\n")
    totals.status = 1
  end
  if not wanted.quiet then
    local out = wanted.xml and io.stderr or io.stdout
    out:write(("%d passed, %d failed, %d skipped\n"):format(
      totals.passed, totals.failed, totals.skipped))
    out:flush()
  end
  if totals.passed + totals.failed + totals.skipped == 0 then return totals.status or 1 end
  return (totals.failed > 0 or (totals.status or 0) ~= 0) and 1 or 0
end

return spec
