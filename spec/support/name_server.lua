-- SPDX-License-Identifier: MIT
--- Name servers for specs (name_server.py), in processes of their own.
---
---     local server = name_server.start()
---     rw.names.servers { server.address }
---     server:stop()

local name_server = {}
local Server = {}
Server.__index = Server

local function read_all(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

--- Starts one; `options`: "--dead".
---@param options? string
---@return table server { port, address, pid }
function name_server.start(options)
  local path = os.tmpname()
  local pipe = io.popen(("exec 3>&1; python3 -S spec/support/name_server.py %s >%s 2>&1 3>&- "
    .. "</dev/null & echo $!"):format(options or "", path))
  local pid = pipe:read "n"
  pipe:close()
  for _ = 1, 200 do
    local port = read_all(path):match "^(%d+)\n"
    if port then
      return setmetatable({ pid = pid, port = port, path = path, address = "127.0.0.1:" .. port },
        Server)
    end
    os.execute "sleep 0.05"
  end
  error("the name server does not start:\n" .. read_all(path), 2)
end

function Server:stop()
  os.execute("kill " .. self.pid)
  os.remove(self.path)
end

return name_server
