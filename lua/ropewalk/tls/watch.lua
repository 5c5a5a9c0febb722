-- SPDX-License-Identifier: MIT
-- The certificates that contexts of servers have from files, and the authorities and
-- lists of who is revoked of either side's. The files are looked at each second:
-- new ones serve the next handshake, sessions that there are go on; what cannot be
-- used is logged, and the old ones stay.

local core = require "ropewalk.core"
local files = require "ropewalk.tls.files"
local log = require "ropewalk.log"
local trust = require "ropewalk.tls.trust"

local ipairs, next, pairs, setmetatable = ipairs, next, pairs, setmetatable
local sort = table.sort

local _ENV <const> = nil

local watch = {}
local logger = log.logger "tls"

local LOOK_EVERY <const> = 1 -- seconds
local WARN_AHEAD <const> = 14 * 86400
local WARN_EVERY <const> = 86400

local function install(context, identities)
  local names = {}
  for _, each in ipairs(identities) do
    for _, name in ipairs(each.says.names) do names[name] = names[name] or each.identity end
  end
  context:set_names(names, identities[1].identity)
end

-- By context, as long as somebody holds it: its options (without: they are another
-- one's, and not looked after here), identities, their texts
-- in one, when their expiry was warned of, and the last complaint.
local watched = setmetatable({}, { __mode = "k" })
local on_demand = setmetatable({}, { __mode = "k" }) -- who has certificates() of its own
-- By context, too: the options of its trust, what their files hold, and what makes
-- a context of them anew.
local trusting = setmetatable({}, { __mode = "k" })
local looking = false

local function warn_of_expiry(entry)
  local now = core.time()
  entry.warned = now
  for _, each in ipairs(entry.identities) do
    local left = each.says.not_after - now
    if left < WARN_AHEAD then
      logger:warn(left < 0 and "the certificate has expired" or "the certificate expires soon",
        { file = each.file, days = left // 86400 })
    end
  end
end

-- Of those on demand none has to last: they are renewed when somebody asks.
local function note_expiry()
  local first
  for _, entry in pairs(watched) do
    for _, each in ipairs(entry.identities) do
      if not first or each.says.not_after < first then first = each.says.not_after end
    end
  end
  core.tls_expiry(first or 0)
end

local function complain(entry, failure, text)
  if entry.complaint == failure.message then return end
  entry.complaint = failure.message
  logger:warn(text or "the new certificate is not taken: {reason}", { reason = failure.message })
end

local function take(context, entry, found, seen)
  local identities, failure = files.identities(found)
  if not identities then return complain(entry, failure) end -- half written, perhaps
  install(context, identities)
  entry.identities, entry.seen, entry.complaint = identities, seen, nil
  logger:info("the certificate was replaced", { file = entry.options.cert })
  warn_of_expiry(entry)
end

local function look_at(context, entry)
  if not entry.options then return end -- noted only
  local found, seen = files.load(entry.options)
  if not found then
    complain(entry, seen)
  elseif seen ~= entry.seen then
    take(context, entry, found, seen)
  end
  if core.time() - entry.warned >= WARN_EVERY then warn_of_expiry(entry) end
end

-- A ticket of before is worth nothing: its key follows from what is trusted.
local function look_at_trust(context, entry)
  local seen, failure = trust.load(entry.options)
  if seen == entry.seen then return end
  local fresh
  if seen then fresh, failure, seen = entry.make(entry.options) end
  if not fresh then return complain(entry, failure, "the new authorities are not taken: {reason}") end
  context:adopt(fresh)
  entry.seen, entry.complaint = seen, nil
  logger:info("the authorities were replaced", { ca = entry.options.ca, crl = entry.options.crl })
end

local function look()
  for context, entry in pairs(watched) do look_at(context, entry) end
  for context, entry in pairs(trusting) do look_at_trust(context, entry) end
  note_expiry()
  looking = next(watched) ~= nil or next(trusting) ~= nil
  if looking then core.housekeeping(LOOK_EVERY, look) end
end

local function look_from_now()
  if not looking then core.housekeeping(LOOK_EVERY, look) end
  looking = true
end

---Takes new authorities and lists of who is revoked when their files change.
---@param context userdata
---@param options table with `ca` or `crl`
---@param seen string what they hold
---@param make fun(options: table): userdata?, ropewalk.Failure?, string?
function watch.trust(context, options, seen, make)
  trusting[context] = { options = options, seen = seen, make = make }
  look_from_now()
end

---Gives a context its certificates from files, now and whenever they change.
---@param context userdata
---@param options table with `cert`, and `key` and `chain`
---@return boolean? ok
---@return ropewalk.Failure? failure
function watch.serve(context, options)
  local found, seen = files.load(options)
  if not found then return nil, seen end
  local identities, failure = files.identities(found)
  if not identities then return nil, failure end
  install(context, identities)
  local entry = { options = options, identities = identities, seen = seen }
  watched[context] = entry
  warn_of_expiry(entry)
  note_expiry()
  look_from_now()
  return true
end

---Notes the certificate that somebody else has given a context and sees to, for
---`certificates`.
---@param context userdata
---@param entry { identity: userdata, file: string, says: table }
function watch.note(context, entry)
  watched[context] = { identities = { entry } }
  note_expiry()
end

---Notes somebody whose certificates come and go: `source:certificates()` has them.
---@param source table
function watch.note_many(source) on_demand[source] = true end

local function add(list, each, is_on_demand)
  local says = each.says
  list[#list + 1] = { file = each.file, subject = says.subject, names = says.names,
    not_after = says.not_after, fingerprint = says.fingerprint, on_demand = is_on_demand }
end

---All that are in use, the one that expires first in front.
---@return table[]
function watch.certificates()
  local list = {}
  for _, entry in pairs(watched) do
    for _, each in ipairs(entry.identities) do add(list, each) end
  end
  for source in pairs(on_demand) do
    for _, each in ipairs(source:certificates()) do add(list, each, true) end
  end
  sort(list, function(a, b) return a.not_after < b.not_after end)
  return list
end

return watch
