-- SPDX-License-Identifier: MIT
-- The kinds of endpoints that the core can listen at or connect to. A kind has
--
--   build(words, options)  → the endpoint's fields, and as `words` how it is
--                            written; or nil and why not. It takes what it
--                            knows out of both.
--   options                → more options: name → { reader, what is meant }
--
-- What every kind takes is in `common`.

local check = require "ropewalk.endpoint.check"
local grammar = require "ropewalk.endpoint.grammar"
local read_bind = require "ropewalk.bind_option"

local pairs, tonumber = pairs, tonumber
local remove = table.remove
local find, format = string.find, string.format

local _ENV <const> = nil

local function take(options, name)
  local value = options[name]
  options[name] = nil
  return value
end

local function ranged(low, high)
  return function(word) return check.number(word, low, high) end
end

local FLAG <const> = "must be 1 or 0"
local kinds = {}

local common = {
  backlog = { ranged(1, 65535), "must be a number from 1 to 65535" },
  timeout = { check.positive, "must be a number of seconds" },
}

-- tcp ------------------------------------------------------------------------

kinds.tcp = { options = {
  ipv6only = { check.flag, FLAG },
  keepalive = { ranged(0, 32767), "must be a number of seconds, 0 for none" },
  nodelay = { check.flag, FLAG },
  reuseport = { check.flag, FLAG },
} }

-- [HOST:]PORT
local function inet(kind, words, options)
  local port = take(options, "port") or remove(words)
  local host = take(options, "host") or take(options, "interface") or remove(words)
  if #words > 0 then return nil, "too many words; " .. kind .. ":[HOST:]PORT is meant" end
  if not port then return nil, "the port is missing" end
  local result = { port = check.number(port, 0, 65535) }
  if not result.port then
    return nil, format('the port must be a number from 0 to 65535, not "%s"', port)
  end
  if host then
    result.host = check.host(host)
    if not result.host then return nil, format('"%s" is no host name or address', host) end
  end
  local shown = result.host and find(result.host, ":", 1, true) and "[" .. result.host .. "]"
  port = format("%d", result.port)
  result.words = host and { shown or result.host, port } or { port }
  local bind = take(options, "bind")
  local why = read_bind(result, bind)
  if why then return nil, why end
  if bind then result.words[#result.words + 1] = "bind=" .. grammar.escape(bind) end
  return result
end

function kinds.tcp.build(words, options) return inet("tcp", words, options) end

-- udp ------------------------------------------------------------------------

kinds.udp = { options = { listen_multiple = { check.flag, FLAG } } }

function kinds.udp.build(words, options) return inet("udp", words, options) end

-- unix -----------------------------------------------------------------------

local NAME <const> = "must be a name or a number"

local function account(word)
  return #word <= 32 and find(word, "^[%w_][%w_.%-]*$") and word or nil
end

kinds.unix = { options = {
  group = { account, NAME },
  lockfile = { check.flag, FLAG },
  mode = {
    function(word) return find(word, "^[0-7][0-7][0-7][0-7]?$") and tonumber(word, 8) or nil end,
    "must be octal like 660",
  },
  user = { account, NAME },
} }

-- What is wrong with it, or nil.
local function misnamed(path, what)
  if not path or path == "" then return what .. " is missing" end
  if path == "@" then return "the name of the abstract socket is missing" end
  if #path > 107 then return what .. " is longer than 107 bytes" end
  return nil
end

local function socket(kind, words, options)
  local path = take(options, "path") or remove(words, 1)
  if #words > 0 then return nil, "too many words; " .. kind .. ":PATH is meant" end
  local why = misnamed(path, "the path")
  if why then return nil, why end
  if options.lockfile and find(path, "^@") then return nil, "an abstract socket has no lock file" end
  return { path = path, words = { grammar.escape(path) } }
end

function kinds.unix.build(words, options) return socket("unix", words, options) end

-- unixgram -------------------------------------------------------------------

kinds.unixgram = { options = kinds.unix.options }

function kinds.unixgram.build(words, options)
  local own = take(options, "bind")
  local result, why = socket("unixgram", words, options)
  if not result or not own then return result, why end
  why = misnamed(own, "the path of bind")
  if why then return nil, why end
  result.bind_path, result.words[2] = own, "bind=" .. grammar.escape(own)
  return result
end

-- what the process was given -------------------------------------------------

kinds.stdio = {}

function kinds.stdio.build(words)
  if #words > 1 or (words[1] and words[1] ~= "") then return nil, "stdio: takes nothing" end
  return { words = { "" } }
end

local INHERITED <const> = { datagram = { check.flag, FLAG } }
for name, option in pairs(kinds.tcp.options) do INHERITED[name] = option end

kinds.fd = { options = INHERITED }

function kinds.fd.build(words)
  local fd = words[1] and check.number(words[1], 0, 1048576)
  if #words ~= 1 or not fd then return nil, "fd:N with a number N is meant" end
  return { fd = fd, words = { format("%d", fd) } }
end

kinds.systemd = { options = INHERITED }

function kinds.systemd.build(words, options)
  local name, index = take(options, "name") or remove(words, 1), take(options, "index")
  if #words > 0 or not name == not index then
    return nil, "systemd:NAME or systemd:index=N is meant"
  end
  if index then
    local number = check.number(index, 0, 1023)
    if not number then return nil, format('the index must be a number, not "%s"', index) end
    return { index = number, words = { "index=" .. format("%d", number) } }
  end
  -- as systemd.socket(5) has it for FileDescriptorName=
  if name == "" or #name > 255 or find(name, "[^\33-\126]") or find(name, ":", 1, true) then
    return nil, "the name must be 1 to 255 ASCII characters, no colon among them"
  end
  return { name = name, words = { grammar.escape(name) } }
end

-- Has it datagrams instead of connections?
local function is_datagram(at)
  return at.kind == "udp" or at.kind == "unixgram" or at.datagram == true
end

return { kinds = kinds, common = common, take = take, is_datagram = is_datagram }
