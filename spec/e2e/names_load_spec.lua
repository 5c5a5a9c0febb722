-- SPDX-License-Identifier: MIT
-- Slow, dead and lying name servers delay nobody else, and ten thousand names
-- at once are a matter of some sockets and some megabytes.
local name_server = require "spec.support.name_server"
local e2e = require "spec.support.e2e"

-- /           answers at once
-- /many       looks up so many names of one kind, and says how that ended
-- /state      what the resolver is doing
local APP <const> = [[
rw.names.configure { servers = { rw.config.dns }, limits = { names_timeout = tonumber(rw.config.patience) } }
local site = web.Site()
site:get("/", function() return "ok" end)
site:get("/state", function() return web.json(rw.names.state()) end)
site:get("/many/:word/:count", function(request)
  local left, ends, all = tonumber(request.params.count), {}, rw.Deferred()
  local function ended(word)
    ends[word], left = (ends[word] or 0) + 1, left - 1
    if left == 0 then all:callback(web.json(ends)) end
  end
  for i = 1, left do
    rw.names.lookup_address(("%s.n%d.test"):format(request.params.word, i))
      :add_callbacks(function() ended "found" end, function(failure) ended(failure.code) end)
    if i % 100 == 0 then rw.sleep(0):await() end
  end
  return all
end)
return rw.server(rw.config.listen or "tcp:127.0.0.1:0", site)]]

describe("A name server's misery #alone", function()
  local good, dead

  setup(function() good, dead = name_server.start(), name_server.start "--dead" end)
  teardown(function()
    good:stop()
    dead:stop()
  end)
  after_each(e2e.finish)

  -- Python, while /many is under way: the slowest of the other requests.
  local MEANWHILE <const> = [[
import json, threading
base = resident()
ends, most, slowest, peak = [], 0, 0, 0
asking = Client()
asking.socket.settimeout(60)
many = threading.Thread(target=lambda: ends.append(json.loads(
    asking.ask("/many/%s/%d").body)))
before = len(os.listdir("/proc/%%d/fd" %% PID))
many.start()
beat = Client()
count = 0
while many.is_alive():
    began = time.time()
    expect(beat.ask("/").body, b"ok")
    slowest = max(slowest, time.time() - began)
    most = max(most, len(os.listdir("/proc/%%d/fd" %% PID)) - before)
    peak = max(peak, resident() - base)
    count += 1
    time.sleep(0.002)
print(json.dumps(dict(ends=ends[0], slowest=slowest, descriptors=most, memory=peak, count=count)))
]]

  local function meanwhile(dns, word, count, patience)
    local child = e2e.start(APP, { set = { dns = dns, patience = patience or 4000 } })
    local text = e2e.talk(child, MEANWHILE:format(word, count))
    local function number(key) return tonumber(text:match('"' .. key .. '": ([%d.]+)')) end
    local result = { text = text, slowest = number "slowest", descriptors = number "descriptors",
      memory = number "memory", count = number "count", child = child }
    function result.ended(how) return tonumber(text:match('"' .. how .. '": (%d+)') or 0) end
    return result
  end

  local PATIENCE <const> = e2e.sanitized and 3 or 0.5 -- misery lasts for seconds

  for word, how in pairs { silent = "timeout", slow900 = "found", wrongid = "timeout",
    garbage = "bad_answer", servfail = "server_failure", huge = "found" } do
    it("is nobody else's: " .. word, function()
      local r = meanwhile(good.address, word, word == "huge" and 50 or 400)
      assert.is_true(r.ended(how) >= (word == "huge" and 50 or 380), r.text)
      assert.is_true(r.count > (e2e.sanitized and 3 or 5) and r.slowest < PATIENCE, r.text)
    end)
  end

  it("is nobody else's: it is dead", function()
    local r = meanwhile(dead.address, "good", 1000)
    assert.equal(1000, r.ended "timeout", r.text)
    assert.is_true(r.slowest < PATIENCE, r.text)
  end)

  it("costs little with 10,000 names at once", function()
    for _, case in ipairs { { good, "found", 50000 }, { dead, "timeout", 4000 } } do
      local r = meanwhile(case[1].address, "good", 10000, case[3])
      print(("10,000 names, %s: %d descriptors, %.1f MB, slowest other request %.0f ms"):format(
        case[2], r.descriptors, r.memory / 1e6, r.slowest * 1000))
      assert.equal(10000, r.ended(case[2]), r.text)
      assert.is_true(r.descriptors <= 16, r.text)
      assert.is_true(e2e.sanitized or r.memory < 60e6, r.text)
      assert.is_true(r.slowest < PATIENCE, r.text)
      local state = e2e.curl(("http://127.0.0.1:%d/state"):format(r.child.port))
      assert.truthy(state:find '"asking":0' or case[1] == dead, state)
      e2e.finish()
    end
  end)
end)
