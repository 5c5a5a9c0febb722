-- SPDX-License-Identifier: MIT
-- Producers on transports. The transport itself is C; this adds who is told to
-- stop and to go on when the peer reads slower than we write.
--
-- A push producer (streaming) sends by itself: pause_producing is called above
-- high water, resume_producing below low water. A pull producer sends one piece
-- per resume_producing. While one is registered, lose_connection waits until it
-- is unregistered; when the connection is lost, stop_producing comes first, then
-- connection_lost. A transport is a producer as well: it stops and goes on
-- reading, and one connection can be registered with another.

local argument = require "ropewalk.argument"
local core = require "ropewalk.core"

local object = argument.object
local error, next, pcall, rawget, require, setmetatable =
  error, next, pcall, rawget, require, setmetatable

local _ENV <const> = nil

local methods = core.transport_methods or {}

---Where a stream or a datagram comes from or goes to; cannot be changed. `==`
---compares addresses, tostring gives `text`.
---@class ropewalk.Address
---@field kind "tcp"|"udp"|"unix"|"stdio"|"pair"|"process"|"none"
---@field host? string numeric; of tcp and udp
---@field port? integer of tcp and udp
---@field path? string of unix
---@field text string "127.0.0.1:80", "[::1]:80", "unix:/path"
---@field via? ropewalk.Address the proxy that introduced this peer

---@class ropewalk.Transport
---@field peer ropewalk.Address of the other side
---@field host ropewalk.Address of this side
---@field connected boolean
---@field buffered integer bytes that wait to be sent

-- protocol → its producer's record. The core calls hooks of the protocol, so
-- they are put there for as long as the producer is registered.
local records = setmetatable({}, { __mode = "k" })

local function restore(protocol, record)
  records[protocol] = nil
  for name, own in next, record.own do protocol[name] = own or nil end
end

local function hook(protocol, record, name, fn)
  record.own[name] = rawget(protocol, name) or false
  protocol[name] = fn
end

---Ties a producer to the transport.
---
---    transport:register_producer(file_sender, false)
---@param producer table pause_producing, resume_producing, stop_producing
---@param streaming boolean true: a push producer
function methods:register_producer(producer, streaming)
  object("register_producer", 1, producer, "resume_producing", "producer with resume_producing")
  if streaming then
    object("register_producer", 1, producer, "pause_producing", "push producer with pause_producing")
  end
  local protocol = self.protocol
  if not protocol or not self.connected then
    if producer.stop_producing then producer:stop_producing() end
    return
  end
  if records[protocol] then
    error("register_producer: there is one already; unregister it first", 2)
  end
  local record = { producer = producer, own = {}, paused = false }
  records[protocol] = record
  -- A pull producer is asked again each turn until the transport is full. One
  -- that fails will never unregister: nobody shall wait for it.
  local function pull()
    if records[protocol] ~= record or record.paused then return end
    local ok, failure = pcall(producer.resume_producing, producer)
    if not ok then
      self:abort_connection()
      error(failure, 0)
    end
    if not record.paused then core.timer(0, pull) end
  end
  hook(protocol, record, "write_drained", function()
    if not record.paused then return end
    record.paused = false
    if streaming then producer:resume_producing() else pull() end
  end)
  hook(protocol, record, "write_filled", function()
    if record.paused then return end
    record.paused = true
    if streaming then producer:pause_producing() end
  end)
  hook(protocol, record, "connection_lost", function(this, reason)
    restore(this, record)
    local ok, failure = true, nil
    if producer.stop_producing then ok, failure = pcall(producer.stop_producing, producer) end
    this:connection_lost(reason)
    if not ok then error(failure, 0) end
  end)
  self:set_producing(true)
  if not streaming then pull() end
end

---The producer has sent all it had. A lose_connection that waited happens now.
function methods:unregister_producer()
  local protocol = self.protocol
  local record = protocol and records[protocol]
  if not record then return end
  restore(protocol, record)
  self:set_producing(false)
end

---The producer that is registered.
---@return table?
function methods:producer()
  local record = records[self.protocol]
  return record and record.producer
end

---From now on it is TLS (STARTTLS): for a server `context` (of
---rw.tls.server_context) or the options of one; for a client `name`, whom it
---expects, with a client's context or options. When the peer has sent plain text
---ahead, the connection is aborted: nil and a Failure. The protocol's
---handshake_completed() tells when it is secured.
---
---    self.transport:write("220 go ahead\r\n")
---    self.transport:start_tls { context = context }
---@param options table
---@return boolean? begun
---@return ropewalk.Failure? failure
function methods:start_tls(options) return require "ropewalk.tls".start(self, options) end

-- Twisted's words for what is a field here, or another method.

---@return ropewalk.Address
function methods:get_peer() return self.peer end

---@return ropewalk.Address
function methods:get_host() return self.host end

---@param on boolean
function methods:set_tcp_no_delay(on) return self:set_option("nodelay", on) end

---@param on boolean asks a peer that has been silent for a minute whether it is there
function methods:set_tcp_keep_alive(on) return self:set_option("keepalive", on and 60 or 0) end

methods.lose_write_connection = methods.lose_write

require "ropewalk.switch"

return methods
