-- SPDX-License-Identifier: MIT
--- Middleware: the access log. Logged when the response is complete, or the
--- peer has gone away in the middle.

local core = require "ropewalk.core"
local argument = require "ropewalk.argument"

local error, os, string, tostring, type = error, os, string, tostring, type
local _ENV <const> = nil

--- What may forge a line or a field of it.
local function quoted(text)
  return (tostring(text or "-"):gsub('[%c"\\\x7f-\xff]', function(c)
    return string.format("\\x%02x", c:byte())
  end))
end

--- The combined format of Apache and nginx.
local function combined(entry)
  return string.format('%s - - [%s] "%s %s HTTP/%s" %d %s "%s" "%s"',
    entry.peer == "" and "-" or entry.peer, os.date("!%d/%b/%Y:%H:%M:%S +0000", core.time() // 1 | 0),
    quoted(entry.method), quoted(entry.target), entry.version, entry.status,
    entry.bytes or "-", quoted(entry.referer), quoted(entry.agent))
end

local function fields(entry)
  return { peer = entry.peer, method = entry.method, target = entry.target,
    status = entry.status, bytes = entry.bytes, seconds = entry.seconds,
    agent = entry.agent, aborted = entry.aborted }
end

--- Access log as middleware: `format` is "fields" (structured, through
--- rw.log; the default), "combined" (one line of text), or a function that gets
--- the entry and returns the line; `write` takes the line instead of the log.
---
---     site:use(web.log { format = "combined" })
---@param options? table
---@return function
return function(options)
  options = argument.optional("log", 1, options, "table") or {}
  local format = options.format or "fields"
  if format == "combined" then format = combined end
  if format ~= "fields" and type(format) ~= "function" then
    error("web.log: format is \"fields\", \"combined\" or a function", 2)
  end
  return function(request, next)
    local began = core.hrtime()
    local entry = {
      peer = request:peer_address(), method = request.method, target = request.target,
      version = tostring(request.version), status = 500,
      referer = request.headers["referer"], agent = request.headers["user-agent"],
    }
    request:on_finish(function(code)
      entry.seconds = (core.hrtime() - began) * 1.0
      entry.aborted = code ~= nil or nil
      if format == "fields" then
        core.log("info", "web", "request", fields(entry))
      elseif options.write then
        options.write(format(entry))
      else
        core.log("info", "web", format(entry))
      end
    end)
    local response = next()
    entry.status = response.status
    entry.bytes = response.length or (type(response.body) == "string" and #response.body) or nil
    return response
  end
end
