#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: setup.sh build|test|testssl…
#
# Sees to it that the tools of the named groups are there: quietly when they
# are, by apt-get (no questions) when they are not and this is root, else by
# saying what to install and failing.
set -eu

# What a group needs, as TOOL:PACKAGE; a tool is a command or an absolute path.
build="gcc:gcc make:make ld:binutils /usr/include/stdio.h:libc6-dev tar:tar
    xz:xz-utils bzip2:bzip2 patch:patch pkg-config:pkg-config flock:util-linux
    /etc/ssl/certs/ca-certificates.crt:ca-certificates
    /usr/share/keyrings/debian-archive-keyring.gpg:debian-archive-keyring"
test="busted:lua-busted luacheck:lua-check curl:curl wrk:wrk socat:socat
    nc:netcat-openbsd clang:clang clang-tidy:clang-tidy cppcheck:cppcheck valgrind:valgrind python3:python3 ip:iproute2 dig:bind9-dnsutils
    openssl:openssl gnutls-cli:gnutls-bin sslscan:sslscan haproxy:haproxy systemd-socket-activate:systemd
    /usr/lib/python3/dist-packages/twisted:python3-twisted
    /usr/lib/python3/dist-packages/cryptography:python3-cryptography
    /usr/include/glib-2.0/glib.h:libglib2.0-dev"
testssl="testssl:testssl.sh openssl:openssl"

# Packages that no command stands for.
extra_test() {
    # libFuzzer and clang's sanitizers go with clang's own version
    major=$(clang -dumpversion 2>/dev/null | cut -d. -f1)
    : "${major:=$(apt-cache depends clang 2>/dev/null |
        sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)}"
    [ -z "$major" ] || [ -n "$(find "$(clang -print-resource-dir 2>/dev/null ||
        echo /nowhere)/" -name 'libclang_rt.fuzzer*.a' 2>/dev/null)" ] ||
        echo "libclang-rt-$major-dev"
    # valgrind reads the C library's symbols
    [ -d /usr/lib/debug/.build-id ] || echo libc6-dbg
}
# TLS is slower without it, that is all: root gets it where there is one
extra_build() {
    pkg-config --exists 'libcrypto >= 3.0' 2>/dev/null || [ "$(id -u)" != 0 ] ||
        ! apt-cache show libssl-dev >/dev/null 2>&1 || echo libssl-dev
}
extra_testssl() { :; }

missing() {
    for group in "$@"; do
        eval "tools=\$$group"
        for pair in $tools; do
            tool=${pair%%:*}
            case $tool in
            /*) [ -e "$tool" ] || echo "${pair#*:}" ;;
            *) command -v "$tool" >/dev/null 2>&1 || echo "${pair#*:}" ;;
            esac
        done
        "extra_$group"
    done
}

wanted() { missing "$@" | sort -u | tr '\n' ' '; }

packages=$(wanted "$@")
[ -n "$packages" ] || exit 0

command="apt-get install -y --no-install-recommends $packages"
if ! command -v apt-get >/dev/null; then
    echo "setup: this needs what Debian calls: $packages" >&2
    exit 1
elif [ "$(id -u)" != 0 ]; then
    echo "setup: something is missing; as root, run" >&2
    echo "  $command" >&2
    exit 1
fi

echo "setup: installing $packages" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() { $command -q -o Dpkg::Use-Pty=0 >"$log" 2>&1 </dev/null; }
# indexes may be missing or too old: fetch them when the first try fails
install || {
    apt-get update -q >"$log" 2>&1 || :
    packages=$(wanted "$@")
    command="apt-get install -y --no-install-recommends $packages"
    install
} || {
    tail -n 20 "$log" >&2
    echo "setup: this failed: $command" >&2
    exit 1
}
packages=$(wanted "$@")
[ -z "$packages" ] || { echo "setup: still missing: $packages" >&2; exit 1; }
