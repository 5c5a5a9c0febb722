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
  self.text, self.pieces, self.size = "", {}, 0
  self.state, self.left, self.interim = "head", 0, 0
end

local function read_fields(text)
  local headers = {}
  for line in gmatch(text, "([^\n]*)\n") do
    local name, value = match(line, "^([^:]+):[ \t]*(.*)\r$")
    value = name and match(value, "^.*[^ \t]") or ""
    if not name or not core.is_token(name) or find(value, "[%z\r]") then
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
  local at = find(self.text, "\r\n", 1, true)
  if (at or #self.text) > max then bad "a line is too long" end
  if not at then return nil end
  local line = sub(self.text, 1, at - 1)
  self.text = sub(self.text, at + 2)
  return line
end

-- One step per state; false: more bytes are needed.
local steps = {}

function steps.head(self)
  local stop = find(self.text, "\r\n\r\n", 1, true)
  if (stop or #self.text) > MAX_HEAD then bad("the head is longer than %d bytes", MAX_HEAD) end
  if not stop then return false end
  local line, fields = match(sub(self.text, 1, stop + 1), "^([^\r\n]*)\r\n(.*)$")
  local status = match(line or "", "^HTTP/1%.[01] (%d%d%d)%f[ %z]")
  if not status then bad "this is no HTTP response" end
  self.text = sub(self.text, stop + 4)
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
  local bytes = sub(self.text, 1, self.left)
  if bytes == "" then return false end
  self.text, self.left = sub(self.text, #bytes + 1), self.left - #bytes
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
  local bytes = sub(self.text, 1, self.left)
  if bytes == "" then return false end
  self.text, self.left = sub(self.text, #bytes + 1), self.left - #bytes
  keep(self, bytes)
  if self.left == 0 then self.state = "chunk_end" end
  return true
end

function steps.chunk_end(self)
  if #self.text < 2 then return false end
  if sub(self.text, 1, 2) ~= "\r\n" then bad "a chunk is longer than it says" end
  self.text, self.state = sub(self.text, 3), "size"
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
  if self.text == "" then return false end
  keep(self, self.text)
  self.text = ""
  return true
end

function steps.done() return false end

---Bytes came; raises a Failure when it is no proper response.
function Reader:feed(bytes)
  self.text = self.text .. bytes
  while steps[self.state](self) do end -- luacheck: ignore 542
end

---The connection has ended, as it should or not.
function Reader:finish(clean)
  if self.state == "rest" and clean then return finish(self) end
  if self.state ~= "done" then bad "the connection ended in the middle of the answer" end
end

return Reader
