-- SPDX-License-Identifier: MIT
-- The class of Deferreds, as C runs it (src/bind/chain.c), and the report of
-- failures that nobody took. Private to ropewalk.deferred and its parts.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local error, next, pcall, require, setmetatable, tostring =
  error, next, pcall, require, setmetatable, tostring
local getinfo = debug.getinfo
local format = string.format
local preempted, turn_end = core.preempted, core.turn_end

local _ENV <const> = nil

local Deferred = { __name = "Deferred" }
Deferred.__index = Deferred

local chain = { Deferred = Deferred }

---Called with each failure that nobody handled: (failure, began, created).
---The log module puts its own function here.
Deferred.report = false

-- Said about some Deferreds, which need not be said about all.
local KEYS <const> = { __mode = "k" }
local origins = setmetatable({}, KEYS) -- where the chain began, when no callback tells
local created = setmetatable({}, KEYS) -- tracebacks of their making
chain.origins, chain.created = origins, created

-- The first callback's definition, or what was said: "file:line".
local function began(d)
  local origin = origins[d] or chain.first(d)
  if not origin then return nil end
  local info = getinfo(origin, "S")
  return format("%s:%d", info.short_src, info.linedefined)
end
chain.began = began

local REPORTS_PER_TURN <const> = 100
local SWEEP_AT <const> = 1000

local suspects, suspect_count, sweep_at = {}, 0, SWEEP_AT

local function keep(d)
  suspect_count = suspect_count + 1
  suspects[suspect_count] = d
end

---Reports what is unhandled now; so many at most, the others stay.
---@param most? integer
function chain.flush(most)
  local list, count, reports = suspects, suspect_count, 0
  suspects, suspect_count, sweep_at = {}, 0, SWEEP_AT
  for i = 1, count do
    local d = list[i]
    if reports == most then
      keep(d)
    else
      local failure = chain.unhandled(d)
      if failure then
        reports = reports + 1
        if not Deferred.report then require "ropewalk.log" end
        local told, why = pcall(Deferred.report, failure, began(d), created[d])
        if not told then -- its text may raise; the others are told all the same
          core.log("error", "deferred", "an unhandled failure cannot be told: " .. tostring(why))
        end
      end
    end
  end
end

local asked = false -- for the end of this turn

local function ask(turn_ended)
  if asked then return end
  turn_end(turn_ended)
  asked = true
end

-- Who was interrupted may be about to handle it.
local function turn_ended()
  asked = false
  if not preempted() then chain.flush(REPORTS_PER_TURN) end
  if suspect_count > 0 then ask(turn_ended) end
end

-- Forgets those that were handled meanwhile: a turn can be long.
local function sweep()
  local list, count = suspects, suspect_count
  suspects, suspect_count = {}, 0
  for i = 1, count do
    if not chain.cleared(list[i]) then keep(list[i]) end
  end
  sweep_at = SWEEP_AT + 2 * suspect_count
end

local function suspect(d)
  keep(d)
  ask(turn_ended)
  if suspect_count >= sweep_at then sweep() end
end

local function late()
  error(Failure.new("already_called", "the Deferred has fired already"):at(3), 0)
end

local NO_MEMORY <const> = Failure.new("memory", "not enough memory")
chain.NO_MEMORY = NO_MEMORY -- when there is none to make another

for name, fn in next, core.deferred(Deferred, Failure, Failure.caught, late, suspect, NO_MEMORY) do
  chain[name] = fn
end

return chain
