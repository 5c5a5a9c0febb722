-- SPDX-License-Identifier: MIT
-- How a path of rw.FilePath is looked up: by the system, beneath the directory of
-- the first one and nowhere else (core.dir), wherever links may lead and whoever
-- moves directories about meanwhile.
--
-- A path has a `base`, which is trusted, and `inside`, which is looked up beneath it;
-- "": it is the base itself.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local match = string.match

local _ENV <const> = nil

local beneath = {}

local OUTSIDE <const> = { EXDEV = true, ELOOP = true } -- what the system says of links that lead out

---The failure of what was tried with a path.
function beneath.failed(self, op, code, why)
  if OUTSIDE[code] then code, why = "insecure_path", "a link leads out of " .. self.base end
  return nil, Failure.new(code, self.path .. ": " .. why, op)
end

local failed = beneath.failed

-- The directory that the first one is in, and its name there.
local function outside(self)
  local parent, name = match(self.base, "^(.*)/([^/]+)$")
  local dir, code, why = core.dir(not parent and "." or parent == "" and "/" or parent)
  if not dir then return nil, code, why end
  return dir, name or self.base
end

-- The directory that all is looked up beneath, and the path there.
local function root(self)
  local dir, code, why = core.dir(self.base)
  if dir then return dir, self.inside == "" and "." or self.inside end
  if code == "ENOTDIR" and self.inside == "" then return outside(self) end -- it is a file
  return nil, code, why
end

---What is there, open.
function beneath.open(self, op)
  local dir, inside, why = root(self)
  if not dir then return failed(self, op, inside, why) end
  local file, code
  file, code, why = dir:open(inside)
  dir:close()
  if not file then return failed(self, op, code, why) end
  return file
end

---The directory that it is in, for changes, and its name there.
function beneath.around(self, op)
  local parent, name = match(self.inside, "^(.*)/([^/]+)$")
  local dir, code, why
  if self.inside == "" then
    dir, code, why = outside(self)
  else
    dir, code, why = core.dir(self.base)
  end
  if not dir then return failed(self, op, code, why) end
  if not parent then return dir, self.inside == "" and code or self.inside end
  local inner
  inner, code, why = dir:sub(parent)
  dir:close()
  if not inner then return failed(self, op, code, why) end
  return inner, name
end

return beneath
