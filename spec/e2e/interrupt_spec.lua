-- SPDX-License-Identifier: MIT
-- Who computes for long is interrupted where nobody minds.
local e2e = require "spec.support.e2e"

describe("A handler", function()
  local child
  after_each(e2e.finish)

  local function start(handlers, ...)
    child = e2e.start("local site = web.Site()\n" .. handlers ..
      "\nreturn rw.server(rw.config.listen, site)", { args = { "--limit", "script_budget=60000", ... } })
  end

  it("that is interrupted is between two lines: n = n + 1 counts right", function()
    start([[
local n, interrupted = 0, 0
site:get("/count", function()
  local running, mine = n, 0
  for _ = 1, 4000000 do
    if n ~= running then interrupted = interrupted + 1 end
    n = n + 1
    running, mine = n, mine + 1
  end
  return tostring(mine)
end)
site:get("/n", function() return n .. " " .. (interrupted > 0 and "interrupted" or "") end)]])
    e2e.talk(child, [[
      def count(_):
          with Client() as c:
              expect(c.ask("/count").body, b"4000000")
      parallel(4, count)
      with Client() as c:
          expect(c.ask("/n").body, b"16000000 interrupted")
    ]])
  end)

  it("whose time C has used, and that has little left to do, is not interrupted", function()
    start([[
local numbers, current = {}, nil
for i = 1, 200000 do numbers[i] = i * 7919 & 0x3ffff end
site:get("/sort", function()
  local mine = { table.unpack(numbers, 1, 1) }
  current = mine
  table.sort(table.move(numbers, 1, #numbers, 1, mine))  -- tens of milliseconds in one call
  for _ = 1, 100 do
    if current ~= mine then return "interrupted" end
  end
  return "sorted"
end)]])
    e2e.talk(child, [[
      def sort(_):
          with Client() as c:
              for _ in range(3):
                  expect(c.ask("/sort").body, b"sorted")
      parallel(4, sort)
    ]])
  end)

  it("that is cancelled ends, however deep in calls it is", function()
    start([[
local function deep() return 1 + deep() end
site:get("/deep", function()
  local tasks = {}
  for i = 1, 5 do tasks[i] = rw.spawn(deep) end
  rw.sleep(0.3):await()
  for _, task in ipairs(tasks) do task:cancel() end
  for _, task in ipairs(tasks) do pcall(task.await, task) end
  return "ended"
end)]], "--limit", "script_slice=4") -- shorter than it takes to walk over the calls
    e2e.talk(child, ([[
      for _ in range(3):
          began = time.time()
          expect(Client().ask("/deep").body, b"ended")
          took = time.time() - began
          if took > %d: raise AssertionError("it took %%f s" %% took)
    ]]):format(e2e.sanitized and 40 or 15))
  end)
end)
