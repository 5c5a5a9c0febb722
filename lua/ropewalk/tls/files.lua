-- SPDX-License-Identifier: MIT
-- Certificates and keys from files: a text is compared before it is parsed, so
-- that looking again for new ones costs little.

local core = require "ropewalk.core"
local Failure = require "ropewalk.failure"

local ipairs = ipairs
local concat, sort = table.concat, table.sort
local format, match = string.format, string.match
local open = io.open

local _ENV <const> = nil

local files = {}

local MAX_FILE <const> = 1 << 20 -- bytes: a chain has some thousand

local function bad(...) return nil, Failure.new("bad_certificate", format(...)) end
files.bad = bad

---@param path string
---@return string? text
---@return ropewalk.Failure? failure
function files.read(path)
  local file, why = open(path, "rb")
  if not file then return bad("cannot open %s", why) end -- it begins with the path
  local text
  text, why = file:read(MAX_FILE + 1)
  file:close()
  if not text then return bad("cannot read %s: %s", path, why or "it is empty") end
  if #text > MAX_FILE then return bad("%s is longer than %d bytes", path, MAX_FILE) end
  return text
end

-- Where a certificate and its key are: files, or NAME.pem and NAME.key in a
-- directory, which is the list of all that it has.
local function pairs_of(options)
  if options.key then return { { cert = options.cert, key = options.key, chain = options.chain } } end
  local dir = core.dir(options.cert)
  if not dir then return bad("%s: the key is missing, and it is no directory", options.cert) end
  local at, list = dir:open ".", {}
  for _, name in ipairs(at and at:names() or {}) do
    local stem = match(name, "^(.+)%.pem$")
    if stem then
      local base = options.cert .. "/" .. stem
      list[#list + 1] = { cert = base .. ".pem", key = base .. ".key" }
    end
  end
  if at then at:close() end
  dir:close()
  if #list == 0 then return bad("%s has no NAME.pem with NAME.key", options.cert) end
  sort(list, function(a, b) return a.cert < b.cert end)
  return list
end

---What the files of these options hold: for each certificate its texts, and all
---of them in one, to see a change.
---@return table[]? found
---@return string|ropewalk.Failure all
function files.load(options)
  local list, failure = pairs_of(options)
  if not list then return nil, failure end
  local found, seen = {}, {}
  for i, paths in ipairs(list) do
    local texts = {}
    for _, which in ipairs { "cert", "chain", "key" } do
      if paths[which] then
        texts[which], failure = files.read(paths[which])
        if not texts[which] then return nil, failure end
        seen[#seen + 1] = texts[which]
      end
    end
    found[i] = { paths = paths, texts = texts }
  end
  return found, concat(seen, "\0")
end

---The identities of what load() found.
---@return { identity: userdata, file: string, says: table }[]? identities
---@return ropewalk.Failure? failure
function files.identities(found)
  local identities = {}
  for i, each in ipairs(found) do
    local paths, texts = each.paths, each.texts
    local chain = texts.cert .. (texts.chain and "\n" .. texts.chain or "")
    local identity, _, why = core.tls_identity(chain, texts.key)
    if not identity then return bad("%s with %s: %s", paths.cert, paths.key, why) end
    identities[i] = { identity = identity, file = paths.cert, says = identity:describe() }
  end
  return identities
end

return files
