-- SPDX-License-Identifier: MIT
-- The objects of TLS, for scripts that do with them what one does not expect.
local core = require "ropewalk.core"
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local secure = require "spec.support.secure"

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

describe("An object of TLS in a finalizer", function()
  it("may have been collected before: it refuses", function()
    local dir = secure.directory()
    local chain, key = read(dir .. "/site.pem"), read(dir .. "/site.key")
    local function server() return assert(rw.tls.server_context { choose = print }) end
    local makers = {
      function()
        local identity = assert(rw.tls.identity(chain, key))
        return function() return identity:describe() end
      end,
      function()
        local identity = assert(rw.tls.identity(chain, key))
        return function() return identity:serves "localhost" end
      end,
      function()
        local context = server()
        return function() context:set_names {} end
      end,
      function()
        local context = server()
        return function() context:adopt(context) end
      end,
      function()
        local trust = core.tls_trust()
        return function() return trust:add(chain) end
      end,
    }
    local whys = {}
    for _, make in ipairs(makers) do
      local held = setmetatable({}, { __gc = function(self) whys[#whys + 1] = select(2, pcall(self.use)) end })
      held.use = make()
    end
    collectgarbage()
    collectgarbage()
    assert.equal(#makers, #whys)
    for _, why in ipairs(whys) do assert.matches("it has been collected", why) end
  end)
end)

describe("Names with a zero byte", function()
  after_each(ends.close)

  it("are refused, not cut short", function()
    local why = "zero byte"
    assert.error_matches(function() core.tls_context { client = true, verify = "none", alpn = { "h2\0x" } } end, why)
    local key = core.tls_make_key "p256"
    assert.error_matches(function() core.tls_make_request({ "good.test\0.bad.test" }, key) end, why)
    local a = ends.connected()
    local context = assert(rw.tls.client_context { insecurely_trust_anyone = true })
    assert.error_matches(function() a.transport:start_tls { context = context, name = "good.test\0.bad" } end, why)
    a.transport:abort_connection()
  end)
end)
