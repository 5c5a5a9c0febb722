-- SPDX-License-Identifier: MIT
-- `ropewalk cert show`, `fingerprint` and `check`: what a file or a server has.

local Factory = require "ropewalk.factory"
local Protocol = require "ropewalk.protocol"
local arguments = require "ropewalk.cert.arguments"
local certificate = require "ropewalk.certificate"
local core = require "ropewalk.core"
local files = require "ropewalk.cert.files"
local listen = require "ropewalk.listen"
local tls = require "ropewalk.tls"

local ipairs, pcall = ipairs, pcall
local concat = table.concat
local date = os.date
local format, gsub, match = string.format, string.gsub, string.match

local _ENV <const> = nil

local show = {}

local fail, wrong = files.fail, arguments.wrong
local DAY <const> = 86400
local SOON <const> = 14 -- days, as the server warns

-- A peer's texts shall not steer a terminal.
local function plain(text) return (gsub(text, "[%c\x80-\xff]", "?")) end

-- Where from ------------------------------------------------------------------

local function connect(host, port, options)
  local at = tls.over(format("tcp:%s:%s", gsub(host, ":", "\\:"), port), options)
  return listen.connect(at, Factory:for_protocol(Protocol)):await()
end

-- What a server shows, and whether it would be believed.
local function ask(host, port, options)
  local name = options.name or host
  local ok, client = pcall(connect, host, port, { insecurely_trust_anyone = true, name = name })
  if not ok then fail("%s", client.message or client) end
  local session = client.transport.tls
  client.transport:abort_connection()
  local list = {}
  for i, der in ipairs(session.peer_certificate.chain) do list[i] = core.tls_certificate(der) end
  local trusted, failure = pcall(connect, host, port, { ca = options.ca, name = name })
  if trusted then failure.transport:abort_connection() end
  return {
    list = list, session = session, trusted = trusted,
    why = not trusted and (failure.message or failure) or nil,
  }
end

local function load(path)
  local text = files.read(path)
  local list, failure = certificate.read(text)
  if not list then
    local other = match(text, "%-%-%-%-%-BEGIN ([^\n-]+)%-%-%-%-%-")
    fail("%s: %s%s", path, failure.message, other and " (but " .. plain(other) .. ")" or "")
  end
  return { list = list, text = text }
end

local function source(words, options)
  if #words ~= 1 then wrong "which? one FILE or HOST:PORT is wanted" end
  local word = words[1]
  local host, port = match(word, "^%[(.+)%]:(%d+)$")
  if not host then host, port = match(word, "^([^:/]+):(%d+)$") end
  local found
  if host and not files.exists(word) then
    if options.key then wrong "--key is for a file" end
    found = ask(host, port, options)
  else
    if options.ca then wrong "--ca is for a server: HOST:PORT" end
    found = load(word)
  end
  if options.key then
    local fits, _, why = core.tls_identity(found.text, files.read(options.key))
    found.fits, found.why_not = fits ~= nil, why
  end
  return found
end

-- What is wrong ----------------------------------------------------------------

local function disorder(list)
  for i = 1, #list - 1 do
    if list[i].issuer ~= list[i + 1].subject then
      return format("certificate %d was not issued by certificate %d", i, i + 1)
    end
  end
  return nil
end

local function complaints(found, options)
  local list, now, out = found.list, core.time(), {}
  local soon = (options.days or SOON) * DAY
  for i, each in ipairs(list) do
    local left = each.not_after - now
    local which = #list > 1 and format(" (certificate %d, %s)", i, plain(each.subject)) or ""
    if each.not_before > now then out[#out + 1] = "it is not valid yet" .. which end
    if left < 0 then
      out[#out + 1] = format("it expired %d days ago%s", -left // DAY, which)
    elseif left < soon then
      out[#out + 1] = format("it expires in %d days%s", left // DAY, which)
    end
  end
  local order = disorder(list)
  if order then out[#out + 1] = "the chain is out of order: " .. order end
  if found.fits == false then out[#out + 1] = found.why_not end
  if found.why then
    out[#out + 1] = found.why
  elseif options.name and not core.tls_certificate_serves(list[1].der, options.name) then
    out[#out + 1] = "it is not for " .. options.name
  end
  return out
end

-- Saying it --------------------------------------------------------------------

local function lines_of(each, out)
  local function line(name, value)
    if value ~= "" then out[#out + 1] = format("  %-12s %s\n", name, value) end
  end
  local left = each.not_after - core.time()
  line("subject", plain(each.subject))
  line("names", plain(concat(each.names, ", ")))
  line("emails", plain(concat(each.emails, ", ")))
  line("uris", plain(concat(each.uris, ", ")))
  line("issuer", plain(each.issuer) .. (each.self_signed and " (itself)" or ""))
  line("valid", format("%s to %s UTC (%s)", date("!%Y-%m-%d %H:%M:%S", each.not_before),
    date("!%Y-%m-%d %H:%M:%S", each.not_after),
    (left < 0 and "expired") or (each.not_before > core.time() and "not yet")
      or format("%d days more", left // DAY)))
  line("key", each.key)
  line("signature", each.signature)
  line("usage", concat(each.usage, ", "))
  line("authority", each.authority and "yes" or "no")
  line("serial", each.serial)
  line("SHA-256", certificate.show_fingerprint(each.fingerprint))
end

function show.show(words, options)
  local found = source(words, options)
  local list, out = found.list, {}
  for i, each in ipairs(list) do
    out[#out + 1] = format("certificate %d of %d\n", i, #list)
    lines_of(each, out)
  end
  if #list > 1 then
    out[#out + 1] = format("chain          %s\n", disorder(list) or "in order")
  end
  if found.fits ~= nil then
    out[#out + 1] = format("key            %s\n", found.fits and "belongs to it" or found.why_not)
  end
  if found.session then
    out[#out + 1] = format("connection     TLS %s, %s\n", found.session.version, found.session.cipher)
    out[#out + 1] = format("trusted        %s\n", found.trusted and "yes" or "no: " .. plain(found.why))
  end
  if options.name then
    out[#out + 1] = format("for %s: %s\n", options.name,
      core.tls_certificate_serves(list[1].der, options.name) and "yes" or "no")
  end
  return concat(out), found.fits == false and 1 or 0
end

function show.fingerprint(words)
  if #words ~= 1 then wrong "which? one FILE is wanted" end
  return certificate.show_fingerprint(load(words[1]).list[1].fingerprint) .. "\n"
end

function show.check(words, options)
  local found = source(words, options)
  local wrongs = complaints(found, options)
  if #wrongs > 0 then fail("%s: %s", words[1], plain(concat(wrongs, "; "))) end
  return format("%s: good for %d days more\n", words[1],
    (found.list[1].not_after - core.time()) // DAY)
end

return show
