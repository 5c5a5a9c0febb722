-- SPDX-License-Identifier: MIT
-- unix:PATH:lockfile=1: the lock beside a socket.
local e2e = require "spec.support.e2e"
local rw = require "ropewalk"

local APP <const> = [[
local Hello = rw.Protocol:extend "Hello"
function Hello:connection_made()
  self.transport:write "hello"
  self.transport:lose_connection()
end
local Answer = rw.DatagramProtocol:extend "Answer"
function Answer:datagram_received(bytes, address) self.transport:write("hello", address) end
local class = rw.config.kind == "unix" and Hello or Answer
return rw.server(rw.config.kind .. ":" .. rw.config.path .. ":lockfile=1" .. (rw.config.more or ""),
  rw.Factory:for_protocol(class))]]

local Listener = rw.Protocol:extend "Listener"
function Listener:init() self.heard = rw.Deferred() end
function Listener:data_received(bytes) self.heard:callback(bytes) end

local Asker = rw.DatagramProtocol:extend "Asker"
function Asker:init() self.heard = rw.Deferred() end
function Asker:start_protocol() self.transport:write "?" end
function Asker:datagram_received(bytes) self.heard:callback(bytes) end

for kind, class in pairs { unix = Listener, unixgram = Asker } do
  describe("A " .. kind .. " endpoint with lockfile=1", function()
    local path
    before_each(function() path = e2e.directory() .. "/s" end)
    after_each(e2e.finish)

    local function start(more)
      local child = e2e.start(APP, { wait = false, set = { kind = kind, path = path, more = more } })
      child:await_log "listening"
      return child
    end

    -- What `ropewalk run` says to it in vain.
    local function refused(word)
      local app = e2e.directory() .. "/app.lua"
      e2e.write(app, e2e.script(APP))
      local out, status = e2e.ropewalk("run", app, "--set", "kind=" .. kind, "--set", "path=" .. path)
      assert.equal(1, status, out)
      assert.truthy(out:find(word, 1, true), out)
    end

    local function ask()
      local client = rw.connect(("%s:%s:lockfile=1"):format(kind, path), rw.Factory:for_protocol(class)):await()
      local heard = client.heard:add_timeout(5):await()
      client.transport:lose_connection()
      return heard
    end

    local function ask_in_vain()
      local ok, failure = pcall(ask)
      assert.is_false(ok)
      return failure
    end

    local function kill(child)
      child:signal "KILL"
      child:stop()
      child.pid = nil -- finish need not look at it
      assert.equal(0, select(2, e2e.shell("test -S " .. path)))
    end

    it("is served by one living process, and replaces a dead one's", function()
      local child = start()
      assert.equal("hello", ask())
      refused(("a living process has the lock beside the socket (RW_ELOCKED); the lock is %s.lock"):format(path))
      assert.equal("hello", ask())
      kill(child)
      child = start()
      assert.equal("hello", ask())
      assert.equal(0, (child:stop()))
      assert.equal(1, select(2, e2e.shell("test -e " .. path)))
      start()
    end)

    it("is connected to only while its owner lives", function()
      local failure = ask_in_vain()
      assert.equal("RW_EUNLOCKED", failure.code)
      assert.matches(path .. ".lock", failure.message, 1, true)
      local child = start()
      assert.equal("hello", ask())
      kill(child)
      assert.equal("RW_EUNLOCKED", ask_in_vain().code)
    end)

    it("stays locked in reloads, and is let go of when one drops it", function()
      local child = start()
      local lock = rw.DeferredFilesystemLock(path .. ".lock")
      assert.is_false(lock:lock())
      assert.is_true((child:reload()))
      assert.is_false(lock:lock())
      assert.equal("hello", ask())
      assert.is_true((child:reload "return {}"))
      assert.is_true(e2e.wait(function() return lock:lock() end, 5))
      refused "RW_ELOCKED"
      lock:unlock()
      start()
    end)

    it("has a lock that those may ask for who may connect", function()
      start ":mode=620"
      assert.equal("640 0\n", (e2e.shell("stat -c '%a %s' " .. path .. ".lock")))
    end)

    it("leaves alone what it does not know", function()
      -- alive, but without a lock
      local other = e2e.start(APP:gsub(":lockfile=1", ""), { wait = false, set = { kind = kind, path = path } })
      other:await_log "listening"
      refused "EADDRINUSE"
      other:stop()
      for _, make in ipairs { "touch %s.real; ln -s %s.real %s.lock", "mkdir %s.lock", "mkfifo %s.lock" } do
        e2e.shell("rm -rf " .. path .. ".*; " .. make:gsub("%%s", path))
        refused("cannot listen on " .. kind)
        assert.equal(1, select(2, e2e.shell("test -e " .. path)))
      end
      e2e.shell("rm -rf " .. path .. ".*; echo precious >" .. path .. ".lock; chmod 600 " .. path .. ".lock")
      start ":mode=666"
      assert.equal("precious\n", e2e.read(path .. ".lock"))
      assert.equal("600\n", (e2e.shell("stat -c %a " .. path .. ".lock")))
    end)

    it("begins although many ask", function()
      local child = start()
      kill(child)
      -- as our clients do: for a moment
      local ask_often = ([[
import fcntl, time
end = time.time() + 4
with open("%s.lock") as f:
    while time.time() < end:
        try:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)
            fcntl.flock(f, fcntl.LOCK_UN)
        except BlockingIOError: pass
        time.sleep(0.0005)]]):format(path)
      for _ = 1, 3 do e2e.shell(("python3 -S -c %s >/dev/null 2>&1 &"):format(e2e.quote(ask_often))) end
      for _ = 1, 5 do kill(start()) end
    end)
  end)
end
