-- SPDX-License-Identifier: MIT
-- Scripts that misbehave: each costs only what it worked for.
local e2e = require "spec.support.e2e"

local SITE <const> = [[
local site = web.Site()
site:get("/", function() return "ok\n" end)
%s
return rw.server("tcp:127.0.0.1:0", site)]]

describe("A handler #alone", function()
  local child
  after_each(e2e.finish)

  local function start(handlers, ...)
    child = e2e.start(SITE:format((handlers:gsub("%%", "%%%%"))), { args = { ... } })
  end

  -- GET path, while others ask: the answer is a 500 within the time, and nobody
  -- else waits for long.
  local function costs_only_itself(path, seconds)
    e2e.talk(child, ([[
      done, spent, count = [], [], []
      def ask(_):
          with Client() as c:
              while not done:
                  began = time.time()
                  expect(c.ask("/").body, b"ok\n")
                  spent.append(time.time() - began)
                  time.sleep(0.002)
      def bad():
          time.sleep(0.05)
          began = time.time()
          try:
              with Client() as c:
                  r = c.ask("%s")
                  expect(r.status, 500)
                  expect(r.body, b"Internal Server Error\n")
          finally:
              done.append(time.time() - began)
      parallel(4, lambda i: bad() if i == 0 else ask(i))
      expect_below(done[0], %f * SLOW, "the answer")
      spent.sort()
      expect_below(spent[len(spent) // 2], 0.03 * SLOW, "half of the others' times")
      expect_below(spent[-1], 0.15 * SLOW, "the longest of the others' times")
      expect_below(20, len(spent), "")
    ]]):format(path, seconds))
  end

  local function logged(...)
    local log = child:log()
    for _, text in ipairs { ... } do
      assert.truthy(log:find(text, 1, true), text .. " is not in\n" .. log)
    end
  end

  it("that loops for ever delays nobody, is stopped, and shows where", function()
    start([[
site:get("/loop", function()
  while true do end
end)]], "--limit", "script_budget=300")
    costs_only_itself("/loop", 2)
    logged("script budget exceeded", "limit script_budget", "/app.lua:4: in function",
      "stack traceback")
  end)

  it("that computes for long, but less than its budget, comes to its end", function()
    start([[
site:get("/compute", function()
  local n, till = 0, os.clock() + 0.2
  while os.clock() < till do n = n + 1 end
  return "computed\n"
end)]])
    assert.equal("computed\n", child:get("/compute").body)
  end)

  for place, body in pairs {
    ["pcall"] = "while true do pcall(loop) end",
    ["a message handler"] = "xpcall(loop, loop)",
    ["one message handler after the other"] = "while true do xpcall(error, loop) end",
    ["coroutines"] = "while true do coroutine.wrap(function() pcall(loop) end)() end",
    ["a coroutine in a coroutine"] =
      "coroutine.wrap(function() coroutine.wrap(function() pcall(loop) loop() end)() end)()",
    ["a metamethod"] = "return setmetatable({}, { __index = loop }).x",
    ["a closed variable"] = "local x <close> = setmetatable({}, { __close = loop }) error 'first'",
    ["a coroutine that is closed"] = [[
local co = coroutine.create(function()
  local x <close> = setmetatable({}, { __close = loop })
  coroutine.yield()
end)
coroutine.resume(co)
coroutine.close(co)]],
    ["tostring"] = "error(setmetatable({}, { __tostring = loop }))",
    ["a finalizer"] = "setmetatable({}, { __gc = loop }) collectgarbage() loop()",
    ["the finalizer of a class"] = 'rw.Object:extend("C", { __gc = loop })() collectgarbage() loop()',
    ["load"] = "while true do load(loop) end",
    ["waits that never end at once"] = "while true do rw.sleep(0):await() pcall(loop) end",
  } do
    it("cannot hide its loop in " .. place, function()
      start(("local function loop() while true do end end\nsite:get('/bad', function() %s end)")
        :format(body), "--limit", "script_budget=200")
      assert.equal(500, child:get("/bad", "--max-time", "5").status)
      assert.equal("ok\n", child:get("/", "--max-time", "5").body)
    end)
  end

  it("is stopped in the callbacks of gsub and sort, too", function()
    start([[
local function loop() while true do end end
site:get("/gsub", function() return (("x"):gsub("x", loop)) end)
site:get("/sort", function() table.sort({ 1, 2, 3 }, loop) end)
site:get("/hidden", function() while true do pcall(string.gsub, "x", "x", loop) end end)]],
      "--limit", "script_budget=300")
    for _, path in ipairs { "/gsub", "/sort", "/hidden" } do costs_only_itself(path, 2) end
  end)

  it("that wants too much memory gets an error", function()
    start([[
site:get("/rep", function() return ("x"):rep(10000000000) end)
site:get("/concat", function()
  local s = "x"
  while true do s = s .. s end
end)
site:get("/table", function()
  local t = {}
  while true do t[#t + 1] = { #t } end
end)
site:get("/pcall", function()
  local t = {}
  while true do pcall(function() t[#t + 1] = ("x"):rep(1000000) .. #t end) end
end)]], "--limit", "script_memory=50000000", "--limit", "script_budget=2000")
    for _, path in ipairs { "/rep", "/concat", "/table", "/pcall" } do
      assert.same({ path, 500 }, { path, child:get(path).status })
      for _ = 1, 20 do assert.equal("ok\n", child:get("/").body) end
    end
    logged("not enough memory")
    if not e2e.sanitized then assert.is_true(child:resident() < 150000, child:resident()) end
  end)

  it("that fails costs a 500, with the traceback in the log only", function()
    start([[
local function inner() error "something private" end
site:get("/fail", function() local x = inner() return x end)
site:get("/nil", function() local t; return t.x end)
site:get("/table", function() error { code = 5 } end)
site:get("/late", function(request)
  request:start(200, {}, 10)
  request:write "half"
  rw.sleep(0.02):await()
  error "late"
end)]])
    for _, path in ipairs { "/fail", "/nil", "/table" } do
      assert.same({ 500, "Internal Server Error\n" },
        { child:get(path).status, child:get(path).body })
    end
    logged("/app.lua:3: something private", "in upvalue 'inner'", "/app.lua:4: in function",
      "/app.lua:5: attempt to index a nil value (local 't')")
    e2e.talk(child, [[
      c = Client().get("/late").get("/")
      c.until("half")
      c.ended() # not a short answer that looks whole
    ]])
    logged "late"
    assert.equal("ok\n", child:get("/").body)
  end)

  it("reaches the end of a peer that goes away: its wait is over", function()
    start([[
site:get("/wait", function()
  local guard <close> = setmetatable({}, { __close = function() rw.log.info "closed up" end })
  rw.Deferred():await()
end)]])
    e2e.talk(child, [[
      c = Client().get("/wait")
      time.sleep(0.1)
      c.reset()
      wait(lambda: "closed up" in log())
    ]])
  end)
end)

describe("A hook", function()
  local child
  after_each(e2e.finish)

  local function start(base, methods, ...)
    child = e2e.start(([[
local P = rw.%s:extend "P"
%s
return rw.server("tcp:127.0.0.1:0", rw.Factory:for_protocol(P))]]):format(base, methods),
      { args = { ... } })
  end

  it("that fails closes its connection only, and connection_lost tells why", function()
    start("LineProtocol", [[
function P:line_received(line)
  if line == "bad" then error "bad line" end
  self:send_line("echo " .. line)
end
function P:connection_lost(reason) rw.log.info("lost: " .. tostring(reason)) end]])
    e2e.talk(child, [[
      good, bad = Client(), Client()
      expect(good.send("1\n").line(), "echo 1")
      expect(bad.send("1\n").line(), "echo 1")
      bad.send("bad\nnever\n")
      bad.ended()
      expect(good.send("2\n").line(), "echo 2")
      expect_in(log(), "/app.lua:3: bad line")
      wait(lambda: re.search("lost: .*script", log()))
    ]])
  end)

  it("that fails in connection_made or build_protocol costs that connection", function()
    start("Protocol", [[
local count = 0
function P:connection_made()
  count = count + 1
  if count == 1 then error "not the first" end
  self.transport:write "welcome\n"
end
function P:connection_lost() error "also at the end" end]])
    e2e.talk(child, [[
      Client().ended()
      c = Client()
      expect(c.line(), "welcome")
      c.close()
      wait(lambda: "also at the end" in log())
      expect_in(log(), "not the first")
      expect(Client().line(), "welcome")
    ]])
  end)

  it("that loops delays nobody and loses its connection", function()
    for _, kind in ipairs { { "Protocol", "data_received" }, { "LineProtocol", "line_received" } } do
      start(kind[1], ([[
function P:%s(bytes)
  while bytes:find "loop" do end
  self.transport:write(bytes .. "\n")
end]]):format(kind[2]), "--limit", "script_budget=300")
      e2e.talk(child, [[
        bad, good, most = Client().send("loop\n"), Client(), 0
        began = time.time()
        while time.time() - began < 0.5:
            start = time.time()
            good.send("x\n").until("x")
            good.until("\n")
            most = max(most, time.time() - start)
            time.sleep(0.002)
        expect_below(most, 0.15 * SLOW, "the longest time of the other")
        bad.ended()
      ]])
      assert.truthy(child:log():find("script budget exceeded", 1, true), child:log())
      e2e.finish()
    end
  end)
end)

describe("A script", function()
  local child
  after_each(e2e.finish)

  local function logs(text, ...)
    child = e2e.start(SITE:format((text:gsub("%%", "%%%%"))))
    assert.equal("ok\n", child:get("/").body)
    for _, wanted in ipairs { ... } do child:await_log(wanted) end
  end

  it("is told of a failure that nobody handled, with its origin", function()
    logs([[
rw.call_later(0, function()
  local d = rw.Deferred()
  rw.call_later(0, function() d:errback "lost in thought" end)
end)
rw.async(function() error "nobody listens" end)()
rw.call_later(0, function() error "in a timer" end)]],
      "lost in thought", "nobody listens", "in a timer", "/app.lua:5", "/app.lua:7", "/app.lua:8")
  end)

  it("prints to the log", function()
    logs('print("hello", 42, nil, true)', "hello\\t42\\tnil\\ttrue", "source=print")
  end)

  it("cannot end the process, fork or load bytecode", function()
    logs([[
local ok, why = pcall(os.exit, 3)
rw.log.info("exit: " .. tostring(ok) .. " " .. tostring(why))
local f, message = load(string.dump(function() return 1 end))
rw.log.info("load: " .. tostring(f) .. " " .. tostring(message))
rw.log.info("loaded binary: " .. tostring((load(string.dump(function() end), "x", "b"))))]],
      "exit: false", "load: nil attempt to load a binary chunk", "loaded binary: nil")
    local dumped = e2e.directory() .. "/dumped.lua"
    e2e.write(dumped, string.dump(function() return 1 end))
    local out, status = e2e.ropewalk("check", dumped)
    assert.equal(1, status)
    assert.truthy(out:find("bytecode", 1, true), out)
  end)
end)
