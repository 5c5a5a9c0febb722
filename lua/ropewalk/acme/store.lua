-- SPDX-License-Identifier: MIT
-- What lasts: a directory for this user only, with
--
--   account_HASH.json    key and URL of the account at one authority
--   NAME.pem             a certificate chain and its key
--   NAME.json            failures in a row, and when to try again
--   NAME.lock            held by who orders it
--   http-TOKEN.challenge, tls-NAME.challenge   what an authority is to find
--
-- Files come as a whole or not at all. Several workers and generations share it.

local Failure = require "ropewalk.failure"
local Object = require "ropewalk.class"
local async = require "ropewalk.async"
local core = require "ropewalk.core"

local error, ipairs, type = error, ipairs, type
local find, format, match = string.find, string.format, string.match

local _ENV <const> = nil

---@class ropewalk.acme.Store
local Store = Object:extend "AcmeStore"

local MAX_FILE <const> = 1 << 20
local STALE <const> = 86400    -- seconds after which a challenge is a crash's
local LOCK_EVERY <const> = 0.5 -- seconds

local function refused(path, what, code, message)
  return nil, Failure.new(code, format("%s: %s: %s", path, what, message or code))
end

-- Challenges that a crash has left.
local function sweep(self)
  local at = self.dir:open "."
  for _, name in ipairs(at and at:names() or {}) do
    local file = find(name, "%.challenge$") and self.dir:open(name)
    if file and core.time() - file.mtime > STALE then self.dir:remove(name) end
    if file then file:close() end
  end
  if at then at:close() end
end

local NOTHING <const> = { open = function() return nil end } -- a directory that is not there

-- For `ropewalk check`: the directory as it is, or would be; nothing is made or swept.
local function look(path)
  local dir, code, message = core.dir(path)
  if not dir and code == "ENOENT" then
    local parent = match(path, "^(.*[^/])/+[^/]+/*$") or find(path, "^/") and "/" or "."
    dir, code, message = core.dir(parent)
    if dir then dir:close() end
    dir = dir and NOTHING
  end
  if not dir then return refused(path, "cannot be opened", code, message) end
  local self = Store:new()
  self.path, self.dir = path, dir
  return self
end

---Opens the directory, or makes it; its parent must be there.
---@param path string
---@return ropewalk.acme.Store? store
---@return ropewalk.Failure? failure
function Store.open(path)
  if core.checking() then return look(path) end
  local made, code, message = core.make_directory(path)
  if not made then return refused(path, "cannot be made", code, message) end
  local dir
  dir, code, message = core.dir(path)
  if not dir then return refused(path, "cannot be opened", code, message) end
  local self = Store:new()
  self.path, self.dir = path, dir
  sweep(self)
  return self
end

---@return string? text
function Store:read(name)
  local file = self.dir:open(name)
  if not file then return nil end
  local text = file:read(0, MAX_FILE)
  file:close()
  return text ~= "" and text or nil
end

---A table, or nil: it is not there, or damaged.
function Store:read_json(name)
  local text = self:read(name)
  local value = text and core.json_decode(text)
  return type(value) == "table" and value or nil
end

---Raises when it cannot be written.
function Store:write(name, text)
  local ok, code, message = self.dir:write(name, text)
  if ok then return end
  error(Failure.new(code, format("%s/%s cannot be written: %s", self.path, name, message or code)), 0)
end

function Store:write_json(name, value) self:write(name, core.json_encode(value)) end

function Store:remove(name) self.dir:remove(name) end

---Waits until nobody else has it: a <close> variable lets it go again.
function Store:lock(name)
  while true do
    local lock, code, message = self.dir:lock(name)
    if lock then return lock end
    if code ~= "EAGAIN" then
      error(Failure.new(code, format("%s/%s cannot be locked: %s", self.path, name, message)), 0)
    end
    async.sleep(LOCK_EVERY):await()
  end
end

return Store
