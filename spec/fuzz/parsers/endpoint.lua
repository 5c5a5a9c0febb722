-- SPDX-License-Identifier: MIT
-- Endpoint strings. What is read is written as a text that is read as the same;
-- words that are escaped are the words again; addresses are what the system's
-- own reader takes for addresses.

local check = require "ropewalk.endpoint.check"
local core = require "ropewalk.core"
local endpoint = require "ropewalk.endpoint"
local grammar = require "ropewalk.endpoint.grammar"
local property = require "property"

local find, match = string.find, string.match
local must, same = property.check, property.same

local function read(text)
  local at, failure = endpoint.parse(text)
  if not at then
    must(failure.code == "bad_endpoint" and #failure.message > 0, "refused otherwise than said")
    return
  end
  local again, why = endpoint.parse(at.text)
  must(again, "its own text %q is refused: %s", at.text, why)
  must(again.text == at.text, "%q, then %q", at.text, again.text)
  must(same(at, again), "%q is read as another one", at.text)
end

local function split(text)
  local words, options = grammar.split(text)
  if not words then return must(#options > 0, "no reason") end
  local escaped = {}
  for i, word in ipairs(words) do escaped[i] = grammar.escape(word) end
  local again, others = grammar.split(grammar.join(escaped, options))
  must(same(words, again) and same(options, others), "other words")
end

local function address(text)
  local canonical, family, pointer = core.address_parse(text)
  if not find(text, "%", 1, true) then
    must(check.is_ipv4(text) == (family == 4), "IPv4?")
    must(check.is_ipv6(text) == (family == 6), "IPv6?")
  end
  if family then
    local again, _, name = core.address_parse(canonical)
    must(again == canonical and name == pointer, "another address")
  end
  local host = check.host(text)
  must(not host or check.host(host) == host, "another host")
  local network = check.network(text)
  must(not network or check.network(network) == network, "another network")
  must(not network or core.address_parse(match(network, "^[^/]+")), "a network of no address")
end

return function(bytes)
  read(bytes)
  if #bytes > 1000 then return end
  split(bytes)
  address(bytes)
end
