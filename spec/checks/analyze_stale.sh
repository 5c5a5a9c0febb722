#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: analyze_stale.sh ALLOW FOUND…
#
# Names the entries of analyze.allow that excuse nothing any more.
set -eu

allow=$1
shift
awk '
FNR == NR {
    sub(/ *#.*/, "")
    if ($0 != "") {
        n++; entry[n] = $0; file[n] = $2; sub(/^[^ ]+ +[^ ]+ +/, ""); text[n] = $0
    }
    next
}
{ for (i = 1; i <= n; i++) if (index($0, file[i]) == 1 && index($0, text[i])) used[i] = 1 }
END {
    for (i = 1; i <= n; i++)
        if (!used[i]) { print "analyze.allow: excuses nothing: " entry[i]; bad = 1 }
    exit bad
}' "$allow" "$@"
