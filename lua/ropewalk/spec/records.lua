-- SPDX-License-Identifier: MIT
-- What busted tells, as plain records, one a test; and errors outside of tests.
--
--   { name, file, line, status = "passed" | "failed" | "skipped", seconds,
--     message, traceback, log, outside = true or nil }

local core = require "ropewalk.core"

local ipairs, tostring, type = ipairs, tostring, type
local concat, insert = table.concat, table.insert
local byte, find, format, gsub, match, sub =
  string.byte, string.find, string.format, string.gsub, string.match, string.sub
local utf8_len = utf8.len

local _ENV <const> = nil

local records = {}

local STATUS <const> = { success = "passed", pending = "skipped" }

local function full_name(busted, element)
  local names = {}
  while element and (element.name or element.descriptor) and element.descriptor ~= "file"
    and element.descriptor ~= "suite" do
    insert(names, 1, element.name or element.descriptor)
    element = busted.context.parent(element)
  end
  return concat(names, " ")
end

local function file_of(busted, element)
  while element do
    if element.descriptor == "file" then return element.name end
    element = busted.context.parent(element)
  end
  return nil
end

-- Of the stack, what is neither ours nor busted's.
local function clean(traceback)
  if not traceback then return nil end
  local lines = {}
  for line in traceback:gmatch "[^\n]+" do
    local place = match(line, "^%s*(%S+:%d+:.*)$")
    if place and not find(place, "/busted/", 1, true) and not find(place, "^ropewalk%.spec")
      and not find(place, "/luassert/", 1, true) and not find(place, "/mediator", 1, true) then
      lines[#lines + 1] = "  " .. place
    end
  end
  return #lines > 0 and concat(lines, "\n") or nil
end

-- Reports are UTF-8, whatever bytes a test has in its name or its error.
local function valid(text)
  local parts, from = {}, 1
  local n, wrong = utf8_len(text)
  while not n do
    insert(parts, sub(text, from, wrong - 1))
    insert(parts, format("\\x%02x", byte(text, wrong)))
    from = wrong + 1
    n, wrong = utf8_len(text, from)
  end
  return #parts == 0 and text or concat(parts) .. sub(text, from)
end

local function describe(busted, element, status)
  local trace = element.trace or {}
  return {
    name = valid(full_name(busted, element)), status = status,
    file = valid(file_of(busted, element) or trace.short_src or "?"),
    line = trace.currentline, seconds = element.duration or 0,
  }
end

local function note(record, message, trace)
  message = valid(type(message) == "string" and message or tostring(message))
  record.message = record.message and record.message .. "\n" .. message or message
  local traceback = clean(trace and trace.traceback)
  record.traceback = record.traceback or traceback and valid(traceback)
end

---@param busted table
---@param emit fun(record: table)
function records.subscribe(busted, emit)
  local trouble = {} -- element → { message, trace }, in order

  local function on_trouble(element, _, message, trace)
    if element.descriptor == "it" then
      local list = trouble[element] or {}
      trouble[element] = list
      insert(list, { message, trace })
    else -- a file that does not load, a describe, setup, before_each
      local record = describe(busted, element, "failed")
      record.outside = true
      note(record, message, trace)
      emit(record)
    end
    return nil, true
  end
  busted.subscribe({ "failure" }, on_trouble)
  busted.subscribe({ "error" }, on_trouble)
  busted.subscribe({ "pending", "it" }, on_trouble)

  busted.subscribe({ "test", "end" }, function(element, _, status)
    local record = describe(busted, element, STATUS[status] or "failed")
    for _, each in ipairs(trouble[element] or {}) do note(record, each[1], each[2]) end
    trouble[element] = nil
    if record.status == "failed" then record.log = valid(element.log or "") end
    emit(record)
    return nil, true
  end)
end

---Something that is wrong with a file, but with no test of it.
---@param file string
---@param name string
---@param message string
function records.outside(file, name, message)
  return { name = name, file = valid(file), status = "failed", outside = true, seconds = 0,
    message = valid(message) }
end

-- Between processes --------------------------------------------------------

local MARK <const> = "\1ropewalk-record "

---As a line for another process.
function records.to_line(record) return MARK .. core.json_encode(record) .. "\n" end

---The last line: how many there were, and the status if something else went wrong.
function records.end_line(totals)
  local count = totals.passed + totals.failed + totals.skipped
  return records.to_line { count = count, status = totals.status or 0 }
end

---The record of a line, or nil: something that a test printed. The last one has a `count`.
function records.from_line(line)
  local text = match(line, "^" .. gsub(MARK, "%-", "%%-") .. "(.*)$")
  return text and core.json_decode(text) or nil
end

return records
