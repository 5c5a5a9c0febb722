-- SPDX-License-Identifier: MIT
-- `ropewalk cert`: a result goes to standard output, a complaint to standard error;
-- the status is 0, 1 (it failed, or is not good) or 2 (usage).

local arguments = require "ropewalk.cert.arguments"

local error, pcall, require, type = error, pcall, require, type
local stderr, stdout = io.stderr, io.stdout

local _ENV <const> = nil

local command = {}

local function main(list)
  local what, words, options = arguments.parse(list)
  local looks = what == "show" or what == "check" or what == "fingerprint"
  local module = require(looks and "ropewalk.cert.show" or "ropewalk.cert.make")
  return module[what](words, options)
end

---@param list string[] what stands behind `ropewalk cert`
---@return integer status
function command.run(list)
  local ok, result, status = pcall(main, list)
  if ok then
    local written = stdout:write(result) and stdout:flush()
    return written and (status or 0) or 1
  end
  if type(result) == "table" and result.usage then
    stderr:write("ropewalk cert: ", result.usage, " (see ropewalk help cert)\n")
    return 2
  elseif type(result) == "table" and result.failed then
    stderr:write("ropewalk cert: ", result.failed, "\n")
    return 1
  end
  return error(result, 0)
end

return command
