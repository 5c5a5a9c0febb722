-- SPDX-License-Identifier: MIT
local support = require "spec.support.core"
local Failure = require "ropewalk.failure"
local log = require "ropewalk.log"
local rw = require "ropewalk"

describe("the log", function()
  it("takes a message and fields, and puts them together late", function()
    local logged <close> = log.capture()
    log.info("{name} has {n} of {what}", { name = "alice", n = 3 })
    log.debug(function() return "made late" end)
    rw.log "plain"
    log.warn "careful"
    log.error "bad"
    assert.equal("alice has 3 of {what}", logged[1].message)
    assert.equal("made late", logged[2].message)
    assert.same({ "info", "debug", "info", "warn", "error" }, { logged[1].level, logged[2].level,
      logged[3].level, logged[4].level, logged[5].level })
    assert.truthy(logged:find "^plain$")
    assert.is_nil(logged:find "nothing like that")
  end)

  it("has loggers with a source of their own", function()
    local logged <close> = log.capture()
    local logger = log.logger "chat"
    logger:info "hello"
    logger "again"
    assert.equal("chat", logged[1].source)
    assert.equal("chat", logged[2].source)
  end)

  it("logs failures with code and traceback", function()
    local logged <close> = log.capture()
    local _, failure = xpcall(function() error "boom" end, Failure.caught)
    log.failure(failure, "while working", { user = "bob" })
    assert.truthy(logged[1].message:find "^while working: .*boom")
    assert.equal("error", logged[1].fields.code)
    assert.equal("bob", logged[1].fields.user)
    assert.truthy(logged[1].fields.traceback)
    rw.Deferred.fail "late":add_errback(log.failure, "fetching")
    assert.equal("fetching: late", logged[2].message)
  end)

  it("tells observers, and one that raises hurts nobody else", function()
    local logged <close> = log.capture()
    local seen = {}
    local function bad() error "observer" end
    local function good(event) seen[#seen + 1] = event.message end
    log.add_observer(bad)
    log.add_observer(good)
    log.info "one"
    log.remove_observer(bad)
    log.remove_observer(good)
    log.info "two"
    assert.same({ "one" }, seen)
    assert.equal(2, #logged)
    support.expect_error "an observer of the log failed"
  end)
end)
