-- SPDX-License-Identifier: MIT
--- For specs of rw.INotify: a directory that is watched, and what was told.
---
---     before_each(function() dir, notifier = watched.begin() end)
---     after_each(watched.finish)
---     it("tells", function()
---       watched.watch("", { mask = { "create" } })
---       watched.write(dir .. "/a", "x")
---       watched.expect "a create"
---     end)
local rw = require "ropewalk"
local testing = require "ropewalk.testing"

local INotify = rw.INotify

local watched = {
  seen = {}, -- "path mask+mask" of each event, in order
}

local dir, notifier

--- @return string dir
--- @return ropewalk.INotify notifier
function watched.begin()
  dir, notifier, watched.seen = testing.temp_dir(), INotify(), {}
  return dir, notifier
end

function watched.finish() notifier:lose_connection() end

function watched.write(path, text)
  local f = assert(io.open(path, "wb"))
  f:write(text)
  f:close()
end

function watched.shell(...) assert(os.execute(string.format(...))) end

function watched.wait_for(what, condition)
  for _ = 1, 1000 do
    if condition() then return end
    rw.sleep(0.01):await()
  end
  error("waited in vain for " .. what, 2)
end

--- A callback.
function watched.note(_, path, mask)
  local names = table.concat(INotify.human_readable_mask(mask), "+")
  table.insert(watched.seen, path:sub(#dir + 2) .. " " .. names)
end

function watched.watch(path, options)
  options = options or {}
  options.callbacks = { watched.note }
  assert(notifier:watch(dir .. path, options))
end

function watched.has(text)
  for _, each in ipairs(watched.seen) do
    if each == text then return true end
  end
  return false
end

--- Waits until that is told.
function watched.expect(text)
  local ok = pcall(watched.wait_for, text, function() return watched.has(text) end)
  if not ok then error("no '" .. text .. "', but: " .. table.concat(watched.seen, ", "), 2) end
end

--- What was told until a mark that is made now.
function watched.until_now(path)
  watched.write(dir .. path .. "/mark", "")
  watched.expect((path .. "/mark"):sub(2) .. " create")
  return table.concat(watched.seen, ", "):gsub(",? ?[%w/]*mark create", "")
end

return watched
