#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: resolve.sh OUT NAME MINIMUM PKGCONFIG-NAMES PACKAGE QUESTION [SHA256…]
#
# Decides where library NAME comes from and writes the answer to OUT, a
# makefile: NAME_ORIGIN for people, and for the build either NAME_TREE (source
# to compile) or NAME_CPPFLAGS and NAME_LIBS (the system's).
set -eu

out=$1 name=$2 minimum=$3 modules=$4 package=$5 question=$6
shift 6
here=$(cd "$(dirname "$0")" && pwd)
directory=$(dirname "$out")
mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
tree=$directory/src/$name

# Only one at a time decides about a library, even when two makes run at once.
exec 8>"$directory/.$name.lock"
flock 8
grep -q -x -F "${name}_ASKED := $question" "$out" 2>/dev/null && exit 0

answer() {
    {
        echo "# written by deps/resolve.sh"
        echo "${name}_ASKED := $question"
        printf '%s\n' "$@"
    } >"$out.new"
    mv "$out.new" "$out"
    exit 0
}

for tool in "${DEPS_CC%% *}" tar xz patch flock; do
    command -v "$tool" >/dev/null || {
        echo "deps: '$tool' is missing: run 'make setup'" >&2
        exit 1
    }
done

# The static library when the system has it (then the binary runs elsewhere),
# the shared one otherwise.
from_system() {
    command -v pkg-config >/dev/null || return 0
    for module in $modules; do
        pkg-config --atleast-version="$minimum" "$module" 2>/dev/null || continue
        libraries=$(pkg-config --libs "$module")
        for word in $(pkg-config --libs-only-l "$module"); do
            file=$(pkg-config --variable=libdir "$module")/lib${word#-l}.a
            if [ -f "$file" ]; then
                libraries=$file
                needs=$(pkg-config --static --libs-only-l "$module" |
                    sed "s/$word\\b//")
            fi
            break
        done
        includes=$(pkg-config --cflags-only-I "$module" | sed 's/-I/-isystem /g')
        answer "${name}_ORIGIN := system, $(pkg-config --modversion "$module")" \
            "${name}_CPPFLAGS := $includes \$(${name}_CPPFLAGS_EXTRA)" \
            "${name}_LIBS := $libraries" "${name}_NEEDS += ${needs:-}"
    done
}

[ "${DEPS_FROM:-auto}" = bundled ] || from_system
if [ "${DEPS_FROM:-auto}" = system ]; then
    echo "deps: $name: no system library >= $minimum (pkg-config $modules)" >&2
    exit 1
fi

if [ "$name" = llhttp ]; then
    if sh "$here/llhttp.sh" "$minimum" "$tree"; then
        answer "${name}_ORIGIN := $(cat "$tree/.origin")" \
            "${name}_TREE := ${out%/*}/src/$name"
    fi
    echo "deps: llhttp could not be had: fuzzing goes without the HTTP oracle" >&2
    echo "      (remove $out to try again)" >&2
    answer "${name}_ORIGIN := absent (optional)"
fi

sh "$here/fetch.sh" "$name" "$package" "$minimum" "$tree" "$@"
answer "${name}_ORIGIN := built here, $(cat "$tree/.origin")" \
    "${name}_TREE := ${out%/*}/src/$name"
