-- SPDX-License-Identifier: MIT
-- `ropewalk cert self`, `ca`, `issue` and `csr`: what makes files.

local arguments = require "ropewalk.cert.arguments"
local certificate = require "ropewalk.certificate"
local files = require "ropewalk.cert.files"

local ipairs = ipairs
local unpack = table.unpack
local find, format, gsub, sub = string.find, string.format, string.gsub, string.sub

local _ENV <const> = nil

local make = {}

local fail, wrong = files.fail, arguments.wrong

local function good(value, failure)
  if value then return value, failure end
  return fail("%s", failure.message)
end

-- DIR or FILE → the authority's certificate and key.
local function authority(path)
  local cert = find(path, "%.pem$") and path or path .. "/ca.pem"
  return { certificate = files.read(cert), key = files.read(sub(cert, 1, -5) .. ".key") }
end

-- Those between a leaf and its root go with the leaf.
local function intermediates(text)
  local chain = ""
  for _, each in ipairs(good(certificate.read(text))) do
    if each.self_signed then break end
    chain = chain .. certificate.to_pem("CERTIFICATE", each.der)
  end
  return chain
end

local function subject_of(options)
  if options.subject and options.user then wrong "--subject and --user are two" end
  if options.user then return "CN=" .. gsub(options.user, '[,+"\\<>;=]', "\\%0") end
  return options.subject
end

-- Where the key goes; nil: it was given, and stays where it is.
local function place(options, stem)
  local dir = options.dir
  if dir and (options["out-cert"] or options["out-key"] or options.out) then
    wrong "--dir is for both files; --out… names one"
  end
  local base = (dir and files.directory(dir) .. "/" or "") .. stem
  local cert = options["out-cert"] or options.out or base .. (options.request and ".csr" or ".pem")
  local key = not options.key and (options["out-key"] or base .. ".key") or nil
  if options.key and options["out-key"] then wrong "--key is there already, --out-key is for a new one" end
  if cert == key then wrong("%s for both the certificate and its key", cert) end
  files.must_be_free(cert, options.force)
  if key then files.must_be_free(key, options.force) end
  return cert, key
end

-- The key first: a certificate without one is worse than none.
local function write(options, cert_path, text, key_path, key)
  if key_path then
    files.write(key_path, key, { private = true, force = options.force })
  end
  files.write(cert_path, text, { force = options.force })
  return format("%s%s\n", key_path and key_path .. "\n" or "", cert_path)
end

local function leaf(words, options, ca)
  local names = { unpack(words) }
  if not options.client and (options.email or options.user) then
    wrong "--email and --user are for --client"
  end
  for _, address in ipairs(options.email or {}) do names[#names + 1] = address end
  local subject = subject_of(options)
  if #names == 0 and not (options.client and subject) then
    wrong("for whom? NAME%s is missing", options.client and ", --user or --email" or "")
  end
  local cert_path, key_path = place(options, files.stem(words[1] or options.user or names[1] or "client"))
  local made = good(certificate.issue {
    names = names, subject = subject, days = options.days, client = options.client, ca = ca,
    key = options.key and files.read(options.key), kind = options.type,
  })
  local text = made.certificate .. (ca and intermediates(ca.certificate) or "")
  return write(options, cert_path, text, key_path, made.key)
end

function make.self(words, options) return leaf(words, options) end

function make.issue(words, options)
  if not options.ca then wrong "whose? --ca DIR is missing (`cert ca` makes one)" end
  return leaf(words, options, authority(options.ca))
end

function make.ca(words, options)
  if #words > 0 then wrong("ca takes no name, but --subject, not %s", words[1]) end
  local cert_path, key_path = place(options, "ca")
  local made = good(certificate.issue {
    subject = options.subject or "CN=Local Development Authority", authority = true,
    days = options.days, kind = options.type, key = options.key and files.read(options.key),
  })
  return write(options, cert_path, made.certificate, key_path, made.key)
end

function make.csr(words, options)
  if #words == 0 then wrong "for whom? NAME is missing" end
  options.request = true
  local request_path, key_path = place(options, files.stem(words[1]))
  local key = options.key and files.read(options.key) or certificate.make_key(options.type)
  local pem = good(certificate.request(words, key))
  return write(options, request_path, pem, key_path, key)
end

return make
