-- SPDX-License-Identifier: MIT
--- What an authority for specs (acme_server.lua) checks and makes with other
--- people's programs: openssl and curl.

local core = require "ropewalk.core"
local rw = require "ropewalk"

local checks = { dir = false } -- where files may be put; has ca.pem and ca.key

local SPKI <const> = core.hex_decode "3059301306072a8648ce3d020106082a8648ce3d03010703420004"

local CONFIG <const> = [[
[ca]
default_ca = d
[d]
database = DIR/index.txt
new_certs_dir = DIR
rand_serial = yes
default_md = sha256
policy = p
unique_subject = no
[p]
commonName = optional
]]

local function write(name, text)
  local path = ("%s/%s"):format(checks.dir, name)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
  return path
end

local function run(program, args, input)
  return rw.run_process(program, args, { input = input, timeout = 20 }):await()
end

local counter = 0
local function fresh(suffix)
  counter = counter + 1
  return ("file-%d%s"):format(counter, suffix)
end

--- Prepares a directory.
function checks.begin(dir)
  checks.dir = dir
  write("ca.cnf", (CONFIG:gsub("DIR", dir)))
  write("index.txt", "")
end

-- Signatures ---------------------------------------------------------------------

local function pem(label, der)
  local text = core.base64_encode(der):gsub(("."):rep(64), "%0\n")
  return ("-----BEGIN %s-----\n%s\n-----END %s-----\n"):format(label, text, label)
end

local function der_integer(bytes)
  bytes = bytes:gsub("^\0+", "")
  if bytes == "" or bytes:byte() >= 128 then bytes = "\0" .. bytes end
  return string.char(2, #bytes) .. bytes
end

--- Is this an ES256 signature of the text?
function checks.verify(jwk, text, signature)
  local x, y = core.base64url_decode(jwk.x), core.base64url_decode(jwk.y)
  if #x ~= 32 or #y ~= 32 or #signature ~= 64 then return false end
  local parts = der_integer(signature:sub(1, 32)) .. der_integer(signature:sub(33))
  local key = write(fresh ".pem", pem("PUBLIC KEY", SPKI .. x .. y))
  local file = write(fresh ".sig", string.char(0x30, #parts) .. parts)
  local result = run("openssl", { "dgst", "-sha256", "-verify", key, "-signature", file }, text)
  os.remove(key)
  os.remove(file)
  return result.stdout == "Verified OK\n"
end

--- RFC 7638.
function checks.thumbprint(jwk)
  local text = ('{"crv":"%s","kty":"%s","x":"%s","y":"%s"}'):format(jwk.crv, jwk.kty, jwk.x, jwk.y)
  return core.base64url_encode(run("openssl", { "dgst", "-sha256", "-binary" }, text).stdout)
end

--- HS256, as base64url.
function checks.hmac(key, text)
  local hex = run("openssl", { "dgst", "-sha256", "-mac", "HMAC", "-macopt",
    "hexkey:" .. core.hex_encode(key) }, text).stdout:match "(%x+)\n$"
  return core.base64url_encode(core.hex_decode(hex))
end

-- Challenges ---------------------------------------------------------------------

--- Each gives true, or false and what was found instead.
function checks.http01(name, port, token, thumbprint)
  local result = run("curl", { "-sS", "--max-time", "5", "-H", "Host: " .. name,
    ("http://127.0.0.1:%d/.well-known/acme-challenge/%s"):format(port, token) })
  return result.stdout:gsub("%s+$", "") == token .. "." .. thumbprint,
    "found: " .. result.stdout .. result.stderr
end

function checks.tls_alpn01(name, port, token, thumbprint)
  local result = run("openssl", { "s_client", "-connect", ("127.0.0.1:%d"):format(port),
    "-servername", name, "-alpn", "acme-tls/1" }, "")
  local certificate = result.stdout:match "%-%-%-%-%-BEGIN CERTIFICATE.-END CERTIFICATE%-%-%-%-%-\n"
  if not certificate then return false, result.stdout .. result.stderr end
  if not result.stdout:find("ALPN protocol: acme-tls/1", 1, true) then return false, "another protocol" end
  local names = run("openssl", { "x509", "-noout", "-ext", "subjectAltName" }, certificate).stdout
  if names:match "\n%s*(.-)%s*$" ~= "DNS:" .. name then return false, "for " .. names end
  local tree = run("openssl", { "asn1parse" }, certificate).stdout
  local value = "\n[^\n]*BOOLEAN%s+:255\n[^\n]*HEX DUMP%]:0420(%x+)\n" -- critical; 32 bytes
  local digest = tree:match("OBJECT%s+:[^\n]*[aA][cC][mM][eE] ?Identifier" .. value)
    or tree:match("OBJECT%s+:1%.3%.6%.1%.5%.5%.7%.1%.31" .. value)
  local wanted = run("openssl", { "dgst", "-sha256", "-r" }, token .. "." .. thumbprint).stdout
  return digest and digest:lower() == wanted:match "^%x+", "the digest is " .. tostring(digest)
end

-- Certificates -------------------------------------------------------------------

--- Signs a request (DER) for exactly these names: PEM, or nil and why not.
function checks.issue(names, csr, life, age)
  local wanted = {}
  for i, name in ipairs(names) do wanted[i] = "DNS:" .. name end
  table.sort(wanted)
  wanted = table.concat(wanted, ", ")
  local request = write(fresh ".csr", pem("CERTIFICATE REQUEST", csr))
  local text = run("openssl", { "req", "-in", request, "-noout", "-verify", "-text" })
  if not text.stderr:find("verify OK", 1, true) then return nil, "the request's signature is wrong" end
  local asked = {}
  for name in text.stdout:gmatch "DNS:[^,%s]+" do asked[#asked + 1] = name end
  table.sort(asked)
  if table.concat(asked, ", ") ~= wanted then return nil, "the request is for other names" end
  local cn = text.stdout:match "Subject:[^\n]*CN ?= ?([^\n,]+)"
  if cn and not wanted:find("DNS:" .. cn, 1, true) then return nil, "the common name is another one" end
  local function when(seconds) return os.date("!%Y%m%d%H%M%SZ", os.time() + seconds) end
  local extensions = write("ext", "subjectAltName=" .. wanted .. "\nbasicConstraints=CA:FALSE\n"
    .. "keyUsage=critical,digitalSignature\nextendedKeyUsage=serverAuth\n")
  local dir, out = checks.dir, checks.dir .. "/" .. fresh ".crt"
  local result = run("openssl", { "ca", "-config", dir .. "/ca.cnf", "-batch", "-notext",
    "-cert", dir .. "/ca.pem", "-keyfile", dir .. "/ca.key", "-in", request, "-out", out,
    "-extfile", extensions, "-startdate", when(-(age or 1)), "-enddate", when(life) })
  local file = io.open(out)
  if result.status ~= 0 or not file then return nil, "openssl ca: " .. result.stderr end
  local certificate = file:read "a"
  file:close()
  return certificate
end

return checks
