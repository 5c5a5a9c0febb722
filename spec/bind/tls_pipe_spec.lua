-- SPDX-License-Identifier: MIT
-- rw.pipe with TLS at either side, or both.
local ends = require "spec.support.ends"
local rw = require "ropewalk"
local secure = require "spec.support.secure"
local eventually, fails = ends.eventually, ends.fails

local BLOCK <const> = ("0123456789abcdef"):rep(4096) -- 64 KiB
local TOTAL <const> = 480 * #BLOCK -- 30 MiB

describe("A pipe", function()
  after_each(ends.close)

  for name, make in pairs {
    ["from TLS to TLS"] = { secure.connected, secure.connected },
    ["from TLS to plain text"] = { secure.connected, ends.connected },
    ["from plain text to TLS"] = { ends.connected, secure.connected },
  } do
    describe(name, function()
      local a, b, left, right
      before_each(function()
        collectgarbage() -- what the one before has collected
        a, left = make[1]()
        b, right = make[2]()
      end)

      it("moves bytes both ways, and each half-close", function()
        right.stays = true
        local d = rw.pipe(a, b)
        left.transport:write "to the right"
        right.transport:write "to the left"
        eventually(function() return right:text() == "to the right" end)
        eventually(function() return left:text() == "to the left" end)
        left.transport:lose_write()
        eventually(function() return right.eof end)
        right.transport:write ", still"
        eventually(function() return left:text() == "to the left, still" end)
        assert.is_false(d:called())
        right.transport:lose_connection()
        assert.same({ sent = 12, received = 18 }, d:await())
        assert.is_true(left.ended:await().reason.clean)
        assert.is_true(right.ended:await().reason.clean)
      end)

      it("holds little when one side does not read, and loses nothing", function()
        right.transport:pause_producing()
        local d = rw.pipe(a, b)
        local written = 0
        rw.spawn(function()
          for _ = 1, TOTAL // #BLOCK do
            left.transport:write(BLOCK)
            left.transport:drained()
            written = written + #BLOCK
          end
          left.transport:lose_write()
        end)
        local then_written = ends.settled(function() return written end)
        local queued = b.transport.buffered
        assert.is_true(written < 20 * 1024 * 1024, "written: " .. written)
        assert.is_true(queued > 0 and queued <= 192 * 1024, "queued: " .. queued)
        assert.is_true(a.transport.buffered == 0)
        -- the other direction does not mind
        right.transport:write "meanwhile"
        eventually(function() return left:text() == "meanwhile" end)
        assert.equal(then_written, written)
        right.transport:resume_producing()
        assert.equal(TOTAL, d:await().sent)
        eventually(function() return right.size == TOTAL end)
        assert.is_true(right:text() == BLOCK:rep(TOTAL // #BLOCK))
      end)

      it("fails when a side is lost, and resets the other", function()
        local d = rw.pipe(a, b)
        left.transport:write "half"
        eventually(function() return right.size == 4 end)
        left.transport:abort_connection()
        local failure = fails(d)
        assert.is_true(failure.code == "ECONNRESET" or failure.code == "RW_ETRUNCATED", failure.code)
        assert.equal(4, failure.sent)
        assert.is_false(right.ended:await().reason.clean)
      end)

      it("ends when nothing moves", function()
        local d = rw.pipe(a, b, { idle = 0.1 })
        assert.equal("ETIMEDOUT", fails(d).code)
        assert.is_false(left.ended:await().reason.clean)
        assert.is_false(right.ended:await().reason.clean)
      end)
    end)
  end

  it("takes what came with the last record before, decrypted", function()
    local First = rw.LineProtocol:extend "First"
    local b, right = secure.connected()
    local joined
    function First:line_received() joined = rw.pipe(self, b) end
    local _, left = secure.connected(First)
    left.transport:write "CONNECT\r\nline\r\nand more"
    eventually(function() return right:text() == "line\r\nand more" end)
    left.transport:lose_connection()
    assert.equal(14, joined:await().sent)
  end)

  it("with TLS at a side that was cut, does not end as if all had come", function()
    local a, left = secure.connected()
    local b, right = ends.connected()
    local d = rw.pipe(a, b)
    left.transport:write "half of it"
    eventually(function() return right.size == 10 end)
    left.transport:abort_connection()
    fails(d)
    right.ended:await()
    assert.is_nil(right.eof) -- no clean end of the stream was passed on
  end)
end)
