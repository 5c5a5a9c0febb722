-- SPDX-License-Identifier: MIT
-- A coroutine that is closed runs the __close of its variables, whatever that
-- does: the server serves others meanwhile, or soon again.
local e2e = require "spec.support.e2e"

local SITE <const> = [[
local function hold(close)
  local co = coroutine.create(function()
    local _ <close> = setmetatable({}, { __close = function() rw.log.info "outer closed" end })
    local _ <close> = setmetatable({}, { __close = close })
    coroutine.yield()
  end)
  coroutine.resume(co)
  return co
end
local ends = {
  loops = function() while true do end end,
  catches = function() while true do pcall(function() while true do end end) end end,
  sorts = function() table.sort({ 1, 2 }, function() while true do end end) end,
  waits = function() rw.sleep(60):await() end,
  waits_again = function() while true do pcall(rw.sleep(60).await, rw.sleep(60)) end end,
  raises = function() error "no" end,
  raises_nothing = function() error() end,
  yields = function() coroutine.yield() end,
  allocates = function()
    local all = {}
    while true do all[#all + 1] = ("x"):rep(1e6) .. #all end
  end,
  allocates_again = function()
    while true do pcall(function()
      local all = {}
      while true do all[#all + 1] = ("x"):rep(1e6) .. #all end
    end) end
  end,
  recurses = function() local function deep() return 1 + deep() end return deep() end,
  closes = function(self)
    local function again()
      local co = hold(function() return again() end)
      return coroutine.close(co)
    end
    return again()
  end,
}
local site = web.Site()
site:get("/", function() return "ok\n" end)
site:get("/close/:how", function(request) -- by coroutine.close
  local ok, why = coroutine.close(hold(ends[request.params.how]))
  return tostring(ok) .. " " .. tostring(why)
end)
site:get("/wrap/:how", function(request) -- by the error in a wrapped one
  local how = ends[request.params.how]
  return coroutine.wrap(function()
    local _ <close> = setmetatable({}, { __close = how })
    error "first"
  end)()
end)
site:get("/left/:how", function(request) -- when what waits is cancelled
  local co = hold(ends[request.params.how])
  local _ <close> = setmetatable({}, { __close = function() coroutine.close(co) end })
  rw.sleep(60):await()
end)
return rw.server("tcp:127.0.0.1:0", site)]]

local HOW <const> = [[
        HOW = ["loops", "catches", "sorts", "waits", "waits_again", "raises", "raises_nothing", "yields",
               "allocates", "allocates_again", "recurses", "closes"]
        BOUND = %d
        def serves():
            began = time.time()
            expect(Client().ask("/").body, b"ok\n")
            took = time.time() - began
            if took > BOUND: raise AssertionError("it took %%f s" %% took)
]]

describe("A coroutine whose variables are closed", function()
  after_each(e2e.finish)

  local how = HOW:format(e2e.sanitized and 20 or 4)
  local function start()
    return e2e.start(SITE, { args = { "--limit", "script_memory=67108864",
      "--limit", "script_budget=1000", "--limit", "drain_timeout=500" } })
  end

  for _, by in ipairs { "close", "wrap" } do
    it("by coroutine." .. by .. " does not stop the server", function()
      local child = start()
      e2e.talk(child, how .. ([[
        for name in HOW:
            began = time.time()
            expect(Client().ask("/%s/" + name).status in (200, 500), True, name)
            if time.time() - began > BOUND: raise AssertionError(name)
            serves()
      ]]):format(by))
      assert.equal(0, (child:stop()))
    end)
  end

  it("when its connection is lost does not stop the server, nor does the end of its generation",
    function()
      local child = start()
      e2e.talk(child, how .. [[
        for name in HOW:
            c = Client().get("/left/" + name)
            serves()
            c.socket.close()
            serves()
        kept = [Client().get("/left/" + name) for name in HOW]
        serves()
        expect(reload(), True)
        serves()
        for c in kept: c.ended()
        serves()
        kept = [Client().get("/left/" + name) for name in HOW]
        serves()
      ]])
      assert.equal(0, (child:stop()))
    end)
end)
