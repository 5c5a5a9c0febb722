-- SPDX-License-Identifier: MIT
-- What an ACME authority answers: the response, which does not depend on how it
-- was cut, what its fields, problem documents and URLs say. Whatever comes, the
-- only thing that is raised is a Failure.

local Failure = require "ropewalk.failure"
local Reader = require "ropewalk.acme.reader"
local answer = require "ropewalk.acme.answer"
local http = require "ropewalk.acme.http"
local property = require "property"

local must, same = property.check, property.same

local MAX_BODY <const> = 20000

local function is_failure(e) return Failure.is_failure(e) and type(e.code) == "string" end

local function read(next_piece, head_only)
  local reader = Reader(head_only, MAX_BODY)
  for piece in next_piece do
    reader:feed(piece)
    if reader.response then return reader.response end
  end
  reader:finish(true)
  return reader.response
end

local function look_at_url(url)
  local parts, failure = http.parse_url(url)
  if not parts then return must(is_failure(failure), "no failure") end
  must(parts.port >= 1 and parts.port <= 65535 and #parts.host > 0, "no place to go to")
  must(parts.target:sub(1, 1) == "/" and not parts.target:find "[%s%c#]", "a target that cannot be sent")
  must(not parts.authority:find "[%s%c/@]", "an authority that cannot be sent")
  local again = http.parse_url((parts.secure and "https://" or "http://") .. parts.authority .. parts.target)
  must(same(parts, again), "read as another one")
end

local function look_at_body(response)
  local object = property.attempt(is_failure, answer.json, response, "it")
  if object then
    local location = property.attempt(is_failure, answer.url, object, "newNonce", "it")
    must(not location or http.parse_url(location), "a URL that is none")
  end
  local failure = answer.failure(response, "it")
  must(is_failure(failure) and #failure.message < 1000, "no failure")
  must(not failure.message:find "[%c]", "a message of several lines")
  local seconds = failure.retry_after
  must(seconds == nil or (seconds >= 0 and seconds <= 7 * 86400), "when again?")
end

local function look_at_response(response, head_only)
  must(response.status >= 200 and response.status <= 999 and #response.body <= MAX_BODY, "out of bounds")
  must(not head_only or response.body == "", "a body where there is none")
  for name, value in pairs(response.headers) do
    must(not name:find "[%u%s%c:]" and not value:find "[%z\r\n]", "a field that is none")
  end
  look_at_body(response)
end

return function(bytes)
  local where, text = property.byte(bytes)
  if where == 85 then return look_at_url(text) end -- "U"
  local head_only = where % 16 == 1
  local results = property.cuts(text, where, function(next_piece)
    return property.attempt(is_failure, read, next_piece, head_only)
  end)
  for i = 2, #results do
    must(same(results[1][1], results[i][1]), "the cuts change it")
    must(not results[1][2] == not results[i][2], "refused or not?")
  end
  if results[1][1] then look_at_response(results[1][1], head_only) end
end
