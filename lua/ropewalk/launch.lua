-- SPDX-License-Identifier: MIT
-- From the options of spawn_process to what core.process wants: descriptors,
-- environment, the search in PATH; and its refusals as Failures.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"
local misuse = require "ropewalk.argument".misuse

local ipairs, math_type, next, tostring, type = ipairs, math.type, next, tostring, type
local find, format, gmatch, gsub, lower, match, upper =
  string.find, string.format, string.gmatch, string.gsub, string.lower, string.match, string.upper

local _ENV <const> = nil

local launch = {}

---@class ropewalk.ProcessOptions
---@field env? table<string, string|false> what to change in the environment; false removes
---@field clear_env? boolean begin with an empty environment
---@field cwd? string the directory it starts in
---@field uid? integer needs gid as well
---@field gid? integer
---@field groups? integer[] supplementary groups; none when left out
---@field child_fds? table<integer, string|integer> "r" we read, "w" we write, "rw", "null",
---"inherit", or a descriptor of ours
---@field pty? boolean|{ rows: integer, columns: integer } 0, 1 and 2 are a terminal
---@field protocols? table<integer, ropewalk.Protocol> who gets the bytes of a pipe instead
---@field new_group? boolean false: it stays in our process group
---@field finish? boolean it may outlive its owner, until drain_timeout
---@field parent_death_signal? string|integer what it gets when this process dies
---@field limits? table of its pipes, and process_grace

local KNOWN <const> = {
  env = "table", clear_env = "boolean", cwd = "string", uid = "number", gid = "number",
  groups = "table", child_fds = "table", pty = true, protocols = "table", new_group = "boolean",
  finish = "boolean", parent_death_signal = true, limits = "table",
}

local PIPES <const> = { r = true, w = true, rw = true, pty = true }

---Is it a descriptor whose other end is ours?
---@param mode string|integer
function launch.is_pipe(mode) return PIPES[mode] or false end

---A terminal's size as the option "window" has it.
---@param rows integer
---@param columns integer
---@return integer
function launch.window(rows, columns)
  for _, n in ipairs { rows or false, columns or false } do
    if math_type(n) ~= "integer" or n < 1 or n > 65535 then
      misuse "a terminal has 1 to 65535 rows and columns"
    end
  end
  return rows << 16 | columns
end

local function check(what, executable, args, options)
  if type(executable) ~= "string" or executable == "" then
    misuse(what .. ": the program must be a string, not "
      .. (executable == "" and "an empty one" or type(executable)))
  end
  if args ~= nil and type(args) ~= "table" then
    misuse(what .. ": the arguments must be a table, not " .. type(args))
  end
  for key, value in next, options do
    local wanted = KNOWN[key]
    if not wanted then misuse(format("%s: there is no option %s", what, tostring(key))) end
    if wanted ~= true and type(value) ~= wanted then
      misuse(format("%s: %s must be a %s, not %s", what, key, wanted, type(value)))
    end
  end
  for fd, protocol in next, options.protocols or {} do
    if type(protocol) ~= "table" or not protocol.make_connection then
      misuse(format("%s: protocols[%s] must be a protocol, not %s", what, tostring(fd), type(protocol)))
    end
  end
  if (options.uid == nil) ~= (options.gid == nil) or (options.groups and not options.uid) then
    misuse(what .. ": uid, gid and groups are changed together: "
      .. "who changes the user names the group as well")
  end
end

local function text_of(what, i, value)
  if type(value) == "number" then return tostring(value) end
  if type(value) == "string" then return value end
  return misuse(format("%s: argument %d must be a string, not %s", what, i, type(value)))
end

local function argv(what, executable, args)
  local list = { args[0] == nil and executable or text_of(what, 0, args[0]) }
  for i, value in ipairs(args) do list[i + 1] = text_of(what, i, value) end
  for key in next, args do -- what is behind a hole would be left out
    if type(key) == "number" and key >= #list then misuse(format("%s: argument %d is nil", what, #list)) end
  end
  return list
