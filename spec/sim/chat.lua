-- SPDX-License-Identifier: MIT
-- A day in a chat room: members come, talk, and go in every way there is, over a
-- network that cuts, delays and resets. Whoever stays must have got each line of
-- the others who stayed once, all in one order, and nobody who went may still
-- be in the room. `chat.day(path)` is the function for rw.testing.simulate.

local rw = require "ropewalk"

local random, format = math.random, string.format

local AT <const> = "tcp:127.0.0.1:7001"

local Member = rw.LineProtocol:extend "Member"

function Member:connection_made()
  self.heard, self.lost, self.said, self.joined = {}, false, 0, false
end

function Member:line_received(line)
  if line:find "^Hello " then self.joined = true end
  local who, number = line:match "^(%w+): line (%d+)$"
  if who then self.heard[#self.heard + 1] = who .. number end
  if line:find "^here: " then self.here = line:sub(7) end
end

function Member:connection_lost() self.lost = true end

local function come(sim, name)
  for _ = 1, 20 do
    local ok, member = pcall(function()
      return rw.connect(AT, rw.Factory:for_protocol(Member)):await()
    end)
    if ok then
      member.name = name
      member:send_line(name)
      sim:run_until(function() return member.joined or member.lost end)
      return member
    end
  end
  error "the server cannot be reached"
end

local function say(member)
  member.said = member.said + 1
  member:send_line("line " .. member.said)
end

local LEAVE = {
  function(member) member:send_line "/quit" end,
  function(member) member.transport:lose_connection() end,
  function(member) member.transport:abort_connection() end,
  function(member) member.transport:lose_write() end,
}

-- What one has heard of those who stayed, as text that has to be there.
local function check_complete(member, others)
  local count = {}
  for _, line in ipairs(member.heard) do count[line] = (count[line] or 0) + 1 end
  for _, other in ipairs(others) do
    for number = 1, other ~= member and other.said or 0 do
      local times = count[other.name .. number] or 0
      assert(times == 1, format("%s heard line %d of %s %d times", member.name, number,
        other.name, times))
    end
  end
end

-- What both have heard, they have heard in one order.
local function check_order(a, b)
  local at = {}
  for i, line in ipairs(b.heard) do at[line] = i end
  local last = 0
  for _, line in ipairs(a.heard) do
    if at[line] then
      assert(at[line] > last, format("%s and %s heard %s in another order", a.name, b.name, line))
      last = at[line]
    end
  end
end

local function alive(members)
  local list = {}
  for _, member in ipairs(members) do
    if not member.lost and not member.leaving then list[#list + 1] = member end
  end
  return list
end

local chat = {
  FAULTS = { reset = 0.01, refuse = 0.02, stall = 0.02, delay = { 0, 0.05 } },
}

---@param path string of the room's script
---@param reloads? boolean the room's code is exchanged in the middle of it
function chat.day(path, reloads)
  return function(sim)
    local app = sim:run_app(path)
    local members, count = {}, random(2, 5)
    for i = 1, count do members[i] = come(sim, "m" .. i) end
    members = alive(members)

    for _ = 1, random(4, 12) do
      local member = members[random(#members + 1)]
      if member and not member.lost and not member.leaving then
        if random() < 0.15 then
          member.leaving = true
          LEAVE[random(#LEAVE)](member)
        else
          say(member)
        end
      end
      if reloads and random() < 0.3 then assert(app:reload()) end
      if random() < 0.5 then rw.sleep(random() * 0.05):await() end
    end

    -- the bad times are over; who is still there must have it all
    sim:set_faults(false)
    sim:settle()
    local stayed = alive(members)
    for i, a in ipairs(stayed) do
      check_complete(a, stayed)
      for j = i + 1, #stayed do check_order(a, stayed[j]) end
    end
    local watcher = come(sim, "watcher")
    watcher:send_line "/who"
    sim:run_until(function() return watcher.here end, 5)
    local names = { "watcher" }
    for _, member in ipairs(stayed) do names[#names + 1] = member.name end
    table.sort(names)
    local expected = table.concat(names, ", ")
    assert(watcher.here == expected, format("here are %s, not %s", expected, watcher.here))

    watcher.transport:lose_connection()
    for _, member in ipairs(members) do member.transport:lose_connection() end
  end
end

return chat
