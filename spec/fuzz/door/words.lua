-- SPDX-License-Identifier: MIT
-- What calls are made of: texts, numbers, names of options and fields.

local words = {}

words.texts = {
  "", "a", "\0", "tcp:127.0.0.1:0", "unix:door.sock", "unixgram:door.gram", "udp:127.0.0.1:0", "tcp:127.0.0.1:1",
  "ssl:127.0.0.1:0", "proxy:tcp:127.0.0.1:0", "tcp:localhost:0:max_line=1", "/bin/cat",
  "/bin/true", "cat", ".", "GET", "POST", "/", "/a/:b/*c", "*", "/a/%00", "%", "%s%n%p",
  "before", "during", "after", "startup", "shutdown", "raw", "line", "netstring", "frame", "http1",
  "keep", "discard", "refuse", "crlf", "any", "\r\n", "3:abc,", "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
  "> kind:B length:I4", "TERM", "KILL", "HUP", "127.0.0.1", "::1", "localhost", "A", "AAAA", "PTR",
  "broadcast", "ttl", "nodelay", "info", "error", "debug", "text/plain", "Set-Cookie", "Content-Length",
  "idle_timeout", "script_memory", "max_line", ("x"):rep(70000), ("\xff\xfe"):rep(300), "{\"a\":[1,null]}",
  "bytes=0-5", "k", "rw", "r", "w", "pty", "null", "inherit", "hook", "next_message", "migrate", "finish",
}

words.numbers = {
  0, 1, -1, 2, 0.5, -0.0, 0 / 0, 1 / 0, -1 / 0, math.maxinteger, math.mininteger, 1 << 31, (1 << 31) - 1,
  1 << 32, -(1 << 31), 2 ^ 53, 1e308, 1e-300, 255, 256, 65535, 65536, 1000000, 200, 404, 101, 0.001, 16,
}

words.keys = {
  "kind", "host", "port", "path", "mode", "timeout", "limits", "headers", "status", "body", "files", "argv",
  "env", "fds", "directory", "trust", "version", "proxy", "tls_context", "certificate", "key", "min", "max",
  "queue", "time", "memory", "seed", "engine", "events", "build_protocol", "http", "router", "answer", "failed",
  "frame_format", "reload_policy", "traffic_log", "addresses", "backlog", "user", "group", "fd", "name", "index",
  "bind", "bind_port", "idle", "one_way", "keep_end", "detach", "servers", "search", "hosts_file", "resolv_file",
  "script", "cpath", "args", "child_fds", "pty", "uid", "gid", "cwd", "rows", "columns", "finishes",
  "groups", "own_group", "death_signal", "factory", "protocol", "transport", "wake", "n", "width", "offset",
  "header", "little", "plain", "fixed", "mask", "delimiter", "clock", "faults", "turn_limit", "names",
  "connection_made", "connection_lost", "data_received", "line_received", "make_connection", "init", "__index",
  "__call", "__tostring", "__close", "start_service", "stop_service", "canceller", "code", "message", "cause",
  "kept", "days", "sign", "identity", "identities", "authority", "alpn", "verify", "max_version", "min_version",
}

words.fields = { "limits", "peer", "host", "headers", "params", "query", "cookies", "size",
  "connected", "buffered", "transport", "body" }

words.requests = {
  "GET /a?b=c HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
  "GET /x HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: talk\r\n\r\nmore",
  "HEAD / HTTP/1.0\r\n\r\n", "line\r\n3:abc,\r\n",
}

return words
