-- SPDX-License-Identifier: MIT
--- For the specs of child processes: a protocol that writes down what happens,
--- and looks into /proc.
---
---     local job = child.start("sh", { "-c", "echo hello" })
---     job:ended():await()
---     assert.equal("hello\n", job.text[1])

local rw = require "ropewalk"

local child = { eventually = require("spec.support.core").eventually }

local Recorder = rw.ProcessProtocol:extend "Recorder"
child.Recorder = Recorder

function Recorder:init()
  self.events, self.text, self.size, self.waiting = {}, { "", "" }, 0, {}
end

function Recorder:note(name, value)
  self.events[#self.events + 1] = name
  self[name] = value == nil or value
  for _, d in ipairs(self.waiting[name] or {}) do d:callback() end
  self.waiting[name] = nil
end

function Recorder:child_data_received(fd, bytes)
  self.size = self.size + #bytes
  if self.drop then return end
  self.text[fd] = (self.text[fd] or "") .. bytes
  rw.ProcessProtocol.child_data_received(self, fd, bytes)
end

function Recorder:child_connection_lost(fd, reason)
  self:note("lost_" .. fd, reason)
  rw.ProcessProtocol.child_connection_lost(self, fd, reason)
end

function Recorder:process_exited(reason) self:note("exited", reason) end
function Recorder:process_ended(reason) self:note("ended", reason) end

--- Waits for an event: "exited", "ended", "lost_0", …
function Recorder:wait(name)
  local d, waiting = rw.Deferred(), self.waiting[name] or {}
  self.waiting[name] = waiting
  table.insert(waiting, d)
  if self[name] then return self[name] end -- asked last: this task may be interrupted anywhere
  d:add_timeout(20):await()
  return self[name]
end

--- Waits until a text is in the output of a descriptor.
function Recorder:expect(text, fd)
  child.eventually(function() return (self.text[fd or 1] or ""):find(text, 1, true) end,
    function() return ("%q does not come; there is %q"):format(text, self.text[fd or 1]) end)
end

local started = {} -- since the last balance

--- Starts a child with a Recorder; raises when it cannot be started.
function child.start(executable, args, options, protocol)
  local recorder = protocol or Recorder()
  local process, failure = rw.spawn_process(recorder, executable, args, options)
  if not process then error(failure, 2) end
  recorder.process = process
  started[#started + 1] = process
  return recorder
end

--- A shell script as a child.
function child.shell(script, options, protocol)
  return child.start("sh", { "-c", script }, options, protocol)
end

local function lines(command)
  local pipe = io.popen(command)
  local list = {}
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

local function self_pid()
  local f = io.open "/proc/self/stat"
  local pid = f:read "n"
  f:close()
  return pid
end

--- Our open descriptors.
function child.descriptors() return #lines("ls /proc/" .. self_pid() .. "/fd") end

--- Our children that are there, or zombies; without the one that looks.
function child.children()
  local list = {}
  for _, line in ipairs(lines("ps -o pid=,stat=,args= --ppid " .. self_pid())) do
    if not line:find("ps -o pid=", 1, true) then list[#list + 1] = line end
  end
  return list
end

--- Is there a process of that number (a zombie is none)?
function child.alive(pid)
  local f = io.open("/proc/" .. pid .. "/stat")
  if not f then return false end
  local state = f:read "a":match "%) (%a)"
  f:close()
  return state ~= "Z"
end

--- Resident memory of this process, KiB.
function child.resident()
  local f = io.open "/proc/self/status"
  local text = f:read "a"
  f:close()
  return tonumber(text:match "VmRSS:%s*(%d+)")
end

--- After a spec no more is open and running than before. (Less may be: what the
--- one before had closed may still have been there.)
function child.balance()
  local descriptors = child.descriptors()
  started = {}
  return function()
    local now
    child.eventually(function()
      now = child.descriptors()
      return now <= descriptors and #child.children() == 0
    end, function()
      for _, process in ipairs(started) do process:kill_group() end -- the next one is innocent
      return ("%d descriptors were %d; children: %s"):format(now, descriptors,
        table.concat(child.children(), "; "))
    end, 5)
  end
end

return child
