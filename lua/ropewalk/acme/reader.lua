-- SPDX-License-Identifier: MIT
-- Reads one HTTP/1.1 response, strictly and within bounds: what is ambiguous
-- (two lengths, a length and chunks, folded fields) is refused.

local Object = require "ropewalk.class"
local Failure = require "ropewalk.failure"
local core = require "ropewalk.core"

local error, tonumber = error, tonumber
local concat = table.concat
local find, format, gmatch, lower, match, sub =
  string.find, string.format, string.gmatch, string.lower, string.match, string.sub

local _ENV <const> = nil

---@class ropewalk.acme.Reader
---@field response? table { status, headers, body } once it is whole
local Reader = Object:extend "Reader"

local MAX_HEAD <const> = 32 * 1024
local MAX_LINE <const> = 1024 -- of a chunk's size, with its extensions
local MAX_INTERIM <const> = 8 -- responses 1xx

local function bad(...) error(Failure.new("bad_answer", format(...)), 0) end

---@param head_only boolean the answer to HEAD
---@param max integer bytes of the body
function Reader:init(head_only, max)
  self.head_only, self.max = head_only, max
  self.text, self.at = "", 1 -- what is not read yet: the text from there on
  self.held = { size = 0, seam = "" }
  self.pieces, self.size = {}, 0
  self.state, self.left, self.interim = "head", 0, 0
end

local function read_fields(text)
  local headers = {}
  for line in gmatch(text, "([^\n]*)\n") do
    local name, value = match(sub(line, 1, -2), "^([^:]+):[ \t]*(.*)$")
    value = name and match(value, "^.*[^ \t]") or ""
    if sub(line, -1) ~= "\r" or not name or not core.is_token(name) or find(value, "[%z\r]") then
      bad "a header field is malformed"
    end
    name = lower(name)
    if headers[name] and name == "content-length" and headers[name] ~= value then
      bad "there are two lengths"
    end
    headers[name] = headers[name] and name ~= "content-length" and headers[name] .. ", " .. value
      or value
  end
  return headers
end

local function finish(self)
  self.state = "done"
  self.response = { status = self.status, headers = self.headers, body = concat(self.pieces) }
end

local function begin_body(self)
  local headers, status = self.headers, self.status
  local coding, length = headers["transfer-encoding"], headers["content-length"]
  if self.head_only or status == 204 or status == 304 then return finish(self) end
  if coding then
    if lower(coding) ~= "chunked" or length then bad "the length of the body is not clear" end
    self.state = "size"
  elseif length then
    if not find(length, "^%d+$") or #length > 15 then bad "the length is no number" end
    self.left, self.state = tonumber(length), "body"
    if self.left > self.max then bad("the body is longer than %d bytes", self.max) end
    if self.left == 0 then return finish(self) end
  else
    self.state = "rest" -- until the connection ends
  end
end

local function keep(self, bytes)
  self.size = self.size + #bytes
  if self.size > self.max then bad("the body is longer than %d bytes", self.max) end
  self.pieces[#self.pieces + 1] = bytes
end

-- A line without its end, or nil: it is not whole yet.
local function take_line(self, max)
  local stop = find(self.text, "\r\n", self.at, true)
  if (stop or #self.text) - self.at >= max then bad "a line is too long" end
  if not stop then return nil end
  local line = sub(self.text, self.at, stop - 1)
  self.at = stop + 2
  return line
end

-- At most so many bytes.
local function take_bytes(self, most)
  local bytes = sub(self.text, self.at, self.at + most - 1)
  self.at = self.at + #bytes
  return bytes
end

-- One step per state; false: more bytes are needed.
local steps = {}

function steps.head(self)
  local stop = find(self.text, "\r\n\r\n", self.at, true)
  if (stop or #self.text) - self.at >= MAX_HEAD then bad("the head is longer than %d bytes", MAX_HEAD) end
  if not stop then return false end
  local line, fields = match(sub(self.text, self.at, stop + 1), "^([^\r\n]*)\r\n(.*)$")
  local status = match(line or "", "^HTTP/1%.[01] (%d%d%d)%f[ %z]")
  if not status then bad "this is no HTTP response" end
  self.at = stop + 4
  self.status, self.headers = tonumber(status), read_fields(fields)
  if self.status >= 200 then
    begin_body(self)
    return true
  end
  self.interim = self.interim + 1
  if self.status == 101 or self.interim > MAX_INTERIM then bad "an interim response too many" end
  return true
end

function steps.body(self)
  local bytes = take_bytes(self, self.left)
  if bytes == "" then return false end
  self.left = self.left - #bytes
  keep(self, bytes)
  if self.left == 0 then finish(self) end
  return true
end

function steps.size(self)
  local line = take_line(self, MAX_LINE)
  if not line then return false end
  local digits = match(line, "^(%x+)[ \t]*$") or match(line, "^(%x+)[ \t]*;")
  if not digits or #digits > 8 then bad "the size of a chunk is malformed" end
  self.left = tonumber(digits, 16)
  self.state = self.left == 0 and "trailer" or "chunk"
  self.trailer = 0
  return true
end

function steps.chunk(self)
  local bytes = take_bytes(self, self.left)
  if bytes == "" then return false end
  self.left = self.left - #bytes
  keep(self, bytes)
  if self.left == 0 then self.state = "chunk_end" end
  return true
end

function steps.chunk_end(self)
  if #self.text <= self.at then return false end
  if take_bytes(self, 2) ~= "\r\n" then bad "a chunk is longer than it says" end
  self.state = "size"
  return true
end

function steps.trailer(self)
  local line = take_line(self, MAX_LINE)
  if not line then return false end
  self.trailer = self.trailer + #line
  if self.trailer > MAX_HEAD then bad "the trailer is too long" end
  if line == "" then finish(self) end
  return true
end

function steps.rest(self)
  local bytes = take_bytes(self, #self.text)
  if bytes == "" then return false end
  keep(self, bytes)
  return true
end

function steps.done() return false end

-- Pieces of a head are put together once, when its end has come: all of them, or nil.
local function hold(self, bytes)
  local held = self.held
  held[#held + 1], held.size = bytes, held.size + #bytes
  local seam = held.seam .. bytes
  held.seam = sub(seam, -3)
  if held.size <= MAX_HEAD and not find(seam, "\r\n\r\n", 1, true) then return nil end
  self.held = { size = 0, seam = "" }
  return concat(held)
end

---Bytes came; raises a Failure when it is no proper response.
function Reader:feed(bytes)
  if self.state == "head" then
    bytes = hold(self, bytes)
    if not bytes then return end
  end
  self.text, self.at = self.text .. bytes, 1
  while steps[self.state](self) do end -- luacheck: ignore 542
  bytes, self.text = sub(self.text, self.at), ""
  if self.state == "head" then hold(self, bytes) -- behind an interim response
  else self.text = bytes end
end

---The connection has ended, as it should or not.
function Reader:finish(clean)
  if self.state == "rest" and clean then return finish(self) end
  if self.state ~= "done" then bad "the connection ended in the middle of the answer" end
end

return Reader
