-- SPDX-License-Identifier: MIT
-- A chat room for people with netcat. Edit this file while they talk: with
-- --watch, or after SIGHUP, everybody stays connected and the next line is
-- handled by the new code.
--
--     ropewalk run apps/chat.lua --watch
--     nc 127.0.0.1 7001

local rw = require "ropewalk"

local Room = rw.Factory:extend "Room"
Room.reload_policy = "migrate"

function Room:init() self.users = {} end

function Room:join(user) self.users[user.name] = user end

function Room:leave(user)
  if self.users[user.name] == user then self.users[user.name] = nil end
end

function Room:tell(text, except)
  for _, user in pairs(self.users) do
    if user ~= except then user:send_line(text) end
  end
end

local User = rw.LineProtocol:extend "User"

function User:connection_made()
  self:send_line "Welcome. What is your name?"
end

function User:connection_lost()
  if not self.name then return end
  self.factory:leave(self)
  self.factory:tell(self.name .. " has left")
end

function User:line_received(line)
  if not self.name then return self:introduce(line) end
  local command, rest = line:match "^/(%a+)%s*(.*)"
  if not command then
    self.factory:tell(self.name .. ": " .. line, self)
  elseif self.commands[command] then
    self.commands[command](self, rest)
  else
    self:send_line("no such command: /" .. command .. " (try /help)")
  end
end

function User:introduce(line)
  local name = line:match "^%s*([%w_-]+)%s*$"
  if not name or #name > 20 then
    return self:send_line "Letters, digits, - and _, at most 20 please. Your name?"
  end
  if self.factory.users[name] then return self:send_line "That name is taken. Your name?" end
  self.name = name
  self.factory:tell(name .. " has come")
  self.factory:join(self)
  self:send_line("Hello " .. name .. ". Type to talk, /help for more.")
end

User.commands = {}

function User.commands:help()
  self:send_line "/who  who is here;  /me does something;  /quit"
end

function User.commands:who()
  local names = {}
  for name in pairs(self.factory.users) do names[#names + 1] = name end
  table.sort(names)
  self:send_line("here: " .. table.concat(names, ", "))
end

function User.commands:me(what)
  self.factory:tell("* " .. self.name .. " " .. what)
end

function User.commands:quit()
  self:send_line "Bye."
  self.transport:lose_connection()
end

-- What goes over to the next version of this file, and how it comes back.
function User:save() return { name = self.name } end

function User:restored(data)
  self.name = data.name
  if self.name then self.factory:join(self) end
end

return rw.server(rw.config.listen or "tcp:127.0.0.1:7001", Room:for_protocol(User))
