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

describe("A function for on_finish", function()
  local function told_by(handler, head)
    local site, told = web.Site(), {}
    site:get("/", function(r) return handler(r, function(code) told[#told + 1] = code or "complete" end) end)
    site:get("/next", function() return "next" end)
    local peer = serve(site)()
    peer.transport:write(head or request "/")
    return told, peer
  end

  it("may add others, which are called, too", function()
    local told, peer = told_by(function(r, tell)
      r:on_finish(function(code)
        tell(code)
        r:on_finish(tell)
      end)
      return "first"
    end)
    peer.transport:write(request "/next")
    eventually(function() return peer.text:find "next" end)
    assert.same({ "complete", "complete" }, told)
    peer:finish()
  end)

  it("hears of an upgrade as of an end, not of a loss", function()
    local told, peer = told_by(function(r, tell)
      r:on_finish(tell)
      r:upgrade("echo", {}, rw.Factory:for_protocol(rw.Protocol))
    end, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
    eventually(function() return told[1] end)
    assert.same({ "complete" }, told)
    peer:finish()
  end)

  it("hears that an answer was cut off", function()
    local told, peer = told_by(function(r, tell)
      r:on_finish(tell)
      r:start(200, {})
      r:write "half of it"
      r:close()
    end)
    peer.ended:await()
    assert.same({ "RW_EABORTED" }, told)
  end)
end)

describe("An upgrade", function()
  it("goes to a protocol that the peer has offered, and to no other", function()
    local site, wanted, raised = web.Site(), nil, nil
    site:get("/", function(r)
      local ok, why = pcall(r.upgrade, r, wanted, {}, rw.Factory:for_protocol(rw.Protocol))
      raised = why
      return not ok and "refused" or nil
    end)
    local connect = serve(site)
    local function ask(protocol, offers)
      wanted, raised = protocol, nil
      local peer = connect()
      peer.transport:write("GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\n" .. offers .. "\r\n")
      eventually(function() return peer.text:find "\r\n\r\n" end)
      local status = peer.text:match "^HTTP/1.1 (%d+)"
      peer:finish()
      return status
    end
    assert.equal("200", ask("echo", "Upgrade: other\r\n"))
    assert.matches("the peer has not offered 'echo'", raised)
    assert.equal("200", ask("echo", "Upgrade: echo/2\r\n"))
    assert.equal("200", ask("echo, more", "Upgrade: echo\r\n"))
    assert.equal("200", ask("echo", ""))
    assert.equal("101", ask("echo", "Upgrade: a, ECHO ,b\r\n"))
    assert.equal("101", ask("echo", "Upgrade: a\r\nUpgrade: echo\r\n"))
    assert.equal("101", ask("echo, more", "Upgrade: more, echo\r\n"))
  end)
end)

describe("A handler's results", function()
  it("may be many", function()
    local site = web.Site()
    site:get("/", function() return 201, "made", { A = "b" }, table.unpack({}, 1, 200) end)
    local peer = serve(site)()
    peer.transport:write(request "/")
    eventually(function() return peer.text:find "made" end)
    assert.matches("^HTTP/1.1 201", peer.text)
    peer:finish()
  end)
end)

describe("A request", function()
  it("has the cookies of all its Cookie fields", function()
    local site = web.Site()
    site:get("/", function(r) return r.cookies.a .. r.cookies.b .. "|" .. r.headers.cookie .. "|" .. r.headers.x end)
    local peer = serve(site)()
    peer.transport:write("GET / HTTP/1.1\r\nHost: example.test\r\nCookie: a=1\r\nX: 1\r\nCookie: b=2,3\r\nX: 2\r\n\r\n")
    eventually(function() return peer.text:find("12,3|a=1; b=2,3|1, 2", 1, true) end)
    peer:finish()
  end)

  it("tells on_finish whose it was, also when the peer has gone", function()
    local site, port = web.Site()
    site:get("/", function(r)
      r:on_finish(function(reason) port = reason and r.peer.port end)
      rw.sleep(10):await()
    end)
    local peer = serve(site)()
    peer.transport:write(request "/")
    rw.sleep(0.05):await()
    local own = peer.transport.host.port
    peer.transport:abort_connection()
    eventually(function() return port end)
    assert.equal(own, port)
  end)
end)
