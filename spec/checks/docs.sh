#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: docs.sh ROOT
#
# Holds docs/ under ROOT against the tree: README.md links every page and
# decision, decisions are numbered without gaps, map.md names every source file,
# border.md every function of ropewalk.core. Prints FILE: what is wrong; status 1 if
# anything is.
#
# In map.md a word between backquotes is a file, a pattern or a folder ("/" at
# its end), in the folder of the word before it on the line if it has none.
set -eu

cd "$1"
{
    find docs -name '*.md' ! -path docs/README.md
    find src -name '*.c' 2>/dev/null
    find lua -name '*.lua' 2>/dev/null
} | LC_ALL=C sort | awk '
function wrong(text) { print text; bad = 1 }

# a shell pattern as an anchored regular expression
function pattern(text) {
    gsub(/\./, "[.]", text)
    gsub(/\*/, "[^/]*", text)
    return "^" text (text ~ /\/$/ ? "" : "$")
}

function read_map(    line, folder, word) {
    while ((getline line < "docs/map.md") > 0) {
        folder = ""
        while (match(line, /`[^`]+`/)) {
            word = substr(line, RSTART + 1, RLENGTH - 2)
            line = substr(line, RSTART + RLENGTH)
            if (word ~ /\//) {
                folder = word
                sub(/[^\/]*$/, "", folder)
            } else word = folder word
            if (word ~ /^(src|lua)\/[^\/]+\/./) named[pattern(word)]
        }
    }
}

function text_of(path,    line, text) {
    while ((getline line < path) > 0) text = text "\n" line
    return text
}

function is_named(path,    each) {
    for (each in named) if (path ~ each) return 1
    return 0
}

# rows {"name", function} of the functions, not the methods, of a binding
function check_border(path,    line, name) {
    while ((getline line < path) > 0)
        while (match(line, /\{"[a-z_0-9]+", *core_[a-z_0-9]+\}/)) {
            name = substr(line, RSTART + 2)
            line = substr(line, RSTART + RLENGTH)
            sub(/".*/, "", name)
            if (border !~ ("(^|[^a-z_])" name "([^a-z_0-9]|$)"))
                wrong(path ": core." name " is not in docs/border.md")
        }
}

function check_decision(path,    number, line) {
    number = substr(path, length("docs/decisions/") + 1, 3)
    if (number + 0 != ++decisions) wrong(path ": number " decisions " is missing before it")
    getline line < path
    if (line !~ "^# " number " ") wrong(path ": its title is not \"# " number " …\"")
}

BEGIN {
    read_map()
    readme = text_of("docs/README.md")
    border = text_of("docs/border.md")
}
/^docs\// {
    if (!index(readme, "(" substr($0, 6) ")")) wrong($0 ": docs/README.md does not link it")
    if (/^docs\/decisions\//) check_decision($0)
    next
}
!is_named($0) { wrong($0 ": docs/map.md does not name it") }
/^src\/bind\// { check_border($0) }
END { exit bad }
'
