-- SPDX-License-Identifier: MIT
-- Connections in memory: all as on a real one, but for the network.
local rw = require "ropewalk"
local web = require "ropewalk.web"

describe("rw.testing.pair", function()
  local Echo = rw.LineProtocol:extend "Echo"
  function Echo:line_received(line)
    if line == "boom" then error "boom" end
    if line == "bye" then return self.transport:lose_connection() end
    self:send_line("you said " .. line)
  end

  local Client = rw.Protocol:extend "Client"
  function Client:connection_made() self.got, self.lost = "", rw.Deferred() end
  function Client:data_received(bytes) self.got = self.got .. bytes end
  function Client:connection_lost(reason) self.lost:callback(reason.code) end

  local function connect(server)
    local pair = rw.testing.pair(server, rw.Factory:for_protocol(Client)):await()
    rw.testing.add_cleanup(pair.close, pair)
    return pair
  end

  it("carries bytes both ways, through the engines", function()
    local pair = connect(rw.Factory:for_protocol(Echo))
    pair.client.transport:write "hel"
    pair:pump()
    assert.equal("", pair.client.got)
    pair.client.transport:write "lo\r\nyou\r\n"
    pair:pump()
    assert.equal("you said hello\r\nyou said you\r\n", pair.client.got)
    assert.equal("Echo", pair.server.__name or getmetatable(pair.server).__name)
  end)

  it("carries more than fits at once", function()
    local Raw = rw.Protocol:extend "Raw"
    function Raw:data_received(bytes) self.transport:write(bytes) end
    local pair = connect(rw.Factory:for_protocol(Raw))
    local big = ("0123456789abcdef"):rep(65536)
    pair.client.transport:write(big)
    pair:pump()
    assert.equal(#big, #pair.client.got)
    assert.equal(big, pair.client.got)
  end)

  it("ends on both sides when one loses it", function()
    local pair = connect(rw.Factory:for_protocol(Echo))
    pair.client.transport:write "bye\r\n"
    assert.equal("done", pair.client.lost:await())
  end)

  it("costs only itself when a hook raises", function()
    local pair = connect(rw.Factory:for_protocol(Echo))
    pair.client.transport:write "boom\r\n"
    pair.client.lost:await()
    assert.equal(1, #rw.testing.flush_logged_errors "boom")
  end)

  it("serves a site", function()
    local site = web.Site()
    site:get("/:name", function(request) return "hello " .. request.params.name .. "\n" end)
    local pair = connect(site)
    pair.client.transport:write "GET /you HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n"
    pair.client.lost:await()
    assert.matches("^HTTP/1.1 200 OK\r\n", pair.client.got)
    assert.matches("\r\n\r\nhello you\n$", pair.client.got)
  end)

  it("serves protocols that are tables of no class, each by what it says", function()
    local seen = {}
    local function told(name) return function(_, bytes) seen[#seen + 1] = name .. bytes end end
    local function nothing() end
    local says = {
      { on_data = told "data " }, { engine = "line", on_line = told "line " },
      { engine = "line", events = { line = "heard" }, heard = told "heard " },
      { engine = "netstring", on_string = told "string " },
    }
    local Plain = rw.Factory:extend "Plain"
    function Plain:build_protocol() -- a new table each time, with nothing to be known by
      local protocol = { make_connection = nothing, connection_lost = nothing }
      for key, value in next, self.says do protocol[key] = value end
      return protocol
    end
    local plain = Plain()
    for _ = 1, 3 do
      for i, sent in ipairs { "a", "b\r\n", "c\r\n", "1:d," } do
        plain.says = says[i]
        local pair = connect(plain)
        pair.client.transport:write(sent)
        pair:pump()
      end
    end
    local once = { "data a", "line b", "heard c", "string d" }
    assert.same({ once[1], once[2], once[3], once[4], once[1], once[2], once[3], once[4],
      once[1], once[2], once[3], once[4] }, seen)
  end)

  it("is refused by a factory that builds nothing", function()
    local Picky = rw.Factory:extend "Picky"
    function Picky:build_protocol() return nil end
    local pair = connect(Picky())
    pair.client.lost:await()
    assert.is_nil(pair.server)
  end)
end)
