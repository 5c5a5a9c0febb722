-- SPDX-License-Identifier: MIT
-- ProcessProtocol: gets the hooks of one child process. Its transport is the
-- Process (process.lua).
--
--   connection_made ─▶ out_received, err_received, … ─▶ process_exited
--     child_connection_lost(fd) for each pipe          ─▶ process_ended
--
-- process_exited comes when the child was waited for, process_ended when all of
-- its pipes are closed as well: a grandchild that holds its output delays that.

local Object = require "ropewalk.class"

local _ENV <const> = nil

---@class ropewalk.ProcessProtocol
---@field transport ropewalk.Process
local ProcessProtocol = Object:extend "ProcessProtocol"

ProcessProtocol.transport = false

---Ties the protocol to its process. Called by rw.spawn_process.
---@param process ropewalk.Process
function ProcessProtocol:make_connection(process)
  self.transport = process
  return self:connection_made()
end

---The child runs: write to it.
function ProcessProtocol:connection_made() end

---Bytes of the child's standard output.
---
---    function Tail:out_received(bytes) self.room:tell(bytes) end
---@param bytes string
function ProcessProtocol:out_received(bytes) end

---Bytes of the child's standard error.
---@param bytes string
function ProcessProtocol:err_received(bytes) end

---Bytes of any descriptor; by default those of 1 and 2 go to the two above.
---@param fd integer the child's
---@param bytes string
function ProcessProtocol:child_data_received(fd, bytes)
  if fd == 1 then return self:out_received(bytes) end
  if fd == 2 then return self:err_received(bytes) end
end

---The child does not read its standard input any more, or we closed it.
---@param reason ropewalk.Failure
function ProcessProtocol:in_connection_lost(reason) end

---@param reason ropewalk.Failure
function ProcessProtocol:out_connection_lost(reason) end

---@param reason ropewalk.Failure
function ProcessProtocol:err_connection_lost(reason) end

---A pipe is closed; by default 0, 1 and 2 go to the three above.
---@param fd integer the child's
---@param reason ropewalk.Failure
function ProcessProtocol:child_connection_lost(fd, reason)
  if fd == 0 then return self:in_connection_lost(reason) end
  if fd == 1 then return self:out_connection_lost(reason) end
  if fd == 2 then return self:err_connection_lost(reason) end
end

---The child has ended; somebody may still hold its pipes.
---@param reason ropewalk.Failure "process_done", or "process_terminated" with status or signal
function ProcessProtocol:process_exited(reason) end

---The child has ended and all its pipes are closed: the last hook.
---
---    function Job:process_ended(reason)
---      if not reason.clean then rw.log.warn("job: {reason}", { reason = reason }) end
---    end
---@param reason ropewalk.Failure the one of process_exited
function ProcessProtocol:process_ended(reason) end

return ProcessProtocol
