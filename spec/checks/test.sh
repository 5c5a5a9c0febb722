#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# `make test`: all that has to pass, cheap checks first, stopping at the first
# stage that fails. The specs on the release build come last, so that the last
# line is their totals: N passed, N failed, N skipped.
set -euo pipefail

: "${MAKE:=make}" "${BUILD:=build}" "${T:=10}" "${T_ENGINES:=30}"
began=$SECONDS

stage() {
    local title=$1 start=$SECONDS
    shift
    echo "== $title"
    if ! "$@"; then
        echo "== $title FAILED after $((SECONDS - start)) s"
        exit 1
    fi
    echo "== $title: $((SECONDS - start)) s"
}

stage "build" $MAKE all
stage "layers" $MAKE layers
stage "lines" $MAKE lines
stage "lint" $MAKE lint
stage "static analysis" $MAKE analyze-fast
stage "checks fail when they should" $MAKE selftest
stage "torture" $MAKE torture
stage "instructions per operation" $MAKE budget
stage "fuzz, $T s each, engines $T_ENGINES s" $MAKE fuzz T="$T" T_ENGINES="$T_ENGINES" SEED=1
stage "torture, AddressSanitizer" $MAKE torture VARIANT=asan
stage "specs, AddressSanitizer" $MAKE asan

# The same header and duration, with the last line kept for the end.
last_line_last() {
    local line held='' any=
    while IFS= read -r line || [ -n "$line" ]; do
        [ -z "$any" ] || printf '%s\n' "$held"
        held=$line any=yes
    done
    echo "== specs: $((SECONDS - start)) s; all together $((SECONDS - began)) s"
    printf '%s\n' "$held"
    # a run that says nothing, or ran nothing, has not passed
    [[ $held =~ ^[1-9][0-9]*\ passed,\ [0-9]+\ failed,\ [0-9]+\ skipped$ ]]
}

echo "== specs"
start=$SECONDS
"$BUILD/ropewalk" test -j 2 --again spec | last_line_last
