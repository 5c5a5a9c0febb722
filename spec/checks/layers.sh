#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: layers.sh ROOT
#
# Holds the tree under ROOT against layers.table beside this script: includes
# in C, require and coroutine.yield in Lua. Prints FILE:LINE: what is wrong;
# status 1 if anything is.
set -eu

table=$(cd "$(dirname "$0")" && pwd)/layers.table
cd "$1"
{
    find src spec -name '*.[ch]' 2>/dev/null
    find apps lua -name '*.lua' 2>/dev/null
} | LC_ALL=C sort | awk -v table="$table" '
# a shell pattern as an anchored regular expression
function regex(pattern) {
    gsub(/[.+]/, "\\\\&", pattern)
    gsub(/\*/, ".*", pattern)
    return "^" pattern "$"
}
function matches(text, patterns,    i, n, list) {
    n = split(patterns, list, " ")
    for (i = 1; i <= n; i++)
        if (text ~ regex(list[i])) return 1
    return 0
}
function wrong(what) { printf "%s:%d: %s\n", file, number, what; bad = 1 }

function read_table(    words, key, rest, n) {
    while ((getline line < table) > 0) {
        sub(/#.*/, "", line)
        n = split(line, words, " ")
        if (n < 2) continue
        key = words[1]
        rest = line
        sub(/^[ \t]*[a-z]+[ \t]+/, "", rest)
        if (key == "system") system_headers = system_headers " " rest
        else if (key == "yield") yielders = yielders " " rest
        else {
            sub(/^[^ \t]+[ \t]*/, "", rest)
            if (key == "own") own[words[2]] = own[words[2]] " " rest
            else if (key == "not") never[words[2]] = never[words[2]] " " rest
            else if (key == "foreign") foreign[words[2]] = rest
            else if (key == "calls") calls[words[2]] = rest
            else if (key == "require") requires[words[2]] = rest
            else { print table ": what is \"" key "\"?"; bad = 1 }
        }
    }
}

function included(header, quoted,    pattern) {
    if (quoted) {
        if (layer == "") {
            return                 # specs may see any of our own
        } else if (layer == "root") {
            wrong("ropewalk.h includes \"" header "\": it stands alone")
        } else if (header !~ /\// && header != "ropewalk.h") {
            wrong("\"" header "\": name its layer (\"" layer "/" header "\")")
        } else if (!matches(header, own[layer])) {
            wrong(layer " may not include \"" header "\"")
        }
        return
    }
    for (pattern in foreign)
        if (matches(header, pattern)) {
            if (!matches(file, foreign[pattern]))
                wrong("<" header "> belongs in" \
                    (" " foreign[pattern]) " only")
            return
        }
    if (!matches(header, system_headers))
        wrong("<" header "> is in no line of layers.table")
    else if (layer != "" && matches(header, never[layer]))
        wrong("<" header "> is not for " layer)
}

function c_line(line,    name, quoted) {
    if (line ~ /^[ \t]*#[ \t]*include/) {
        quoted = line ~ /include[ \t]*"/
        name = line
        if (!sub(/^[ \t]*#[ \t]*include[ \t]*["<]/, "", name))
            return wrong("an include by macro cannot be checked")
        sub(/[">].*/, "", name)
        included(name, quoted)
    } else if (file ~ /^src\//) {
        sub(/\/\/.*/, "", line)
        if (line ~ /^[ \t]*(\/?\*)/) return
        for (name in calls)
            if (line ~ ("(^|[^a-zA-Z0-9_])" name "[ \t]*\\(") && \
                    !matches(file, calls[name]))
                wrong(name " may be called in " calls[name] " only")
    }
}

function lua_line(line,    rest, name, path, ok) {
    sub(/--.*/, "", line)
    if (line ~ /coroutine[ \t]*(\.[ \t]*yield|\[.*yield)/ && \
            !matches(file, yielders))
        wrong("coroutine.yield: only" yielders " may (await instead)")
    rest = line
    while (match(rest, /(^|[^a-zA-Z0-9_.:])require[ \t]*[("\047[,]/)) {
        rest = substr(rest, RSTART + RLENGTH - 1)
        if (!match(rest, /^[(, \t]*["\047][^"\047]*["\047]/)) {
            if (file ~ /^apps\//)
                wrong("require of a computed name cannot be checked")
            rest = substr(rest, 2)
            continue
        }
        name = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RLENGTH + 1)
        gsub(/[(, \t"\047]/, "", name)
        ok = name ~ /^ropewalk(\.|$)/
        for (path in requires)
            if (matches(file, path) && matches(name, requires[path])) ok = 1
        if (!ok) wrong("require \"" name "\": only \"ropewalk…\" is for here")
    }
}

BEGIN { read_table() }
{
    file = $0
    layer = ""
    if (split(file, part, "/") > 2 && part[1] == "src") {
        layer = part[2]
        if (!(layer in own)) {
            number = 0
            wrong("src/" layer " is no layer that layers.table knows")
        }
    } else if (part[1] == "src") layer = "root"
    number = 0
    while ((getline line < file) > 0) {
        number++
        if (file ~ /\.lua$/) lua_line(line)
        else c_line(line)
    }
    close(file)
}
END { exit bad }
'
