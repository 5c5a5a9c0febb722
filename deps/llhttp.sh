#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: llhttp.sh MINIMUM TREE
#
# llhttp's C is generated; its source package holds the generator instead, and
# only the (signed) binary package libllhttp-source the C itself. Needed by the
# fuzz targets alone, so a machine that cannot have it just gets status 1.
set -eu

minimum=$1 tree=$2
here=$(cd "$(dirname "$0")" && pwd)
. "$here/apt.sh"

mkdir -p "$DEPS_STATE/download-deb"
exec 9>"$DEPS_STATE/lock"
flock 9
apt_open deb || exit 1
cd "$DEPS_STATE/download-deb"
for version in $(papt apt-cache show libllhttp-source 2>/dev/null |
    awk '/^Version:/ && !seen[$2]++ { print $2 }'); do
    dpkg --compare-versions "$version" ge "$minimum" || continue
    apt_fetch download "libllhttp-source=$version" || continue
    rm -rf unpacked "$tree"
    dpkg-deb -x libllhttp-source_*.deb unpacked
    header=$(find unpacked -name llhttp.h | head -n 1)
    [ -n "$header" ] || continue
    mkdir -p "$tree"
    find unpacked -name '*.[ch]' -exec cp {} "$tree" \;
    echo "libllhttp-source $version (signed package)" >"$tree/.origin"
    echo "deps: llhttp: $(cat "$tree/.origin")" >&2
    exit 0
done
exit 1
