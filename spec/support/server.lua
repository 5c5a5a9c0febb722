-- SPDX-License-Identifier: MIT
--- Starts `ropewalk run` as a child for a spec, and asks it with curl.
---
---     local server = require "spec.support.server"
---     local hello = server.start("apps/hello.lua")
---     assert.equal("Hello from Ropewalk\n", hello:get("/").body)
---     hello:stop()
---
--- A started server: `port`, `pid`, `url`, `log()` (all it has written),
--- `wait_log(text)`, `get(path, …)`, `head(path, …)`, `signal(name)`, `alive()`,
--- `resident()`, `descriptors()`, `stop([signal])` → exit status.

local server = {}
local Server = {}
Server.__index = Server

local PATIENCE <const> = 10 -- seconds for starting and for stopping

local function quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end

local function sleep(seconds) os.execute("sleep " .. seconds) end

local function read_all(path)
  local f = io.open(path, "rb")
  if not f then return "" end
  local text = f:read "a"
  f:close()
  return text
end

--- The binary that runs this spec, or build/ropewalk.
local function find_binary()
  local given = os.getenv "ROPEWALK"
  if given then return given end
  local pipe = io.popen "readlink /proc/$PPID/exe"
  local path = pipe:read "l"
  pipe:close()
  if path and path:find "ropewalk$" then return path end
  return "build/ropewalk"
end
server.binary = find_binary()

--- Is memory kept back on purpose (a sanitizer's quarantine)?
server.sanitized = server.binary:find "san/" ~= nil

--- Runs curl with these arguments (strings): its output and exit status.
---@param ... string
---@return string output
---@return integer status
function server.curl(...)
  local words = { "curl", "-sS", "--max-time", "20" }
  for _, word in ipairs { ... } do words[#words + 1] = quote(word) end
  local pipe = io.popen(table.concat(words, " ") .. " 2>&1")
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

--- Curl's -i output → {status, headers (names in lower case, first value), all
--- (lists of values), body}. Interim responses (1xx) are skipped.
local function parse(text)
  -- what curl says of errors may come first
  local head, body = text:match "(HTTP/%d.-)\r\n\r\n(.*)$"
  while head and head:find "^HTTP/%S+ 1%d%d" do
    head, body = body:match "^(HTTP/.-)\r\n\r\n(.*)$"
  end
  if not head then return { output = text, headers = {}, all = {}, body = "" } end
  local response = { headers = {}, all = {}, body = body, output = text }
  response.status = math.tointeger(tonumber(head:match "^HTTP/%S+ (%d+)"))
  for name, value in head:gmatch "\r\n([^:\r\n]+):[ ]?([^\r\n]*)" do
    name = name:lower()
    response.headers[name] = response.headers[name] or value
    response.all[name] = response.all[name] or {}
    table.insert(response.all[name], value)
  end
  return response
end

--- A request with curl: `path`, then more arguments of curl's.
---
---     hello:get("/", "-X", "POST", "-d", "x=1").status
---@param path string
---@param ... string
---@return table {status, headers, all, body}
function Server:get(path, ...)
  local words = { "-i", "--path-as-is", ... }
  words[#words + 1] = self.url .. path
  local output, status = server.curl(table.unpack(words))
  local response = parse(output)
  response.curl = status
  return response
end

--- A HEAD request.
function Server:head(path, ...) return self:get(path, "--head", ...) end

--- Resident memory in KiB.
function Server:resident()
  return tonumber(read_all("/proc/" .. self.pid .. "/status"):match "VmRSS:%s*(%d+)")
end

--- Open descriptors.
function Server:descriptors()
  local pipe = io.popen("ls /proc/" .. self.pid .. "/fd | wc -l")
  local n = tonumber(pipe:read "a")
  pipe:close()
  return n
end

--- All that it has written.
function Server:log() return read_all(self.log_path) end

--- Is the process there?
function Server:alive()
  return not read_all(self.status_path):find "\n"
end

--- Waits until fn() is true: its value, or nil when patience is over.
---@param fn function
---@param seconds? number
function server.wait(fn, seconds)
  for _ = 1, (seconds or PATIENCE) / 0.02 do
    local value = fn()
    if value then return value end
    sleep(0.02)
  end
  return fn()
end

--- Waits for a line in the log (a plain text).
function Server:wait_log(text, seconds)
  return server.wait(function() return self:log():find(text, 1, true) end, seconds)
end

function Server:signal(name)
  os.execute(("kill -%s %d 2>/dev/null"):format(name, self.pid))
end

--- Ends the server: its exit status, 128 + n when signal n ended it.
---@param signal? string "TERM"
---@return integer status
function Server:stop(signal)
  if self:alive() then self:signal(signal or "TERM") end
  if not server.wait(function() return not self:alive() end) then
    self:signal "KILL"
    server.wait(function() return not self:alive() end)
  end
  return math.tointeger(tonumber(read_all(self.status_path)))
end

--- A server that a failed spec has left behind.
function Server:__gc()
  if self:alive() then self:stop "KILL" end
  os.remove(self.log_path)
  os.remove(self.status_path)
  if self.script then os.remove(self.script) end
end
Server.__close = Server.__gc

--- Starts an application (a path, or Lua text with a line break in it).
--- Options: `set` ({listen = …, …}), `args` (list), `wait` (false: do not wait
--- for the listener). Raises with the log when it does not come up.
---@param app string
---@param options? table
---@return table server
function server.start(app, options)
  options = options or {}
  local script
  if app:find "\n" then
    script = os.tmpname()
    local f = assert(io.open(script, "wb"))
    f:write(app)
    f:close()
    app = script
  end
  local self = setmetatable({ log_path = os.tmpname(), status_path = os.tmpname(), script = script }, Server)
  local words = { quote(server.binary), "run", quote(app) }
  local set = { listen = "tcp:127.0.0.1:0" }
  for key, value in pairs(options.set or {}) do set[key] = value end
  for key, value in pairs(set) do
    words[#words + 1] = "--set " .. quote(key .. "=" .. value)
  end
  for _, word in ipairs(options.args or {}) do words[#words + 1] = quote(word) end
  -- a shell of its own waits for it, so that we never have to
  local pipe = assert(io.popen(("( %s 3>&- & echo $! >&3; wait $!; echo $? >%s ) 3>&1 >%s 2>&1 </dev/null &")
    :format(table.concat(words, " "), quote(self.status_path), quote(self.log_path))))
  self.pid = tonumber(pipe:read "l")
  pipe:close()
  if options.wait == false then return self end
  local up = server.wait(function()
    self.port = self:log():match "listening[^\n]* endpoint=t[cl][ps]:[^ \n]-:(%d+)"
    return self.port or not self:alive()
  end)
  if not up or not self.port then
    local log = self:log()
    self:stop "KILL"
    error(app .. " does not listen:\n" .. log, 2)
  end
  self.port = tonumber(self.port)
  self.url = "http://127.0.0.1:" .. self.port
  return self
end

return server
