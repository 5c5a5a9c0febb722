-- SPDX-License-Identifier: MIT
local rw = require "ropewalk"
local testing = rw.testing

describe("a DeferredFilesystemLock", function()
  local dir, path, count
  before_each(function()
    dir = testing.temp_dir()
    path, count = dir .. "/lock", 0
  end)

  local function code_of(d)
    local ok, failure = pcall(d.await, d)
    return not ok and failure.code
  end

  -- A program of ours; its process.
  local function start(text)
    count = count + 1
    local script = ("%s/script%d.lua"):format(dir, count)
    local file <close> = assert(io.open(script, "w"))
    file:write('local rw = require "ropewalk"\nlocal DIR = ', ("%q"):format(dir), "\n", text)
    file:close()
    return rw.run_process("/proc/self/exe", { "run", script }, { timeout = 60 })
  end

  it("is not in what a path with a zero byte begins with", function()
    local taken, failure = rw.DeferredFilesystemLock(dir .. "\0/lock"):lock()
    assert.is_nil(taken)
    assert.equal("ENOENT", failure.code)
  end)

  it("is taken by one at a time, in the order of asking within a process", function()
    local one, other, seen = rw.DeferredFilesystemLock(path), rw.DeferredFilesystemLock(path), {}
    assert.is_true(one:lock())
    assert.is_true(one:is_locked())
    assert.is_false(one:lock())
    assert.is_false(other:lock())
    local waits = {}
    for i, lock in ipairs { one, one, other } do
      waits[i] = lock:run(function()
        seen[#seen + 1] = lock == one and "one" or "other"
        rw.sleep(0.01):await()
        return i
      end)
    end
    rw.sleep(0.12):await()
    assert.same({}, seen)
    one:unlock()
    assert.is_false(one:is_locked())
    for i, d in ipairs(waits) do assert.equal(i, d:await()) end
    assert.equal(3, #seen)
    assert.is_true(other:lock())
    other:unlock()
  end)

  it("is held although nobody has the object any more", function()
    assert.is_true(rw.DeferredFilesystemLock(path):lock())
    collectgarbage()
    collectgarbage()
    assert.is_false(rw.DeferredFilesystemLock(path):lock())
  end)

  it("gives up after a time, or when it is cancelled, and leaves the others their turn", function()
    local one, other = rw.DeferredFilesystemLock(path), rw.DeferredFilesystemLock(path)
    assert.is_true(one:lock())
    assert.equal("timeout", code_of(other:defer_until_locked(0.1)))
    local first, second = other:defer_until_locked(), other:defer_until_locked()
    rw.sleep(0.06):await()
    first:cancel()
    assert.equal("cancelled", code_of(first))
    one:unlock()
    assert.equal(other, second:await())
    other:unlock()
  end)

  it("is given back when what ran with it fails", function()
    local lock = rw.DeferredFilesystemLock(path)
    assert.equal("error", code_of(lock:run(error, "no")))
    assert.is_true(lock:lock())
    lock:unlock()
    assert.has_error(function() lock:unlock() end, "unlock: it is not held")
  end)

  it("tells of a place where there can be no file", function()
    local lock = rw.DeferredFilesystemLock(dir .. "/none/lock")
    local taken, failure = lock:lock()
    assert.is_nil(taken)
    assert.equal("ENOENT", failure.code)
    assert.matches("/none/lock: ", failure.message, 1, true)
    assert.equal("ENOENT", code_of(lock:defer_until_locked(5)))
    assert.has_error(function() rw.DeferredFilesystemLock "" end)
  end)

  it("is held by one of many processes", function()
    local jobs = {}
    for i = 1, 12 do
      jobs[i] = start [[
        return rw.run(function()
          local lock = rw.DeferredFilesystemLock(DIR .. "/lock")
          for _ = 1, 5 do
            lock:defer_until_locked(50):await()
            assert(io.open(DIR .. "/inside", "r") == nil, "two are inside")
            io.open(DIR .. "/inside", "w"):close()
            rw.sleep(0.005):await()
            os.remove(DIR .. "/inside")
            lock:unlock()
            rw.sleep(0.001):await()
          end
        end)]]
    end
    for _, job in ipairs(jobs) do
      local result = job:await()
      assert.equal(0, result.status, result.stderr)
    end
  end)

  it("ends with the process that has it", function()
    local job = start [[
      return rw.run(function()
        rw.DeferredFilesystemLock(DIR .. "/lock"):defer_until_locked():await()
        io.open(DIR .. "/held", "w"):close()
        rw.sleep(30):await()
      end)]]
    local held
    for _ = 1, 500 do
      held = io.open(dir .. "/held")
      if held then break end
      rw.sleep(0.01):await()
    end
    held:close()
    local lock = rw.DeferredFilesystemLock(path)
    assert.is_false(lock:lock())
    local waits = lock:defer_until_locked(10)
    job:handled()
    job:cancel() -- kills it
    waits:await()
    lock:unlock()
  end)
end)
