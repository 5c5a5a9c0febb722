-- SPDX-License-Identifier: MIT
--- Calls every public function with arguments of every type, and judges what
--- comes: it is taken, or refused by an error that stands at the caller's line
--- and says what was wrong. An error from the inside of the library ("attempt to
--- index a nil value") is a finding.
---
---     local findings, calls = sweep.run { pause = function() rw.sleep(0):await() end }

local core = require "ropewalk.core"
local public = require "spec.support.public"
local rw = require "ropewalk"

local sweep = {}

local HERE <const> = "spec/support/%l+%.lua:%d+: "

local function values()
  local circle = {}
  circle.circle = circle
  return {
    { "nil" }, { "false", false }, { "1", 1 }, { "-1.5", -1.5 }, { "nan", 0 / 0 }, { "2^62", 1 << 62 },
    { '""', "" }, { '"x"', "x" }, { "{}", {} }, { "{circle}", circle }, { "{1,2}", { 1, 2 } },
    { "function", function() end }, { "thread", coroutine.create(function() end) }, { "userdata", io.stderr },
    { "Deferred", rw.Deferred() },
  }
end

local MANY <const> = 20

-- Lists of names and arguments: each value alone, all pairs (unless it is to be
-- brief), the same one often.
local function each_call(brief, run)
  local all = values()
  run("", 0)
  for _, a in ipairs(all) do
    run(a[1], 1, a[2])
    for _, b in ipairs(brief and {} or all) do run(a[1] .. ", " .. b[1], 2, a[2], b[2]) end
    run(a[1] .. " thrice", 3, a[2], a[2], a[2])
    local many = {}
    for i = 1, MANY do many[i] = a[2] end
    run(a[1] .. " often", MANY, table.unpack(many, 1, MANY))
  end
end

-- Why an error is not one that a caller can make sense of; nil: it is.
local function judge(why)
  if type(why) ~= "string" then -- a Failure, or what a caller's value raised
    local failure = type(why) == "userdata" and rw.Failure.is_failure(why) and why
    if not failure then return nil end
    why = tostring(failure.message)
    return why:find "attempt to" and "a failure: " .. why
  end
  if why:find "attempt to" or why:find "stack overflow" then return why end
  if not why:find(HERE) then return "not at the caller's line: " .. why end
  if why:find(HERE .. "$") then return "says nothing: " .. why end
  return nil
end

local function judge_result(result)
  if not rw.testing.is_deferred(result) then return nil end
  local ok, value = result:peek()
  if ok == false then
    result:add_errback(function() end)
    return judge(value)
  end
  result:add_errback(function() end)
  return nil
end

-- In a task of its own where there are tasks, for it may wait for ever.
local function start(fn)
  if rw.generation and pcall(core.spawn, function() end) then core.spawn(fn) else fn() end
end

local function attempt(entry, count, ...)
  local ended, ok, result, self
  local arguments = { ... }
  start(function()
    local made
    made, self = pcall(entry.own)
    if not made then
      ended, ok, result = true, false, self
      return
    end
    ok, result = pcall(function()
      local first
      if self ~= nil then first = entry.fn(self, table.unpack(arguments, 1, count))
      else first = entry.fn(table.unpack(arguments, 1, count)) end
      return first
    end)
    ended = true
  end)
  if type(self) == "table" and entry.name ~= "stop" and self.stats and self.stop then self:stop() end
  if not ended then return nil end
  if ok then return judge_result(result) end
  return judge(result)
end

-- Names are asked of nobody but ourselves, whatever rw.names.configure was told.
local function stay_at_home() pcall(rw.names.configure, { servers = "127.0.0.1:9" }) end

--- Runs it: what is wrong as lines, and how many calls there were.
---@param options? { pause: function, only: string, brief: boolean } pause: called after the
---turn of each function; only: a pattern for the paths; brief: without pairs of values
---@return string[] findings
---@return integer calls
function sweep.run(options)
  local pause, only, brief = options.pause, options.only, options.brief
  local findings, calls = {}, 0
  for _, entry in ipairs(public.functions()) do
    local told = {}
    stay_at_home()
    if not only or entry.path:find(only) then
      each_call(brief, function(what, count, ...)
        calls = calls + 1
        local why = attempt(entry, count, ...)
        local kind = why and why:gsub("%d+", "N")
        if why and not told[kind] then
          told[kind] = true
          findings[#findings + 1] = ("%s(%s): %s"):format(entry.path, what, why)
        end
      end)
      if pause then pause(entry) end
    end
  end
  return findings, calls
end

return sweep
