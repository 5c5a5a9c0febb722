-- SPDX-License-Identifier: MIT
-- Which lines of a file have code. Lua tells it only of functions that one can
-- get hold of; compiled, a file tells it of all: this reads the format of
-- string.dump (Lua 5.4) as far as needed.

local load, select, string_dump = load, select, string.dump
local byte, sub, unpack = string.byte, string.sub, string.unpack

local _ENV <const> = nil

local lines = {}

local HEADER <const> = 4 + 1 + 1 + 6 + 1 + 1 + 1 + 8 + 8
local FLOAT <const> = 19
local INTEGER <const> = 3
local SHORT <const> = 4
local LONG <const> = 20
local ABSOLUTE <const> = -128 -- the line of this instruction stands elsewhere

local function size(code, at)
  local value = 0
  while true do
    local b = byte(code, at)
    value, at = value << 7 | b & 0x7f, at + 1
    if b & 0x80 ~= 0 then return value, at end
  end
end

local function skip_sizes(code, at, n)
  for _ = 1, n do at = select(2, size(code, at)) end
  return at
end

local function skip_string(code, at)
  local n
  n, at = size(code, at)
  return n > 0 and at + n - 1 or at
end

local function skip_constants(code, at)
  local n
  n, at = size(code, at)
  for _ = 1, n do
    local kind = byte(code, at)
    at = at + 1
    if kind == FLOAT or kind == INTEGER then
      at = at + 8
    elseif kind == SHORT or kind == LONG then
      at = skip_string(code, at)
    end
  end
  return at
end

local function read_lines(code, at, line, is_vararg, active)
  local n, deltas, absolute, count
  n, at = size(code, at)
  deltas, at = at, at + n
  count, at = size(code, at)
  absolute = {}
  for _ = 1, count do
    local pc, there
    pc, at = size(code, at)
    there, at = size(code, at)
    absolute[pc] = there
  end
  for pc = 0, n - 1 do
    local delta = unpack("b", code, deltas + pc)
    line = delta == ABSOLUTE and absolute[pc] or line + delta
    if line > 0 and not (is_vararg and pc == 0) then active[line] = true end
  end
  return at
end

local function read_function(code, at, active)
  local line, n, is_vararg
  at = skip_string(code, at) -- the source
  line, at = size(code, at)
  at = skip_sizes(code, at, 1) -- the last line
  is_vararg = byte(code, at + 1) ~= 0
  n, at = size(code, at + 3)
  at = skip_constants(code, at + 4 * n)
  n, at = size(code, at)     -- upvalues
  n, at = size(code, at + 3 * n)
  for _ = 1, n do at = read_function(code, at, active) end
  at = read_lines(code, at, line, is_vararg, active)
  n, at = size(code, at)     -- local variables
  for _ = 1, n do
    at = skip_sizes(code, skip_string(code, at), 2) -- its first and last instruction
  end
  n, at = size(code, at)     -- names of upvalues
  for _ = 1, n do at = skip_string(code, at) end
  return at
end

---@param source string a Lua program
---@return table<integer, true>? active nil when it does not compile
function lines.active(source)
  local chunk = load(sub(source, 1, 1) == "#" and "--" .. source or source, "=", "t")
  if not chunk then return nil end
  local active = {}
  read_function(string_dump(chunk), HEADER + 2, active)
  return active
end

return lines
