-- SPDX-License-Identifier: MIT
-- rw.FileSender over real sockets.
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local connected, eventually, fails = ends.connected, ends.eventually, ends.fails

describe("rw.FileSender", function()
  local path, content
  setup(function()
    path = os.tmpname()
    local parts = {}
    for i = 1, 3000 do parts[i] = ("%06d"):format(i):rep(150) end
    content = table.concat(parts)
    local f = assert(io.open(path, "wb"))
    f:write(content)
    f:close()
  end)
  teardown(function() os.remove(path) end)
  after_each(ends.close)

  it("sends a file, and lose_connection waits for it", function()
    local a, left = connected()
    local d = rw.FileSender():begin_file_transfer(path, a.transport)
    a.transport:lose_connection()
    assert.equal(#content, d:await())
    assert.is_true(left.ended:await().reason.clean)
    assert.is_true(left:text() == content)
  end)

  it("sends a part of it, and what a transform makes of it", function()
    local a, left = connected()
    rw.FileSender({ offset = 900, length = 1800 }):begin_file_transfer(path, a.transport):await()
    eventually(function() return left.size == 1800 end)
    assert.equal(content:sub(901, 2700), left:text())
    local sent = rw.FileSender({ length = 200000 }):begin_file_transfer(path, a.transport,
      function(bytes) return bytes:gsub("0", "zero") end):await()
    local want = content:sub(1, 200000):gsub("0", "zero")
    assert.equal(#want, sent)
    eventually(function() return left.size == 1800 + sent end)
    assert.is_true(left:text():sub(1801) == want)
    left.transport:lose_connection()
  end)

  it("holds little for a reader that is slow", function()
    local a, left = connected()
    left.transport:pause_producing()
    a.transport:set_option("send_buffer", 20000)
    local d = rw.FileSender({ transform = function(b) return b end })
      :begin_file_transfer(path, a.transport)
    rw.sleep(0.1):await()
    assert.is_true(a.transport.buffered <= 128 * 1024)
    left.transport:resume_producing()
    d:await()
    eventually(function() return left.size == #content end)
    left.transport:lose_connection()
  end)

  it("fails when the connection is lost, whichever way it sends", function()
    for _, transform in ipairs { false, function(b) return b end } do
      local a, left = connected()
      left.transport:pause_producing()
      a.transport:set_option("send_buffer", 20000)
      local d = rw.FileSender { transform = transform }:begin_file_transfer(path, a.transport)
      rw.sleep(0.05):await()
      left.transport:abort_connection()
      assert.equal("lost", fails(d).code)
    end
  end)

  it("fails when the file becomes shorter, or is not there", function()
    local other = os.tmpname()
    local f = assert(io.open(other, "wb"))
    f:write(content)
    f:close()
    for _, transform in ipairs { false, function(b) return b end } do
      local a, left = connected()
      local d = rw.FileSender { length = #content + 1, transform = transform }
        :begin_file_transfer(other, a.transport)
      assert.equal("RW_EOF", fails(d).code)
      left.transport:lose_connection()
    end
    os.remove(other)
    local a, left = connected()
    assert.equal("ENOENT", fails(rw.FileSender():begin_file_transfer(other, a.transport)).code)
    left.transport:lose_connection()
  end)

  it("sends nothing of what is no part of the file", function()
    for _, options in ipairs { { offset = -5 }, { offset = "5" }, { offset = 0 / 0 }, { length = -1 },
      { length = 1.5 } } do
      assert.has_error(function() rw.FileSender(options) end)
    end
    local transport = rw.testing.StringTransport()
    local five = rw.testing.temp_file("12345", "f")
    local behind = rw.FileSender { offset = 6 }
    assert.has_error(function() behind:begin_file_transfer(five, transport):await() end)
    assert.equal(0, rw.FileSender { offset = 5 }:begin_file_transfer(five, transport):await())
  end)

  it("stops when it is cancelled, or its transform fails; the connection stays", function()
    local a, left = connected()
    left.transport:pause_producing()
    a.transport:set_option("send_buffer", 20000)
    local d = rw.FileSender { transform = function(b) return b end }
      :begin_file_transfer(path, a.transport)
    rw.sleep(0.02):await()
    d:cancel()
    fails(d)
    left.transport:resume_producing()
    d = rw.FileSender { transform = function() error "no" end }
      :begin_file_transfer(path, a.transport)
    assert.truthy(tostring(fails(d)):find "no")
    a.transport:write "end"
    eventually(function() return left:text():sub(-3) == "end" end)
    left.transport:lose_connection()
  end)
end)
