-- SPDX-License-Identifier: MIT
-- What `ropewalk cert` is told: words and options. A mistake is raised as a table
-- with `usage`, which the command shows.

local error, ipairs, pairs, tonumber = error, ipairs, pairs, tonumber
local find, format, match, sub = string.find, string.format, string.match, string.sub
local concat, sort = table.concat, table.sort

local _ENV <const> = nil

local arguments = {}

local FLAGS <const> = { force = true, rsa = true, client = true }
local VALUES <const> = {
  dir = true, ["out-cert"] = true, ["out-key"] = true, out = true, key = true, type = true,
  days = true, subject = true, ca = true, email = true, user = true, name = true,
}
-- What each command takes.
local TAKES <const> = {
  self = "dir out-cert out-key key type rsa days subject client email user force",
  ca = "dir key type rsa days subject force",
  issue = "dir out-cert out-key key type rsa days subject ca client email user force",
  csr = "dir out out-key key type rsa force",
  show = "key ca name",
  fingerprint = "",
  check = "days key ca name",
}
local TYPES <const> = { p256 = true, p384 = true, rsa2048 = true, rsa4096 = true }
local MAX_DAYS <const> = 36500

---Ends the command with this complaint and status 2.
function arguments.wrong(...) error({ usage = format(...) }, 0) end
local wrong = arguments.wrong

local function take(list, i, what, options)
  local word = list[i]
  local name, value = match(word, "^%-%-([%l-]+)=(.*)$")
  name = name or match(word, "^%-%-([%l-]+)$")
  if not name or not (FLAGS[name] or VALUES[name]) then wrong("there is no option %s", word) end
  if not find(" " .. TAKES[what] .. " ", " " .. name .. " ", 1, true) then
    wrong("--%s is not for %s", name, what)
  end
  if FLAGS[name] then
    if value then wrong("--%s takes no value", name) end
    options[name] = true
    return i + 1
  end
  if not value then
    i = i + 1
    value = list[i]
  end
  if not value or value == "" then wrong("--%s wants a value", name) end
  if name == "email" then
    options.email = options.email or {}
    options.email[#options.email + 1] = value
  elseif options[name] then
    wrong("--%s is there twice", name)
  else
    options[name] = value
  end
  return i + 1
end

local function check(options)
  if options.days then
    local days = tonumber(options.days)
    if not days or days ~= days // 1 or days < 1 or days > MAX_DAYS then
      wrong('--days wants a number from 1 to %d, not "%s"', MAX_DAYS, options.days)
    end
    options.days = days // 1
  end
  if options.rsa then
    if options.type then wrong "--rsa and --type are two" end
    options.type = "rsa2048"
  end
  if options.type and not TYPES[options.type] then
    wrong('--type wants p256, p384, rsa2048 or rsa4096, not "%s"', options.type)
  end
  if options.type and options.key then wrong "--type is for a new key, --key names one" end
  for _, address in ipairs(options.email or {}) do
    if not find(address, "^[^@]+@[^@]+$") then wrong('--email wants an address, not "%s"', address) end
  end
end

---The command, its words and its options.
---@param list string[]
---@return string what
---@return string[] words
---@return table options
function arguments.parse(list)
  local what = list[1]
  if not what then wrong "what? self, ca, issue, csr, show, fingerprint or check" end
  if not TAKES[what] then
    local all = {}
    for name in pairs(TAKES) do all[#all + 1] = name end
    sort(all)
    wrong('there is no "%s", but %s', what, concat(all, ", "))
  end
  local words, options, i = {}, {}, 2
  while i <= #list do
    if sub(list[i], 1, 1) == "-" then
      i = take(list, i, what, options)
    else
      words[#words + 1] = list[i]
      i = i + 1
    end
  end
  check(options)
  return what, words, options
end

return arguments
