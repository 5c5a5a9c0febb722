#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: lint.sh lua|sh ROOT
set -eu

what=$1
config=$(cd "$(dirname "$0")/../.." && pwd)/.luacheckrc
cd "$2"
case $what in
lua)
    # After `local _ENV <const> = nil` a module reaches no global at all, but
    # luacheck takes every name for a field of that local. It is shown copies
    # that say the same in its own words.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    find lua apps spec -name '*.lua' 2>/dev/null >"$copy.list" || :
    [ -s "$copy.list" ] || { rm -f "$copy.list"; exit 0; }
    tar -cf - -T "$copy.list" | tar -xf - -C "$copy"
    rm -f "$copy.list"
    cd "$copy"
    find . -name '*.lua' -exec sed -i \
        's/^local _ENV <const> = nil.*/-- luacheck: std none/' {} +
    luacheck --quiet --no-color --config "$config" *
    ;;
sh)
    # every script, by its first line: syntax in the shell it asks for
    status=0
    for file in $(find deps spec .ci -type f 2>/dev/null | LC_ALL=C sort); do
        case $(head -c 64 "$file" | head -n 1 | tr -d '\0') in
        '#!'*bash*) bash -n "$file" || status=1 ;;
        '#!'*sh*) sh -n "$file" || status=1 ;;
        *) case $file in *.sh) sh -n "$file" || status=1 ;; esac ;;
        esac
    done
    exit $status
    ;;
esac
