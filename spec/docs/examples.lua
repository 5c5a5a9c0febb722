-- SPDX-License-Identifier: MIT
--- The fenced examples of the documentation, made runnable. What the word after
--- the language means:
---
---     ```lua                  compiles
---     ```lua file NAME        the same, and is put into NAME beside the others
---     ```lua app NAME ARGS…   a whole script, NAME.lua: passes `ropewalk check`
---     ```lua bad NAME         a whole script which `ropewalk check` refuses
---     ```lua spec NAME        NAME_spec.lua: passes `ropewalk test`
---     ```console NAME         `$ command` lines and what they print, while the
---                             app NAME runs (its log is NAME.log, its process
---                             $PID); without NAME: no app is started
---
--- In what is printed `…` stands for anything, times of log lines for any time.
--- Apps listen at `rw.config.listen or "tcp:127.0.0.1:PORT"`; a free port is
--- used instead of PORT, in commands and in what they print.

local server = require "spec.support.server"

local examples = {}
local Page = {}
Page.__index = Page

local function write_file(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

local function read_file(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end
examples.read_file = read_file

local function shell(command)
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end
examples.shell = shell

--- The fenced blocks of a page: list of {info, text, line}.
function examples.blocks(path)
  local list, block, number = {}, nil, 0
  for line in io.lines(path) do
    number = number + 1
    local info = line:match "^```(.*)$"
    if info and block then
      block.text = table.concat(block, "\n") .. "\n"
      list[#list + 1], block = block, nil
    elseif info then
      block = { info = info, line = number }
    elseif block then
      block[#block + 1] = line
    end
  end
  assert(not block, path .. ": a fence without its end")
  return list
end

--- A page and a folder for its examples.
function examples.open(path)
  local dir = os.tmpname()
  os.remove(dir)
  os.execute(("mkdir -p %s/bin"):format(dir))
  local binary = shell("readlink -f " .. server.binary):gsub("%s+$", "")
  os.execute(("ln -s '%s' %s/bin/ropewalk"):format(binary, dir))
  -- netcat differs from system to system, and may not be there
  write_file(dir .. "/bin/nc", [=[
#!/usr/bin/env bash
while [[ $1 == -* ]]; do shift; done
exec 3<>"/dev/tcp/$1/$2" || exit 1
cat <&3 &
cat >&3
sleep 0.4
kill $! 2>/dev/null
]=])
  os.execute(("chmod +x %s/bin/nc"):format(dir))
  return setmetatable({ path = path, dir = dir, apps = {} }, Page)
end

function Page:close()
  for _, app in pairs(self.apps) do
    if app.pid then os.execute("kill -9 " .. app.pid .. " 2>/dev/null") end
  end
  os.execute("rm -rf " .. self.dir)
end

--- Runs text as a bash script in the page's folder: output and status.
function Page:bash(text)
  write_file(self.dir .. "/.run", text)
  return shell(("cd %s && PATH=%s/bin:$PATH bash .run 2>&1 </dev/null")
    :format(self.dir, self.dir))
end

function Page:compile(block, name)
  local chunk, why = load(block.text, "@" .. (name or self.path .. ":" .. block.line), "t")
  if not chunk then error(why, 0) end
end

function Page:app(block, name, arguments)
  write_file(self.dir .. "/" .. name .. ".lua", block.text)
  self.apps[name] = { arguments = arguments,
    port = block.text:match 'config%.listen or "tcp:[^"]-(%d+)"' }
  local output, status = self:bash("ropewalk check " .. name .. ".lua")
  if status ~= 0 then error(output, 0) end
end

function Page:bad(block, name)
  write_file(self.dir .. "/" .. name .. ".lua", block.text)
  local _, status = self:bash("ropewalk check " .. name .. ".lua")
  if status ~= 1 then error("the check passes", 0) end
end

function Page:spec(block, name)
  write_file(self.dir .. "/" .. name .. "_spec.lua", block.text)
  local output, status = self:bash("ropewalk test " .. name .. "_spec.lua")
  if status ~= 0 then error(output, 0) end
end

--- Starts an app unless it runs, and finds its port.
function Page:start(name)
  local app = assert(self.apps[name], "there is no app " .. name .. " on this page")
  if app.pid then return app end
  app.pid = tonumber((self:bash(("ropewalk run %s.lua --set listen=tcp:127.0.0.1:0 %s "
    .. ">%s.log 2>&1 </dev/null & echo $!"):format(name, app.arguments, name))))
  local log = self.dir .. "/" .. name .. ".log"
  app.real = server.wait(function()
    return read_file(log):match "listening endpoint=t[cl][ps]:[^ \n]-:(%d+) "
  end)
  if not app.real then error(name .. " does not listen:\n" .. read_file(log), 0) end
  return app
end

local TIME <const> = "%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ"

local function matches(printed, wanted)
  local function tidy(text) return (text:gsub("\r", ""):gsub(TIME, "TIME"):gsub("%s+$", "")) end
  local pattern = tidy(wanted):gsub("[%^%$%(%)%%%.%[%]%*%+%-%?]", "%%%0"):gsub("…", ".-")
  return tidy(printed):find("^" .. pattern .. "$") ~= nil
end

--- `$ command` lines in one shell; what each prints is compared.
function Page:console(block, name)
  local app = name and self:start(name)
  local function both(text, from, to)
    if not (app and app.port) then return text end
    return (text:gsub("%f[%d]" .. from .. "%f[%D]", to))
  end
  local script, wanted, titles = { "PID=" .. (app and app.pid or "none") }, {}, {}
  for line in block.text:gmatch "(.-)\n" do
    local command = line:match "^%$ (.*)$"
    if command then
      wanted[#wanted + 1], titles[#titles + 1] = "", command
      script[#script + 1] = "printf '\\1'"
      command = app and both(command, app.port, app.real) or command
      script[#script + 1] = command
    elseif line:find "^> " and #titles > 0 then
      script[#script + 1] = line:sub(3)
    else
      wanted[#wanted] = wanted[#wanted] .. line .. "\n"
    end
  end
  local output = self:bash(table.concat(script, "\n") .. "\n") .. "\1"
  if app then output = both(output, app.real, app.port) end
  local i = 0
  for printed in output:match("^\1(.*)$"):gmatch "([^\1]*)\1" do
    i = i + 1
    if not matches(printed, wanted[i]) then
      error(("$ %s\nprints\n%s\nbut the page says\n%s"):format(titles[i], printed, wanted[i]), 0)
    end
  end
  assert(i == #titles, "the shell ended early:\n" .. output)
end

--- Does what a block's info line asks for; false when it asks for nothing.
function Page:run(block)
  local language, kind, name, rest = block.info:match "^(%S*)%s*(%S*)%s*(%S*)%s*(.*)$"
  if language == "console" then return self:console(block, kind ~= "" and kind or nil) end
  if language ~= "lua" then return false end
  self:compile(block, name ~= "" and name .. ".lua" or nil)
  if kind == "file" then write_file(self.dir .. "/" .. name, block.text) end
  if kind == "app" then self:app(block, name, rest) end
  if kind == "bad" then self:bad(block, name) end
  if kind == "spec" then self:spec(block, name) end
  return true
end

return examples
