-- SPDX-License-Identifier: MIT
-- The files of `ropewalk cert`: read in bounds, written whole, keys for their owner.

local core = require "ropewalk.core"

local error = error
local format, gsub, match = string.format, string.gsub, string.match
local open = io.open

local _ENV <const> = nil

local files = {}

local MAX_FILE <const> = 1 << 20

---Ends the command with this complaint and status 1.
function files.fail(...) error({ failed = format(...) }, 0) end
local fail = files.fail

---@param path string
---@return string text
function files.read(path)
  local file, why = open(path, "rb")
  if not file then fail("cannot open %s", why) end -- it begins with the path
  local text
  text, why = file:read(MAX_FILE + 1)
  file:close()
  if not text then fail("cannot read %s: %s", path, why or "it is empty") end
  if #text > MAX_FILE then fail("%s is longer than %d bytes", path, MAX_FILE) end
  return text
end

---Is there something of this name?
function files.exists(path)
  local file = open(path, "rb")
  if file then file:close() end
  return file ~= nil
end

---Refuses before anything is made: one file of a pair alone would be of no use.
function files.must_be_free(path, force)
  if not force and files.exists(path) then fail("%s is there already (--force replaces it)", path) end
end

---@param path string
---@param text string
---@param options { force: boolean?, private: boolean? }
function files.write(path, text, options)
  local parent, name = match(path, "^(.*)/([^/]*)$")
  if parent == "" then parent = "/" end
  local dir, _, reason = core.dir(parent or ".")
  if not dir then fail("cannot open %s: %s", parent, reason) end
  local done, code, why = dir:write(name or path, text, not options.force, not options.private)
  dir:close()
  if done then return end
  if code == "EEXIST" then fail("%s is there already (--force replaces it)", path) end
  if code == "EINVAL" then fail("%s: not a name for a file here (none begins with a dot)", path) end
  fail("cannot write %s: %s", path, why)
end

---A directory, made if it is not there.
function files.directory(path)
  local made, _, why = core.make_directory(path)
  if not made then fail("cannot make %s: %s", path, why) end
  return path
end

---A name of a file for a name of a certificate: "*.example.org" → "_.example.org".
function files.stem(name) return (gsub(gsub(name, "^%*", "_"), "[^%w._@-]", "_")) end

return files
