-- SPDX-License-Identifier: MIT
-- Some clients of fixtures/ledger.lua, over a network that loses datagrams, doubles
-- them and lets them overtake each other: what they have added must be the total.

local rw = require "ropewalk"

local random, format = math.random, string.format

local ledger = { FAULTS = { loss = 0.2, duplicate = 0.1, delay = { 0, 0.3 } } }

local Client = rw.DatagramProtocol:extend "Client"

function Client:init() self.answers = {} end

function Client:datagram_received(bytes)
  local id, answer = bytes:match "^(%w+) (.*)$"
  self.answers[id] = answer
end

function Client:ask(id, what)
  for _ = 1, 100 do
    self.transport:write(format("%s %s", id, what))
    rw.sleep(0.2 + random() * 0.2):await()
    if self.answers[id] then return self.answers[id] end
  end
  error("no answer to " .. what)
end

local function connect()
  return rw.connect("udp:ledger.test:7400", rw.Factory:for_protocol(Client)):await()
end

local function busy(name, added)
  local client = connect()
  for i = 1, random(5) do
    local amount = random(100)
    assert(client:ask(name .. i, "add " .. amount) == "done")
    added[#added + 1] = amount
  end
  client.transport:lose_connection()
end

---The function for rw.testing.simulate.
---@param settings? table of the application
function ledger.day(settings)
  return function(sim)
    sim:names { ["ledger.test"] = "10.0.0.1" }
    sim:run_app("spec/sim/fixtures/ledger.lua", settings)
    local added, tasks = {}, {}
    for i = 1, random(3) do tasks[i] = rw.spawn(busy, "c" .. i, added) end
    if random() < 0.3 then
      rw.sleep(random()):await()
      sim:partition "ledger.test"
      rw.sleep(random() * 3):await()
      sim:heal "10.0.0.1"
      sim:heal "ledger.test"
    end
    for _, task in ipairs(tasks) do task:await() end
    local client, sum = connect(), 0
    for _, amount in ipairs(added) do sum = sum + amount end
    local total = tonumber(client:ask("end", "total"))
    client.transport:lose_connection()
    if total ~= sum then error(format("the ledger has %d, but %d were added", total, sum)) end
  end
end

return ledger
