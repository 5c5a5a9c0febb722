#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Are the checks awake? Each is shown a small clean tree, which it has to pass,
# and then the same tree with one violation planted, which it has to name.
set -eu

: "${MAKE:=make}"
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
planted=0

# A tree that breaks no rule.
clean() {
    rm -rf "${tree:?}"/*
    mkdir -p "$tree/src/base" "$tree/src/proto" "$tree/src/io" \
        "$tree/src/bind" "$tree/src/cli" "$tree/lua/ropewalk" "$tree/apps" \
        "$tree/spec/checks" "$tree/deps"
    put src/ropewalk.h '#include <stddef.h>'
    put src/base/str.h '#include <string.h>'
    put src/base/json.c '#include <yyjson.h>'
    put src/proto/line.c '#include "base/str.h"' '#include "proto/line.h"'
    put src/io/tcp.c '#include <uv.h>' '#include "base/str.h"'
    put src/bind/conn.c '#include <lua.h>' '#include "io/io.h"' \
        '#include "proto/line.h"'
    put src/bind/door.c 'int f(void) { return lua_resume(); }'
    put src/cli/main.c '#include <stdio.h>' '#include "ropewalk.h"'
    put lua/ropewalk/async.lua 'return coroutine.yield'
    put lua/ropewalk/class.lua 'local type = type' 'local _ENV <const> = nil' \
        'return function(x) return type(x) end'
    put lua/ropewalk/init.lua 'return require "ropewalk.async"'
    put apps/hello.lua 'local rw = require "ropewalk"' 'return rw.server("x")'
    put deps/good.sh '#!/bin/sh' 'echo fine'
}
put() { file=$tree/$1; shift; printf '%s\n' "$@" >"$file"; }
lines() { awk -v n="$1" 'BEGIN { while (n-- > 0) print "-- x" }'; }

broken() { echo "selftest: $*"; exit 1; }

# passes CHECK…: the clean tree is accepted
passes() {
    clean
    said=$("$@" 2>&1) || broken "$* refuses a clean tree:" "$said"
}

# refuses TEXT CHECK…: the planted tree is not, and the reason says TEXT
refuses() {
    text=$1; shift
    planted=$((planted + 1))
    if said=$("$@" 2>&1); then broken "$* accepts what it should not: $text"; fi
    case $said in
    *"$text"*) ;;
    *) broken "$* fails, but not with '$text':" "$said" ;;
    esac
    clean
}

layers() { sh "$here/layers.sh" "$tree"; }
passes layers
put src/proto/p.c '#include <lua.h>'; refuses 'src/proto/p.c:1: <lua.h>' layers
put src/bind/b.c '#include <uv.h>'; refuses '<uv.h> belongs in' layers
put src/io/i.c '#include <yyjson.h>'; refuses '<yyjson.h> belongs' layers
put src/base/b.c '#include "io/io.h"'; refuses 'base may not' layers
put src/proto/p.c '#  include "io/io.h"'; refuses 'proto may not' layers
put src/io/i.c '' '#include "proto/p.h"'; refuses 'i.c:2: io may not' layers
put src/cli/c.c '#include "base/str.h"'; refuses 'cli may not' layers
put src/proto/p.c '#include <sys/socket.h>'; refuses 'not for proto' layers
put src/proto/p.c '#include <time.h>'; refuses 'not for proto' layers
put src/base/b.c '#include <gnutls/gnutls.h>'; refuses 'in no line' layers
put src/base/b.c '#include "str.h"'; refuses 'name its layer' layers
put src/base/b.c '#include HEADER'; refuses 'by macro' layers
put src/ropewalk.h '#include "base/str.h"'; refuses 'stands alone' layers
put src/bind/b.c 'int g(void) { return lua_resume(L); }'
refuses 'lua_resume may be called in' layers
mkdir "$tree/src/misc"; put src/misc/m.c ''; refuses 'no layer' layers
put apps/a.lua 'local lfs = require("lfs")'; refuses 'require "lfs"' layers
put apps/a.lua 'local m = require(name)'; refuses 'computed' layers
put lua/ropewalk/a.lua 'pcall(require, "lfs")'; refuses '"lfs"' layers
put lua/ropewalk/a.lua 'coroutine.yield()'; refuses 'coroutine.yield' layers
put apps/a.lua 'local y = coroutine["yield"]'; refuses 'a.lua:1' layers

count() { sh "$here/lines.sh" "$tree"; }
passes count
lines 501 >"$tree/lua/ropewalk/a.lua"; refuses '500 is the most' count
lines 801 >"$tree/src/base/a.c"; refuses '800 is the most' count
lines 301 >"$tree/src/base/a.h"; refuses '300 is the most' count
lines 301 >"$tree/apps/a.lua"; refuses 'over 300' count
lines 501 >"$tree/src/io/a.c"; refuses 'over 500' count
lines 550 >"$tree/src/io/a.c"
put spec/checks/lines.allow 'src/io/a.c 549'; refuses 'grew to 550' count
lines 550 >"$tree/src/io/a.c"
put spec/checks/lines.allow 'src/io/a.c 550'
count >/dev/null || broken "lines.sh refuses a file that is in lines.allow"

lint_lua() { sh "$here/lint.sh" lua "$tree"; }
passes lint_lua
put apps/a.lua 'local unused = 1'; refuses 'unused variable' lint_lua
put apps/a.lua 'print(undefined_name)'; refuses 'undefined_name' lint_lua
put lua/ropewalk/a.lua 'x = 1'; refuses 'x' lint_lua
put lua/ropewalk/a.lua 'local _ENV <const> = nil' 'return print'
refuses "undefined variable 'print'" lint_lua
put lua/ropewalk/a.lua 'return ('; refuses 'expected' lint_lua
put apps/a.lua "return '$(lines 30 | tr -d '\n')'"; refuses 'too long' lint_lua

# docs/ beside a source file, a function of core and two decisions
documented() {
    mkdir -p "$tree/docs/decisions"
    rm -rf "$tree/src" "$tree/lua"
    mkdir -p "$tree/src/bind" "$tree/lua/ropewalk/web"
    put src/bind/x.c '{"x_open", core_x_open},'
    put lua/ropewalk/web/a.lua ''
    put docs/README.md '[a](map.md) [b](border.md) [1](decisions/001-a.md)' '[2](decisions/002-b.md)'
    put docs/map.md '| x | `src/bind/x.c`, `lua/ropewalk/web/` |'
    put docs/border.md '`core.x_open()`'
    put docs/decisions/001-a.md '# 001 A'
    put docs/decisions/002-b.md '# 002 B'
}
lint_docs() { sh "$here/docs.sh" "$tree"; }
refuses_docs() { refuses "$1" lint_docs; documented; }
clean; documented
lint_docs >/dev/null || broken "docs.sh refuses what is documented"
put src/bind/y.c ''; refuses_docs 'y.c: docs/map.md does not name it'
put lua/ropewalk/b.lua ''; refuses_docs 'b.lua: docs/map.md does not'
put src/bind/x.c '{"x_shut", core_x_shut},'; refuses_docs 'core.x_shut is not in'
put docs/more.md ''; refuses_docs 'more.md: docs/README.md does not'
put docs/decisions/002-b.md '# 003 B'; refuses_docs 'its title is not'
rm "$tree/docs/decisions/001-a.md"; refuses_docs 'number 1 is missing'

lint_sh() { sh "$here/lint.sh" sh "$tree"; }
passes lint_sh
put deps/bad.sh '#!/bin/sh' 'if true; then'; refuses 'bad.sh' lint_sh

# The compiler's warnings, through the makefile's own rule. Each source has its
# own name: one written twice within a clock tick would look unchanged.
source=0
lint_c() { $MAKE -s lint-c LINT_C="$tree/$source.c"; }
refuses_c() {
    reason=$1; shift
    source=$((source + 1))
    put "$source.c" "$@"
    refuses "$reason" lint_c
}
if command -v clang >/dev/null; then
    put 0.c 'int f(int);' 'int f(int a) { return a; }'
    said=$(lint_c 2>&1) || broken "lint-c refuses clean C:" "$said"
    refuses_c prototype 'int f(int a) { return a; }'
    refuses_c conversion 'int f(long a);' 'int f(long a) { return a; }'
    refuses_c shadow 'int f(int a);' 'int f(int a) { { int a = 1; return a; } }'
    rm -rf "${BUILD:-build}/lint$tree"
fi

echo "selftest: $planted planted violations, $planted found"
