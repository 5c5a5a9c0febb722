#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: generate-limits.sh >docs/limits.md
#
# Makes the page of limits from their one table, src/base/limits.def.
set -eu
cd "$(dirname "$0")/.."

cat <<'END'
# Limits

<!-- Made from src/base/limits.def by docs/generate-limits.sh: change the table, not this page. -->

Every limit has a finite default, and a limit can be large but never absent: 0 is refused. The last
column of the tables says which attack or accident the limit is for.

Ways to change one; the later beats the earlier:

| where | example |
| --- | --- |
| the command line, for the process | `ropewalk run app.lua --limit max_body=10485760` |
| the script, for its generation | `rw.limits.idle_timeout = 30000`, before `rw.server` |
| a site | `web.Site { limits = { max_body = 10 * 1024 * 1024 } }` |
| the endpoint, for its connections | `"tcp:8080:max_body=10485760"` |
| one connection, in a hook | `self.transport.limits.max_line = 1000` |

The unit is that of the table, wherever the limit is set: times are milliseconds here, while
everything else in scripts counts seconds.

A limit that ends a connection is logged by its name, at most one line a second, with how many have
fired since the last line (those for idle peers only at `--log-level debug`):

    2026-01-02T03:04:05.123Z warn  a limit ended a connection limit=max_body peer=127.0.0.1:50432 count=1

`ropewalk limits` prints the defaults.
END
awk '
/^\/\* [a-z ]+ \*\/$/ {
    title = $0
    gsub(/^\/\* | \*\/$/, "", title)
    printf "\n## %s\n\n| limit | default | unit | against |\n| --- | ---: | --- | --- |\n", \
        toupper(substr(title, 1, 1)) substr(title, 2)
}
/^LIMIT\(/ {
    line = $0
    sub(/^LIMIT\(/, "", line)
    comment = line
    sub(/^[^"]*"[^"]*", "/, "", comment)
    sub(/"\)$/, "", comment)
    split(line, part, /, */)
    unit = part[3]
    gsub(/"/, "", unit)
    printf "| `%s` | %s | %s | %s |\n", part[1], part[2], unit, comment
}' src/base/limits.def
