-- SPDX-License-Identifier: MIT
--- For the end-to-end specs: a child server with a script of its own that can
--- be edited, and Python (client.py) as a peer that plays by no rules.
---
---     after_each(e2e.finish)
---     it("answers", function()
---       local child = e2e.start [[ return rw.server(…) ]]
---       e2e.talk(child, [[ expect(Client().ask("/").status, 200) ]])
---     end)

local server = require "spec.support.server"

local e2e = {
  binary = server.binary,
  sanitized = server.sanitized, -- then memory says nothing, and all takes longer
  wait = server.wait,
  curl = server.curl,
}

local children = {}

local function quote(text) return "'" .. tostring(text):gsub("'", "'\\''") .. "'" end
e2e.quote = quote

function e2e.read(path)
  local f = assert(io.open(path, "rb"))
  local text = f:read "a"
  f:close()
  return text
end

--- Writes a file in place: an editor that truncates.
function e2e.write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

--- Replaces a file in one step: an editor that renames.
function e2e.replace(path, text)
  e2e.write(path .. "~", text)
  assert(os.rename(path .. "~", path))
end

--- Runs a command: its output (both streams) and its exit status.
---@param command string
---@return string output
---@return integer status
function e2e.shell(command)
  local pipe = io.popen("( " .. command .. "\n) 2>&1 </dev/null")
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

--- Runs our own binary with these arguments: output and exit status.
function e2e.ropewalk(...)
  local words = { quote(e2e.binary) }
  for _, word in ipairs { ... } do words[#words + 1] = quote(word) end
  return e2e.shell("timeout 20 " .. table.concat(words, " "))
end

--- A new directory, gone when the spec is over.
function e2e.directory()
  local path = e2e.shell("mktemp -d /tmp/ropewalk-e2e.XXXXXX"):match "%S+"
  children[#children + 1] = { dir = path }
  return path
end

-- A port that was free a moment ago.
function e2e.free_port()
  return tonumber(e2e.python "s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
end

-- Children -------------------------------------------------------------------

local PRELUDE <const> = 'local rw, web = require "ropewalk", require "ropewalk.web"; '

--- A script's text with what all of them begin with; lines keep their numbers.
function e2e.script(text) return PRELUDE .. text:gsub("^\n", "") end

local methods = {}

--- Writes the script anew.
function methods:edit(text) e2e.replace(self.app, e2e.script(text)) end

--- The log from here on is what `since` gives.
function methods:mark() self.marked = #self:log() end
function methods:since() return self:log():sub((self.marked or 0) + 1) end

--- Waits for a plain text in the log since the mark.
function methods:await_log(text, seconds)
  if e2e.wait(function() return self:since():find(text, 1, true) end, seconds) then return end
  error(("%q does not come in the log:\n%s"):format(text, self:since()), 2)
end

--- SIGHUP, and waits for the verdict: true when the new code is live, and what
--- was logged.
function methods:reload(text)
  if text then self:edit(text) end
  self:mark()
  self:signal "HUP"
  local verdict = e2e.wait(function()
    local since = self:since()
    return since:find "reloaded generation" and "good" or since:find "reload failed" and "bad"
  end, 20)
  assert(verdict, "no verdict on the reload:\n" .. self:since())
  return verdict == "good", self:since()
end

--- Starts an application, a text, with `rw` and `web` at hand. Options as of
--- server.start; `shell`: what a shell does before (ulimit); `app`: a path
--- instead of the text.
---@param text string
---@param options? table
---@return table child
function e2e.start(text, options)
  options = options or {}
  local dir = e2e.directory()
  local app = options.app or dir .. "/app.lua"
  if text then e2e.write(app, e2e.script(text)) end
  for name, content in pairs(options.files or {}) do e2e.write(dir .. "/" .. name, content) end
  server.binary = e2e.binary
  if options.shell then
    server.binary = dir .. "/wrapper"
    e2e.write(server.binary, ("#!/bin/sh\n%s\nexec %s \"$@\"\n"):format(options.shell,
      quote(e2e.binary)))
    e2e.shell("chmod +x " .. server.binary)
  end
  local ok, child = pcall(server.start, app, options)
  server.binary = e2e.binary
  if not ok then error(child, 2) end
  child.app, child.dir = app, dir
  for name, method in pairs(methods) do child[name] = method end
  children[#children + 1] = child
  return child
end

local function complaint(child)
  local log = child:log()
  return log:match "%u+: %a+Sanitizer.*" or log:match "[^\n]*runtime error:.*"
    or log:match "[^\n]*internal call failed.*"
end

--- Ends the children; each has to end cleanly. For after_each and teardown.
function e2e.finish()
  local ended, wrong = children, {}
  children = {}
  for _, child in ipairs(ended) do
    if child.pid then
      local alive = child:alive()
      local status = child:stop()
      if status ~= 0 and (alive or status >= 128) then
        wrong[#wrong + 1] = ("ended with status %d:\n%s"):format(status, child:log():sub(-2000))
      end
      wrong[#wrong + 1] = complaint(child)
    end
    if child.dir then e2e.shell("rm -rf " .. quote(child.dir)) end
  end
  if #wrong > 0 then error(table.concat(wrong, "\n"), 0) end
end

-- Python ---------------------------------------------------------------------

local python

local function undent(code)
  local indent = code:match "^%s*\n([ ]*)%S" or code:match "^([ ]*)"
  return (("\n" .. code):gsub("\n" .. indent, "\n"):gsub("^\n", ""))
end

--- Runs Python with everything of client.py at hand: its output. Raises with
--- its traceback (and the end of the child's log).
---@param code string
---@param child? table
---@return string output
function e2e.python(code, child)
  -- the true one, not a shim that takes its time
  python = python or e2e.shell("python3 -c 'import sys; print(sys.executable)'"):match "%S+"
  local environment = ("PYTHONPATH=spec/support PYTHONDONTWRITEBYTECODE=1 SLOW=%d"):format(
    e2e.sanitized and 3 or 1)
  if child then
    environment = environment .. (" PORT=%d PID=%d LOG=%s APP=%s"):format(child.port or 0,
      child.pid, quote(child.log_path), quote(child.app))
  end
  local path = os.tmpname() -- a file, so that a traceback can show its lines
  e2e.write(path, "from client import *\n" .. undent(code))
  local output, status = e2e.shell(("%s timeout 100 %s -S %s"):format(environment, python, path))
  os.remove(path)
  if status == 0 then return output end
  error(("%s(status %d)\n--- log:\n%s"):format(output, status,
    child and child:log():sub(-1500) or ""), 2)
end

--- The same, with the child's port as default.
function e2e.talk(child, code) return e2e.python(code, child) end

return e2e
