#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: fetch.sh NAME PACKAGE MINIMUM TREE [SHA256…]
#
# Puts the source of a library into TREE, from the first of
#   1. a tarball in $DEPS_TARBALLS whose SHA-256 is one of those given
#      (for machines without a network or without apt);
#   2. Debian's signed source package PACKAGE, any version >= MINIMUM, suites
#      in the order of $DEPS_SUITES.
# Mirrors have holes: a version that the index lists may lack its files, so the
# next one is tried, and the .dsc (the likeliest hole) is never asked for.
# Only security patches of the package are applied; the others adapt a library
# to Debian's own way of building. TREE/.origin says what was taken.
set -eu

name=$1 package=$2 minimum=$3 tree=$4
shift 4
here=$(cd "$(dirname "$0")" && pwd)
. "$here/apt.sh"

say() { echo "deps: $name: $*" >&2; }

# unpack TARBALL ORIGIN
unpack() {
    rm -rf "$tree.new"
    mkdir -p "$tree.new"
    tar -xf "$1" -C "$tree.new" --strip-components=1 --no-same-owner || return 1
    echo "$2" >"$tree.new/.origin"
}

commit() {
    rm -rf "$tree"
    mv "$tree.new" "$tree"
    say "$(cat "$tree/.origin")"
    exit 0
}

from_tarballs() {
    for file in "$DEPS_TARBALLS"/*; do
        [ -f "$file" ] || continue
        sum=$(sha256sum <"$file")
        sum=${sum%% *}
        for pin in "$@"; do
            [ "$sum" = "$pin" ] || continue
            unpack "$file" "tarball ${file##*/}" && commit
        done
        case ${file##*/} in
        "$name"[-_]* | "$package"[-_]*)
            say "${file##*/} passed over: deps/versions.mk does not have its"
            say "SHA-256 $sum" ;;
        esac
    done
    say "no pinned tarball in DEPS_TARBALLS=$DEPS_TARBALLS"
}

candidates() {
    papt apt-cache showsrc --only-source "$package" 2>/dev/null |
        awk '/^Version:/ && !seen[$2]++ { print $2 }'
}

security_patches() {
    series=$tree.new/debian/patches/series
    tar -xf "$1" -C "$tree.new" debian/patches 2>/dev/null || return 0
    [ -f "$series" ] || return 0
    for patch in $(sed 's/#.*//' "$series" | awk '/CVE-/ { print $1 }'); do
        if (cd "$tree.new" && patch -s -p1 <"debian/patches/$patch"); then
            say "applied $patch"
        else
            say "$patch does not apply"
            return 1
        fi
    done
}

try_version() {
    version=$1
    apt_fetch source --download-only --tar-only "$package=$version" || {
        say "$version is listed but not on the mirror"
        return 1
    }
    full=${version#*:}
    upstream=$full
    case $full in *-*) upstream=${full%-*} ;; esac
    tarball=$(ls "${package}_$upstream".orig.tar.* 2>/dev/null |
        grep -v '\.asc$' | head -n 1)
    [ -n "$tarball" ] || return 1
    unpack "$tarball" "$package $version (signed source)" || return 1
    if apt_fetch source --download-only --diff-only "$package=$version"; then
        for diff in "${package}_$full".debian.tar.*; do
            [ ! -f "$diff" ] || security_patches "$diff" || return 1
        done
    else
        say "$version comes without its patches (not on the mirror)"
    fi
    rm -rf "$tree.new/debian"
    commit
}

[ -z "${DEPS_TARBALLS:-}" ] || from_tarballs "$@"

mkdir -p "$DEPS_STATE/download"
# one apt at a time: make runs the fetches of several libraries in parallel
exec 9>"$DEPS_STATE/lock"
flock 9
if apt_open deb-src; then
    cd "$DEPS_STATE/download"
    for attempt in first again; do
        for version in $(candidates); do
            dpkg --compare-versions "$version" ge "$minimum" || continue
            try_version "$version" || continue
        done
        # indexes kept since an earlier build may be stale
        [ "$attempt" = again ] || apt_refresh || break
    done
fi
say "no source of $package >= $minimum could be had."
say "Install a development package of $name >= $minimum, or put its release"
say "tarball into a directory and set DEPS_TARBALLS to it."
exit 1
