#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: lines.sh ROOT
#
# Lines a file may have: soft cap and hard cap. Over the hard cap fails. Over
# the soft cap needs a line in ROOT/spec/checks/lines.allow, and fails when the
# file has grown beyond it. Functions over 60 lines are named, no more.
set -eu

cd "$1"
find src lua apps spec \( -name '*.[ch]' -o -name '*.def' -o -name '*.lua' \) \
    2>/dev/null | LC_ALL=C sort | awk '
BEGIN {
    soft["c"] = 500; hard["c"] = 800
    soft["h"] = 200; hard["h"] = 300
    soft["def"] = 200; hard["def"] = 300
    soft["lua"] = 300; hard["lua"] = 500
    allow = "spec/checks/lines.allow"
    while ((getline line < allow) > 0) {
        sub(/#.*/, "", line)
        if (split(line, word, " ") == 2) allowed[word[1]] = word[2]
    }
}
function fail(what) { print file ": " what; bad = 1 }
function done() {
    if (name != "" && count - start + 1 > 60)
        long[++longs] = sprintf("%s:%d: %s has %d lines", \
            file, start, name, count - start + 1)
    name = ""
}
function title(line) {
    sub(/[ \t]*\(.*/, "", line)
    sub(/.*[ \t*]/, "", line)
    return line
}
{
    file = $0
    kind = file
    sub(/.*\./, "", kind)
    count = 0
    name = ""
    while ((getline line < file) > 0) {
        count++
        if (kind == "lua") {
            if (line ~ /^(local[ \t]+)?function[ \t]/ || \
                    line ~ /^[^ \t].*=[ \t]*function[ \t]*\(/) {
                name = title(line); start = count
            } else if (line ~ /^end/) done()
        } else if (kind == "c") {
            # K&R: the name starts in column one, the brace may be on its line
            if (line ~ /^[a-zA-Z_].*\(/ && line !~ /;[ \t]*$/) {
                name = title(line); start = count
            } else if (line ~ /^}/) done()
        }
    }
    close(file)
    total[kind] += count
    files[kind]++
    if (count > hard[kind])
        fail(count " lines, and " hard[kind] " is the most")
    else if (count > soft[kind]) {
        if (!(file in allowed))
            fail(count " lines, over " soft[kind] \
                ": split it, or add it to " allow)
        else if (count > allowed[file])
            fail("grew to " count " lines from " allowed[file])
        else if (count < allowed[file])
            print "note: " file " shrank: put " count " into " allow
    } else if (file in allowed)
        print "note: " file " needs no line in " allow " any more"
}
END {
    for (i = 1; i <= longs; i++) print "note: " long[i]
    for (kind in files)
        summary = summary sprintf("  %d %s files %d", \
            files[kind], kind, total[kind])
    print "lines:" summary
    exit bad
}
'
