#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: analyze.sh tidy|gcc|m32|cppcheck OUT SOURCE… -- FLAG…
#
# Shows one analyzer some sources. What it says goes to OUT.found; findings that
# analyze.allow does not excuse are printed and fail. OUT is made when there are none.
set -u

here=$(cd "$(dirname "$0")" && pwd)
allow=${ANALYZE_ALLOW:-$here/analyze.allow}
tool=$1 out=$2
shift 2
sources=
while [ "$1" != -- ]; do sources="$sources $1"; shift; done
shift

case $tool in
tidy) clang-tidy --quiet --config-file="$here/../../.clang-tidy" $sources -- \
    -include "$here/analyze.h" "$@" ;;
gcc) "${GCC:-gcc}" "$@" -include "$here/analyze.h" -O1 -fanalyzer -c $sources -o /dev/null ;;
m32) # a system that has no library of 32 bits lacks one file, which says nothing here
    mkdir -p "$out.include/gnu"
    : >"$out.include/gnu/stubs-32.h"
    "${CLANG:-clang}" -m32 -D_TIME_BITS=64 -D_FILE_OFFSET_BITS=64 -fsyntax-only "$@" \
        -isystem "/usr/include/$(uname -m)-linux-gnu" -idirafter "$out.include" $sources ;;
cppcheck) cppcheck -q -j2 --enable=warning,performance,portability --std=c11 \
    --template='{file}:{line}:{column}: {severity}: {message} [{id}]' "$@" $sources ;;
esac >"$out.log" 2>&1
status=$?

# file:line:column: warning: text [check], with the path from the root
grep -E '^[^ ]+:[0-9]+:([0-9]+:)? (fatal )?(warning|error|style|performance|portability):' \
    "$out.log" | sed "s|^$PWD/||" | sort -u >"$out.found"
awk -v tool="$tool" '
FNR == NR {
    sub(/ *#.*/, "")
    if ($1 == tool) {
        n++; file[n] = $2; sub(/^[^ ]+ +[^ ]+ +/, ""); text[n] = $0
    }
    next
}
{
    for (i = 1; i <= n; i++)
        if (index($0, file[i]) == 1 && index($0, text[i])) next
    print tool ": " $0
    bad = 1
}
END { exit bad }' "$allow" "$out.found" || exit 1
# an analyzer that could not do its work has found nothing, but is no proof
if [ $status -ne 0 ] && [ ! -s "$out.found" ]; then
    tail -n 20 "$out.log"
    exit 1
fi
: >"$out"
