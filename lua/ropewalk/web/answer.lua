-- SPDX-License-Identifier: MIT
--- From what a handler gives back to the bytes of a response.
---
---     "text"               200, text/plain; C sends this one by itself
---     nil                  204, or nothing if the handler has answered itself
---     404                  that status, its reason as text
---     201, "text"          status and text, iterator or response
---     201, "text", { … }   the same, with more header fields
---     function             200, streamed: called for piece after piece
---     web.json(…), …       as it says
---     Deferred             waited for, then any of these

local Deferred = require "ropewalk.deferred"
local Failure = require "ropewalk.failure"
local response = require "ropewalk.web.response"
local status = require "ropewalk.web.status"

local Response, is_response = response.Response, response.is
local error, math, pairs, setmetatable, tostring, type, xpcall =
  error, math, pairs, setmetatable, tostring, type, xpcall
local _ENV <const> = nil

local answer = {}

--- Raised by `write` when the peer is gone: unwinds the handler, quietly.
local GONE = setmetatable({}, { __tostring = function() return "the peer is gone" end })

--- For errors on their way through: responses stay, the rest gets a traceback.
local function keep(e)
  if e == GONE or is_response(e) then return e end
  return Failure.caught(e)
end

local resolve

local function with_status(code, body)
  if body == nil then
    if code == 204 or code == 304 then return response.response(code) end
    return response.text((status[code] or tostring(code)) .. "\n", code)
  end
  if type(body) == "string" then return response.text(body, code) end
  local made = resolve(body)
  made.status = code
  return made
end

local function with_headers(made, headers)
  if headers == nil then return made end
  if type(headers) ~= "table" then
    error("behind status and body a handler returned a " .. type(headers)
      .. "; header fields are a table", 0)
  end
  for name, value in pairs(headers) do made:header(name, value) end
  return made
end

--- The response that results mean.
---@param result any
---@param second any
---@param third any
---@return ropewalk.web.Response
function resolve(result, second, third)
  local kind = type(result)
  if kind == "string" then return response.text(result) end
  if kind == "nil" then return response.response(204) end
  if is_response(result) then return result end
  if math.type(result) == "integer" then return with_headers(with_status(result, second), third) end
  if kind == "function" then
    local made = response.text("")
    made.body = result
    return made
  end
  if kind == "userdata" and Deferred.is(result) then
    return resolve(result:await())
  end
  error("a handler returned a " .. kind .. (kind == "table" and
    "; a table becomes an answer by web.json(t)" or ""), 0)
end
answer.resolve = resolve

--- Calls a handler for middleware: its response, whether it was returned or
--- thrown. Other errors pass.
---@param handler function
---@param request table
---@return ropewalk.web.Response
function answer.call(handler, request)
  local function finish(ok, result, second, third)
    if ok then
      if result == nil and request.started then
        return setmetatable({ status = 200, headers = {}, sent = true }, Response)
      end
      return resolve(result, second, third)
    end
    -- behind a beginning it would make half an answer look whole
    if is_response(result) and not request.started then return result end
    error(result, 0)
  end
  return finish(xpcall(handler, keep, request))
end

local function writer(request)
  return function(bytes)
    if type(bytes) == "number" then bytes = tostring(bytes) end
    if type(bytes) ~= "string" then
      error("a piece of a body is a string, not a " .. type(bytes), 2)
    end
    if bytes ~= "" and not request:write(bytes) then error(GONE, 0) end
  end
end

local function produce(request, made)
  if made.producer then
    if made.producer(request) == false then error(GONE, 0) end
    return
  end
  local write = writer(request)
  if made.writer then return made.writer(write, request) end
  for piece in made.body do write(piece) end
end

--- Sends a response; returns when it has been handed over.
---@param request table
---@param made ropewalk.web.Response
function answer.send(request, made)
  if request.started then
    if not request.finished then request:finish() end
    return
  end
  local body = made.body
  if type(body) ~= "function" and not made.producer and not made.writer then
    request:respond(made.status, made.headers, body or "")
    return
  end
  request:start(made.status, made.headers, made.length)
  if request.method ~= "HEAD" then
    local ok, e = xpcall(produce, keep, request, made)
    if not ok then
      if e == GONE then return end
      error(e, 0)
    end
  end
  request:finish()
end

--- What C calls with a handler's results.
---@param request table
---@param result any
---@param second any
---@param third any
function answer.answer(request, result, second, third)
  if result == nil and request.started then
    if not request.finished then request:finish() end
    return
  end
  answer.send(request, resolve(result, second, third))
end

--- The response inside a failure, or nil.
---@param failure any
---@return ropewalk.web.Response|nil
function answer.response_in(failure)
  if is_response(failure) then return failure end
  if type(failure) ~= "table" then return nil end
  local value = failure.value
  if is_response(value) then return value end
end

return answer
