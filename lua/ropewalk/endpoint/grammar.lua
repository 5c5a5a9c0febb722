-- SPDX-License-Identifier: MIT
-- The text of endpoints, before anything of it has a meaning:
--
--   PREFIX ":" [ word | key "=" word ] { ":" … }
--
-- A backslash takes the next character as it is; brackets, at the beginning of
-- a word or behind a comma, keep the colons of an IPv6 address together.

local ipairs, pairs = ipairs, pairs
local concat, sort = table.concat, table.sort
local byte, gsub, sub = string.byte, string.gsub, string.sub

local _ENV <const> = nil

local grammar = {}

---Cuts a text into words, and options by their names; or nil and why not.
---@param text string
---@return string[]? words the prefix first
---@return table<string, string>|string options
---@return integer? rest where the text goes on behind the prefix
function grammar.split(text)
  local words, options, rest = {}, {}, nil
  local word, key, bracket, at = {}, nil, false, 1
  while at <= #text + 1 do
    local c = sub(text, at, at)
    local begins = #word == 0 or word[#word] == ","
    if c == "" or (c == ":" and not bracket) then
      local value = concat(word)
      if not key then
        words[#words + 1] = value
      elseif options[key] ~= nil then
        return nil, 'the option "' .. key .. '" is given twice'
      else
        options[key] = value
      end
      rest = rest or at + 1
      word, key = {}, nil
    elseif c == "\\" then
      at = at + 1
      if at > #text then return nil, "a backslash at the end" end
      word[#word + 1] = sub(text, at, at)
    elseif c == "[" and begins and not bracket then
      bracket = true
      word[#word + 1] = "["
    elseif c == "]" and bracket then
      bracket = false
      word[#word + 1] = "]"
    elseif c == "=" and not key and rest and not bracket then
      key, word = concat(word), {}
      if key == "" then return nil, "an option without a name" end
    else
      word[#word + 1] = c
    end
    at = at + 1
  end
  if bracket then return nil, "a bracket without its end" end
  return words, options, rest
end

---Makes a word safe to stand in an endpoint.
---@param word string
---@return string
function grammar.escape(word)
  word = gsub(gsub(word, "[\\:=]", "\\%0"), ",%[", ",\\[")
  return byte(word) == 91 and "\\" .. word or word -- "["
end

---The text again: words as they are, options escaped and in order.
---@param words string[]
---@param options table<string, string>
---@return string
function grammar.join(words, options)
  local parts, keys = {}, {}
  for i, word in ipairs(words) do parts[i] = word end
  for key in pairs(options) do keys[#keys + 1] = key end
  sort(keys)
  for _, key in ipairs(keys) do
    parts[#parts + 1] = grammar.escape(key) .. "=" .. grammar.escape(options[key])
  end
  return concat(parts, ":")
end

return grammar
