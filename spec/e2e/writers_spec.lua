-- SPDX-License-Identifier: MIT
-- Several tasks that write to one peer, which reads slowly: each is woken, in
-- order, also when one of them is cancelled or the peer goes away.
local e2e = require "spec.support.e2e"

local APP <const> = [[
local site = web.Site()
local piece = ("x"):rep(4000000)
local order, open

-- Writes, in the scope of the task that calls it.
local function writer(request, name)
  return rw.spawn(function()
    local _ <close> = setmetatable({}, { __close = function() order[#order + 1] = "end " .. name end })
    local ok, code = request:write(piece)
    order[#order + 1] = name .. " " .. (ok and "ok" or code)
  end)
end

site:get("/two", function(request)
  order, open = {}, request
  request:start(200)
  local one, two = writer(request, "one"), writer(request, "two")
  order[#order + 1] = "both wait"
  one:await() two:await()
end)
site:get("/left", function(request)
  order = {}
  request:start(200)
  writer(request, "one") writer(request, "two")
end)
-- The first one works for another connection.
site:get("/foreign", function(request)
  order, open = {}, request
  request:start(200)
  rw.sleep(0.5):await()
  writer(request, "two"):await()
end)
site:get("/helper", function(request)
  rw.call_later(0.8, function() request:close() end)
  writer(open, "helper"):await()
end)
site:get("/order", function() return table.concat(order, ", ") end)
return rw.server("tcp:127.0.0.1:0", site)]]

describe("Two tasks that write to one request", function()
  local child
  before_each(function() child = e2e.start(APP) end)
  after_each(e2e.finish)

  local function talk(text) e2e.talk(child, [[
      def order(want):
          end = time.time() + PATIENCE
          while True:
              with Client() as c: have = c.ask("/order").body.decode()
              if have == want or time.time() > end: break
              time.sleep(0.02)
          expect(have, want)
      def start(path):
          return Client(receive=8192).send("GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
      def drain(c, least):
          n = 0
          while n < least: n += len(c.socket.recv(1 << 20))
]] .. text) end

  it("are both woken, in order", function()
    talk [[
      c = start("/two")
      order("both wait")
      drain(c, 8000000)
      order("both wait, one ok, end one, two ok, end two")
    ]]
  end)

  it("both hear that the connection is lost", function()
    talk [[
      c = start("/two")
      order("both wait")
      c.close()
      order("both wait, one RW_ECLOSED, end one, two RW_ECLOSED, end two")
    ]]
  end)

  it("both hear that the handler has ended before them", function()
    talk [[
      c = start("/left")
      order("one RW_ECLOSED, end one, two RW_ECLOSED, end two")
    ]]
  end)

  it("do not need each other: the first one may be cancelled", function()
    talk [[
      c = start("/foreign")
      time.sleep(0.1)
      h = start("/helper")
      time.sleep(0.6)
      order("")
      order("end helper")
      h.close()
      drain(c, 8000000)
      order("end helper, two ok, end two")
    ]]
  end)
end)
