-- SPDX-License-Identifier: MIT
-- Keeps a command running, and says on a port how it is. Its output goes to the
-- log, by line; when it ends it is started again, at the latest after an hour.
--
--     ropewalk run apps/supervise.lua --set command="ping localhost"
--     nc 127.0.0.1 7002

local rw = require "ropewalk"

local command = rw.config.command or "while :; do date; sleep 10; done"

local monitor = rw.ProcessMonitor()
monitor:add_process("command", "sh", { "-c", command })

local Status = rw.Protocol:extend "Status"
function Status:connection_made()
  for name, entry in pairs(monitor.entries) do
    local state = entry.process and "runs as " .. entry.process.pid or "waits"
    self.transport:write(("%s: %s\n"):format(name, state))
  end
  self.transport:lose_connection()
end

return {
  rw.server(rw.config.listen or "tcp:127.0.0.1:7002", rw.Factory:for_protocol(Status)),
  monitor,
}
