-- SPDX-License-Identifier: MIT
-- A network that is bad on purpose: forwards a port, but late, in small pieces, slowly, and
-- not always to the end. For testing clients and servers against what networks do.
--
--     ropewalk run apps/faulty.lua --set to=tcp:127.0.0.1:8080 --set split=1 --set delay=0.01
--
--     listen=ENDPOINT   tcp:127.0.0.1:7004
--     to=ENDPOINT       where to forward to
--     split=N           in pieces of 1 to N bytes
--     delay=S           each piece waits for up to S seconds
--     rate=N            bytes per second and connection, each way
--     fault=LIST        what becomes of a connection: reset, cut, stall; one of those named
--     odds=P            of how many: 0 none, 1 all (1)
--     after=N           when so many bytes have passed, both ways together, at most (10000)
--     seed=N            other random numbers; the same seed, the same faults, connection by
--                       connection (1)

local rw = require "ropewalk"

local config = rw.config
local to = config.to or error("--set to=ENDPOINT is missing: where to forward to", 0)

local function number(name, default)
  local value = tonumber(config[name] or default)
  return value or error(("--set %s=%s: a number is expected"):format(name, config[name]), 0)
end

local split, delay, odds = number("split", 0), number("delay", 0), number("odds", 1)
local after, seed, rate = number("after", 10000), number("seed", 1), number("rate", 0)

local faults = {}
for name in (config.fault or ""):gmatch "[^,]+" do
  if not ({ reset = true, cut = true, stall = true })[name] then
    error(("--set fault=%s: reset, cut or stall"):format(name), 0)
  end
  faults[#faults + 1] = name
end

-- A sequence of its own for each connection: what the others do has no part in it.
local function random_from(state)
  return function()
    state = state * 6364136223846793005 + 1442695040888963407
    return ((state ~ state >> 29) * 0x2545F4914F6CDD1D >> 11) / (1 << 53)
  end
end

local connections = 0

-- What will happen to one connection, both ways together.
local function plan_next()
  connections = connections + 1
  local random = random_from(seed << 32 ~ connections)
  random()
  local plan = { random = random, left = math.huge, number = connections }
  if #faults > 0 and random() < odds then
    plan.fault = faults[1 + random() * #faults // 1]
    plan.left = 1 + random() * after // 1
  end
  return plan
end

local Side = rw.Protocol:extend "Side"

-- The fault has come. A side that stalls is never heard of again, but stays open.
function Side:break_off()
  local fault = self.plan.fault
  rw.log.info("{fault} of connection {number}", { fault = fault, number = self.plan.number })
  if fault == "stall" then
    self.plan.stalled = true
  elseif fault == "reset" then
    self.transport:abort_connection()
    self.other.transport:abort_connection()
  else
    self.transport:lose_connection()
    self.other.transport:lose_connection()
  end
end

-- While this waits nothing more is read: a slow network, not a large one.
function Side:data_received(bytes)
  local plan, other, at = self.plan, self.other.transport, 1
  while at <= #bytes do
    if delay > 0 then rw.sleep(plan.random() * delay):await()
    elseif split > 0 then rw.sleep(0):await() end
    if plan.left == 0 then return end -- meanwhile, the other way
    local size = split > 0 and 1 + plan.random() * split // 1 or #bytes
    size = math.tointeger(math.min(size, #bytes - at + 1, plan.left))
    plan.left = plan.left - size
    local room = other:write(bytes:sub(at, at + size - 1))
    if plan.left == 0 then return self:break_off() end
    if not room and not other:drained() then return end
    at = at + size
  end
end

function Side:read_connection_lost()
  if not self.plan.stalled then self.other.transport:lose_write() end
end

function Side:connection_lost(reason)
  local other = self.other and self.other.transport
  if not other then return end
  if reason.clean then other:lose_connection() else other:abort_connection() end
end

local Incoming = Side:extend "Incoming"
local outgoing = rw.Factory:for_protocol(Side)

function Incoming:connection_made()
  self.plan = plan_next()
  local other = rw.connect(to, outgoing):await()
  other.plan, other.other, self.other = self.plan, self, other
end

local factory = rw.Factory:for_protocol(Incoming)
if rate > 0 then factory = rw.policy.throttle(factory, { read = rate, write = rate }) end

return rw.server(config.listen or "tcp:127.0.0.1:7004", factory)
