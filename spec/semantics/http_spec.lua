-- SPDX-License-Identifier: MIT
-- What user code depends on, one sentence a test: HTTP, over real sockets.
local rw = require "ropewalk"
local web = require "ropewalk.web"
local Peer = require "spec.support.peer"
local eventually, testing = Peer.eventually, rw.testing

local function serve(site, options)
  local port = rw.listen("tcp:127.0.0.1:0" .. (options or ""), site):await()
  testing.add_cleanup(function() port:close():await() end)
  return function() return Peer.connect(port) end
end

local function request(path) return "GET " .. path .. " HTTP/1.1\r\nHost: example.test\r\n\r\n" end

describe("Requests that come while a response is still on its way", function()
  it("are queued and answered in order; of them no more than a buffer is read", function()
    local site, gate, seen = web.Site(), rw.Deferred(), {}
    site:get("/slow", function() gate:await() return "slow." end)
    site:get("/fast/:n", function(r)
      seen[#seen + 1] = r.params.n
      return r.params.n .. "."
    end)
    local connect = serve(site)
    local peer = connect()
    peer.transport:write(request "/slow" .. request "/fast/1" .. request "/fast/2")
    local many = request "/fast/3":rep(300000) -- 13 MB: more than the kernel takes
    peer.transport:write(many)
    rw.sleep(0.1):await()
    assert.same({}, seen)
    assert.is_true(peer.transport.buffered > 1000000)
    gate:callback()
    eventually(function() return peer.text:find("2.", 1, true) end)
    local slow, one = peer.text:find("slow.", 1, true), peer.text:find("\n1.", 1, true)
    local two = peer.text:find("\n2.", 1, true)
    assert.is_true(slow < one and one < two)
    peer:finish()
  end)
end)

describe("Idle timers", function()
  it("stand still while the server itself is the slow side", function()
    local site = web.Site()
    site:get("/", function()
      rw.sleep(0.4):await()
      return "late"
    end)
    local connect = serve(site, ":idle_timeout=100:head_timeout=100:body_timeout=100")
    local peer = connect()
    peer.transport:write(request "/")
    eventually(function() return peer.text:find "late$" end)
    assert.is_false(peer.ended:called())
    peer.ended:await() -- and go on when it is the peer's turn
    testing.flush_logged_errors()
  end)
end)

describe("on_finish", function()
  it("is told nil after the response is complete, and a code when the client goes away; what is "
    .. "written then is ignored, by name", function()
    local site, told = web.Site(), {}
    site:get("/ok", function(r)
      r:on_finish(function(code) told[#told + 1] = code or "complete" end)
      return "ok"
    end)
    site:get("/gone", function(r)
      r:on_finish(function(code)
        told[#told + 1] = code and "gone"
        local ok, why = r:write "late"
        told[#told + 1] = tostring(ok) .. " " .. tostring(why)
        ok, why = r:finish()
        told[#told + 1] = tostring(ok) .. " " .. tostring(why)
      end)
      r:start(200, {})
      r:write "begun"
      rw.sleep(60):await()
    end)
    local connect = serve(site)
    local peer = connect()
    peer.transport:write(request "/ok")
    eventually(function() return told[1] end)
    peer:finish()
    peer = connect()
    peer.transport:write(request "/gone")
    eventually(function() return peer.text:find "begun" end)
    peer:finish()
    eventually(function() return told[4] end)
    assert.same({ "complete", "gone", "nil RW_ECLOSED", "nil RW_ECLOSED" }, told)
  end)
end)
