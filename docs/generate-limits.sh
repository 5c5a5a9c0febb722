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

Every limit has a finite default, and a limit can be large but never absent: 0 is refused. The last column
says which attack or accident the limit is for.

Ways to change one, the later beats the earlier:

| where | example | unit of times |
| --- | --- | --- |
| the command line, for the process | `ropewalk run app.lua --limit max_body=10485760` | ms |
| the script, for its generation | `rw.limits.max_body = 10 * 1024 * 1024` before `rw.server` | seconds |
| the endpoint, for its connections | `"tcp:8080:max_body=10485760"` | seconds |
| one connection, in a hook | `self.transport.limits.max_line = 1000` | seconds |

`ropewalk limits` prints the defaults. In Lua and in endpoints times are seconds (fractions allowed), as
everywhere in scripts; on the command line and in this table they are milliseconds.
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
