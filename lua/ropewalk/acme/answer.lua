-- SPDX-License-Identifier: MIT
-- What an authority answers, read with distrust. Of a problem document the last
-- word of its type becomes the code of a Failure ("rateLimited", "badNonce"), and
-- `retry_after` its seconds when the authority has said so.

local Failure = require "ropewalk.failure"
local core = require "ropewalk.core"
local http = require "ropewalk.acme.http"

local error, ipairs, tonumber, type = error, ipairs, tonumber, type
local max, min = math.max, math.min
local find, format, gsub, match, sub =
  string.find, string.format, string.gsub, string.match, string.sub

local _ENV <const> = nil

local answer = {}

local MAX_TEXT <const> = 500 -- bytes of what the authority says, in a message
local MAX_RETRY_AFTER <const> = 7 * 86400

---Raises a Failure.
function answer.fail(code, ...) error(Failure.new(code, format(...)), 0) end
local fail = answer.fail

---A text, or "" for anything else.
function answer.text(value) return type(value) == "string" and value or "" end
local text_of = answer.text

---For messages: short, and on one line.
function answer.clean(text) return (gsub(sub(text_of(text), 1, MAX_TEXT), "[%c\127]", "?")) end
local clean = answer.clean

---The seconds of Retry-After, or nil.
function answer.retry_after(headers)
  local text = headers["retry-after"]
  if not text then return nil end
  local seconds = find(text, "^%d+$") and #text < 12 and tonumber(text)
  if not seconds then
    local at = core.http_date_parse(text)
    seconds = at and at - core.time()
  end
  return seconds and min(max(seconds, 0), MAX_RETRY_AFTER)
end

---The object of a JSON text.
function answer.json(response, what)
  local value, why = core.json_decode(response.body)
  if type(value) ~= "table" then fail("bad_answer", "%s: %s", what, why or "this is no JSON object") end
  return value
end

---A URL in an object that we would go to.
function answer.url(object, field, what)
  local url = object[field]
  if type(url) ~= "string" or #url > 2048 then fail("bad_answer", "%s: %s is no URL", what, field) end
  local parts, failure = http.parse_url(url)
  if not parts then error(failure, 0) end
  return url
end

local function problem_text(problem)
  local parts = text_of(problem.detail)
  for i, each in ipairs(type(problem.subproblems) == "table" and problem.subproblems or {}) do
    if i > 5 or type(each) ~= "table" then break end
    local whose = type(each.identifier) == "table" and text_of(each.identifier.value) or ""
    parts = format("%s; %s: %s", parts, whose, text_of(each.detail))
  end
  return clean(parts)
end

---A problem document (RFC 7807, RFC 8555 §6.7), also one within an order, as a Failure.
function answer.problem(problem, what, status)
  local name = match(text_of(problem.type), "^urn:ietf:params:acme:error:([%w_]+)$") or "problem"
  local failure = Failure.new(name, format("%s: %s (%s)", what, problem_text(problem), name))
  failure.status = status
  return failure
end

---A response that is not what was hoped for, as a Failure.
function answer.failure(response, what)
  local problem = core.json_decode(response.body)
  local failure
  if type(problem) == "table" and problem.type then
    failure = answer.problem(problem, what, response.status)
  else
    failure = Failure.new("bad_answer", format("%s: status %d", what, response.status))
    failure.status = response.status
  end
  failure.retry_after = answer.retry_after(response.headers)
  return failure
end

return answer
