#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Do the nets hold? Each kind of mistake is made once, in a copy of the tree, and
# the net that is meant for it has to catch it, and to say what it caught. What
# nets there are is in docs/checking.md. `selftest_nets.sh WORD…`: only those
# whose description has one of the words.
set -eu

: "${MAKE:=make}" "${BUILD:=build}"
root=$(cd "$(dirname "$0")/../.." && pwd)
case $BUILD in /*) ;; *) BUILD=$root/$BUILD ;; esac
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
caught=0 wanted=$*

cd "$root"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp -a --parents -t "$tree"
mkdir "$tree/build"
# what is built already is built in the copy
cp -a "$BUILD/release" "$tree/build/release"
ln -s "$BUILD/deps" "$tree/build/deps"
cd "$tree"
export BUILD=build

broken() { echo "selftest-nets: $*"; exit 1; }

# mistake WHAT FILE SED-EXPRESSION TEXT NET…: the net fails and says TEXT
mistake() {
    what=$1 file=$2 change=$3 text=$4
    shift 4
    if [ -n "$wanted" ]; then
        case " $wanted " in *" ${what%% *} "*) ;; *) return 0 ;; esac
    fi
    cp "$file" "$tree/before"
    sed -i "$change" "$file"
    ! cmp -s "$file" "$tree/before" || broken "$what: nothing to break in $file"
    if said=$("$@" 2>&1); then broken "$what: not caught by $*:" "$said"; fi
    case $said in
    *"$text"*) ;;
    *) broken "$what: $* fails, but not with '$text':" "$said" ;;
    esac
    cp "$tree/before" "$file"
    caught=$((caught + 1))
    echo "selftest-nets: caught: $what"
}

make_() { $MAKE -s "$@" </dev/null; }
torture() { make_ build/release/torture && build/release/torture "spec/wire/$1"; }
faults() { make_ build/release/torture_io && build/release/torture_io "$1"; }
memory() { make_ build/release/torture_bind && build/release/torture_bind "$1"; }
budget() { make_ build/release/bench/budget && spec/bench/budget --low --build build; }
analyze() { make_ "$1"; }
layers() { make_ layers; }
examples() { make_ all && build/ropewalk test spec/docs/examples_spec.lua --filter="$1"; }
soak() { make_ all && spec/soak/run --seconds 12 --each 1 --binary build/ropewalk; }

mistake 'leak: an engine keeps its buffer' src/proto/frame.c \
    '/^static void frame_fini/,/^}/s/buf_release(&e->held);/(void)e;/' \
    'bytes' torture frame
mistake 'limit: off by one in the number of header fields' src/proto/http1_head.c \
    's/field_count >= e->env.limits->max_headers/field_count > e->env.limits->max_headers/' \
    'failed' torture http1
mistake 'state: what is cut is forgotten' src/proto/netstring.c \
    's/e->pending = bytes;/e->pending = bytes; if (bytes.n == 1) e->pending.n = 0;/' \
    'failed' torture netstring
mistake 'signal: sendfile is not tried again' src/io/uvstream.c \
    's/while (sent < 0 \&\& errno == EINTR);/while (0);/' \
    'bytes are missing: sendfile' faults 'over tcp'
mistake 'descriptor: one stays open when the loop cannot be made' src/io/loop.c \
    '/it forgets this one/d' \
    'a descriptor leaks: eventfd' faults 'over tcp'
mistake 'allocation: a failed one is not looked at' src/base/buf.c \
    's/if (!data) return RW_ENOMEM;//' \
    '' torture line
mistake 'debt: what had no memory is not tried again' src/bind/debt.c \
    's/bool failed = .*;/bool failed = status > 0;/' \
    'it hangs' memory 'connecting to nobody'
mistake 'slow: a path takes longer' src/proto/line.c \
    's/^static int64_t line_feed.*/&\n    for (volatile int i = 0; i < 8; i++) {}/' \
    'OVER' budget
mistake 'null: a pointer that may be NULL is used' src/base/mem.c \
    's/if (p) memset(p, 0, size);/memset(p, 0, size); if (!p) p = m;/' \
    '' analyze build/analyze/src/base/mem.c.gcc
mistake 'layer: the parser sees the socket' src/proto/raw.c \
    's/^#include "proto.*/&\n#include "io\/io.h"/' \
    'proto may not' layers
mistake 'example: a page shows what is not there' docs/flow.md \
    's/^return rw.server(rw.config.listen or "tcp:127.0.0.1:7003"/return rw.serve(rw.config.listen or "tcp:127.0.0.1:7003"/' \
    'flow.md' examples 'flow'
mistake 'growth: a script keeps something of each request' spec/soak/server.lua \
    's/^site:get("\/", function()/local kept = {}\nsite:get("\/", function() kept[#kept + 1] = ("x"):rep(30000) .. #kept;/' \
    'soak: FAILED' soak

echo "selftest-nets: $caught mistakes made, $caught caught"