end

local function environment(what, options)
  local changes, list, path = options.env or {}, {}, nil
  for _, entry in ipairs(options.clear_env and {} or core.environment()) do
    local name, value = match(entry, "^([^=]+)=(.*)$")
    if name and changes[name] == nil then
      list[#list + 1] = entry
      if name == "PATH" then path = value end
    end
  end
  for name, value in next, changes do
    if type(name) ~= "string" or name == "" or find(name, "=", 1, true) then
      misuse(format("%s: env: not a name: %s", what, tostring(name)))
    end
    if value then
      list[#list + 1] = name .. "=" .. tostring(value)
      if name == "PATH" then path = value end
    end
  end
  return list, path or "/usr/local/bin:/usr/bin:/bin"
end

local function candidates(executable, path)
  if find(executable, "/", 1, true) then return { executable } end
  local list = {}
  for directory in gmatch(path .. ":", "([^:]*):") do
    list[#list + 1] = (directory == "" and "." or directory) .. "/" .. executable
  end
  return list
end

local STANDARD <const> = { [0] = "w", [1] = "r", [2] = "r" }

-- "r" and "w" are ours, as in Twisted: a mix-up would be silence at both ends.
local function descriptors(what, options)
  local modes = {}
  for fd, mode in next, options.child_fds or (options.pty and {} or STANDARD) do
    if (fd == 0 and mode == "r") or ((fd == 1 or fd == 2) and mode == "w") then
      misuse(format('%s: child_fds[%d] = "%s" means that we %s it; use "%s"', what, fd, mode,
        fd == 0 and "read" or "write", fd == 0 and "w" or "r"))
    end
    modes[fd] = mode
  end
  if not options.pty then return modes end
  if modes[0] or modes[1] or modes[2] then
    misuse(what .. ": 0, 1 and 2 are the terminal already")
  end
  modes[0] = "pty"
  return modes
end

local function death_signal(what, signal)
  if signal == nil then return nil end
  local number = type(signal) == "string" and core.signals[gsub(upper(signal), "^SIG", "")]
  if type(signal) == "number" then number = signal end
  if not number then misuse(format("%s: there is no signal %s", what, tostring(signal))) end
  return number
end

---What core.process wants, and the descriptors by number.
---@param what string who asks, for messages
---@param executable string
---@param args? string[]
---@param options? ropewalk.ProcessOptions
---@return table spec
---@return table<integer, string|integer> modes
function launch.spec(what, executable, args, options)
  options = options or {}
  check(what, executable, args, options)
  local env, path = environment(what, options)
  local size = type(options.pty) == "table" and options.pty or { rows = 24, columns = 80 }
  if options.pty then launch.window(size.rows, size.columns) end
  local modes = descriptors(what, options)
  return {
    files = candidates(executable, path), argv = argv(what, executable, args or {}), env = env,
    directory = options.cwd, fds = modes, rows = size.rows, columns = size.columns,
    uid = options.uid, gid = options.gid, groups = options.groups,
    own_group = options.new_group ~= false, finishes = options.finish,
    death_signal = death_signal(what, options.parent_death_signal), limits = options.limits,
  }, modes
end

---core's `nil, code, message, step` as a Failure.
---@param executable string
---@param options? ropewalk.ProcessOptions
---@return ropewalk.Failure
function launch.failure(executable, options, code, message, step)
  local object = ""
  if step == "execute" then object = " " .. executable end
  if step == "enter the directory" then object = " " .. options.cwd end
  if code == "RW_ELIMIT" then message = "there are too many (limit max_processes)" end
  local failure = Failure.new(code == "RW_ELIMIT" and "limit" or code,
    format("cannot %s%s: %s", step, object, lower(message)), "spawn " .. executable)
  failure.name = code
  return failure
end

return launch
