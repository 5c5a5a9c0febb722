-- SPDX-License-Identifier: MIT
-- Authorities and lists of who is revoked, from files.

local core = require "ropewalk.core"
local files = require "ropewalk.tls.files"

local ipairs = ipairs
local concat, insert = table.concat, table.insert
local bad, read = files.bad, files.read

local _ENV <const> = nil

local trust = {}

---What the files of these options hold, in one, to see a change; nil: there are
---none, the system's authorities are meant, or a failure.
---@param options { ca: string?, crl: string? }
---@return string? text
---@return ropewalk.Failure? failure
function trust.load(options)
  local texts = {}
  for _, which in ipairs { "ca", "crl" } do
    if options[which] then
      local text, failure = read(options[which])
      if not text then return nil, failure end
      insert(texts, text)
    end
  end
  return texts[1] and concat(texts, "\0")
end

local function add_authorities(made, path)
  local count, code, why
  if not path then
    count, code, why = made:add_system()
    if not count then return bad("the system's authorities: %s", why or code) end
    return made
  end
  local pem, failure = read(path)
  if not pem then return nil, failure end
  count, code, why = made:add(pem)
  if not count then return bad("%s: %s", path, why or code) end
  return made
end

---Whom to trust; or nil and a failure; and what load() says.
---@param options { ca: string?, crl: string? }
---@return userdata? trust
---@return ropewalk.Failure? failure
---@return string? text
function trust.of(options)
  local text, failure = trust.load(options)
  if failure then return nil, failure end
  local made, _, impossible = core.tls_trust()
  if not made then return bad("%s", impossible) end
  made, failure = add_authorities(made, options.ca)
  if not made or not options.crl then return made, failure, text end
  local pem
  pem, failure = read(options.crl)
  if not pem then return nil, failure end
  local count, code, why = made:add_revoked(pem)
  if not count then return bad("%s: %s", options.crl, why or code) end
  return made, nil, text
end

return trust
