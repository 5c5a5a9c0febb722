-- SPDX-License-Identifier: MIT
-- Deferreds, await and delayed calls without a socket; the figures go to
-- standard output, as JSON. twisted_library.py does the same.
--
--   ropewalk run spec/bench/peers/library.lua --set timers=1000000

local rw = require "ropewalk"

local clock, format = os.clock, string.format
local TIMERS <const> = tonumber(rw.config.timers or 1000000)
local CHAINS <const> = tonumber(rw.config.chains or 200000)
local KEPT <const> = 200000

local function callback(result) return result end
local function errback(failure) return failure end
local function fails() error "no" end
local function mends() return 1 end
local function nothing() end

local results = {}

-- Processor time of one call of fn, in µs.
local function measure(name, n, fn)
  collectgarbage()
  local began = clock()
  fn(n)
  results[name] = (clock() - began) / n * 1e6
end

local function resident()
  local file <close> = io.open "/proc/self/statm"
  return tonumber(file:read "a":match "^%d+ (%d+)") * 4096
end

-- Resident bytes of what fn(i) gives.
local function weigh(name, fn)
  local list = {}
  for i = 1, KEPT do list[i] = false end
  collectgarbage()
  local before = resident()
  for i = 1, KEPT do list[i] = fn(i) end
  results[name] = (resident() - before) / KEPT
  return list
end

local function chains()
  measure("chain of 10 add_callbacks", CHAINS, function(n)
    for _ = 1, n do
      local d = rw.Deferred()
      for _ = 1, 10 do d:add_callbacks(callback, errback) end
      d:callback(1)
    end
  end)
  measure("chain of 5 add_callback and 5 add_errback", CHAINS, function(n)
    for _ = 1, n do
      local d = rw.Deferred()
      for _ = 1, 5 do d:add_callback(callback):add_errback(errback) end
      d:callback(1)
    end
  end)
  measure("chain of 5 callbacks that fail, 5 errbacks that mend it", CHAINS // 4, function(n)
    for _ = 1, n do
      local d = rw.Deferred()
      for _ = 1, 5 do d:add_callback(fails):add_errback(mends) end
      d:callback(1)
    end
  end)
  measure("one callback", CHAINS, function(n)
    for _ = 1, n do
      local d = rw.Deferred()
      d:add_callback(callback)
      d:callback(1)
    end
  end)
end

local function awaits()
  local fired = rw.succeed(1)
  measure("await of a fired Deferred", CHAINS, function(n)
    for _ = 1, n do fired:await() end
  end)
  measure("await of a pending one, in a task of its own", CHAINS // 4, function(n)
    for _ = 1, n do
      local d = rw.Deferred()
      local task = rw.spawn(function() return d:await() end)
      d:callback(1)
      task:await()
    end
  end)
end

local function timers()
  local list = {}
  for i = 1, TIMERS do list[i] = false end
  measure("delayed call: insert", TIMERS, function(n)
    for i = 1, n do list[i] = rw.call_later(1000 + i % 1000, nothing) end
  end)
  measure("delayed call: cancel", TIMERS, function(n)
    for i = 1, n do list[i]:cancel() end
  end)
  list = nil -- luacheck: ignore 311
  collectgarbage()
  local left, began, all = TIMERS, nil, rw.Deferred()
  local function fire()
    began = began or clock()
    left = left - 1
    if left == 0 then all:callback() end
  end
  for _ = 1, TIMERS do rw.call_later(0.001, fire) end
  all:await()
  results["delayed call: fire"] = (clock() - began) / TIMERS * 1e6
end

return rw.run(function()
  local _ = weigh("bytes of a pending Deferred with one callback",
    function() return rw.Deferred():add_callback(callback) end)
  local calls = weigh("bytes of a delayed call",
    function() return rw.call_later(1000, nothing) end)
  for _, call in ipairs(calls) do call:cancel() end
  _, calls = nil, nil -- luacheck: ignore 311
  chains()
  awaits()
  timers()
  local parts = {}
  for name, value in pairs(results) do parts[#parts + 1] = format("%q: %.4f", name, value) end
  io.stdout:write("{", table.concat(parts, ", "), "}\n")
end)
