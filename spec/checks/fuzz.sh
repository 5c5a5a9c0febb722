#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: fuzz.sh PROGRAM NAME SECONDS OUT
#
# Runs one libFuzzer program. Seeds are spec/fuzz/corpus/NAME and what the transcripts
# in spec/wire/NAME say, a dictionary is
# spec/fuzz/NAME.dict; what it finds worth keeping goes to OUT/corpus/NAME, an
# input that breaks something to OUT/NAME-*, the whole talk to OUT/NAME.log.
set -eu

program=$1 name=$2 seconds=$3 out=$4
mkdir -p "$out/corpus/$name"
set -- "$out/corpus/$name"
[ ! -d "spec/fuzz/corpus/$name" ] || set -- "$@" "spec/fuzz/corpus/$name"
if [ -d "spec/wire/$name" ]; then
    python3 spec/fuzz/seeds "$name" "$out/seeds/$name"
    set -- "$@" "$out/seeds/$name"
fi
[ ! -f "spec/fuzz/$name.dict" ] || set -- "-dict=spec/fuzz/$name.dict" "$@"
if "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$out/$name-" "$@" \
    >"$out/$name.log" 2>&1; then
    runs=$(awk '/number_of_executed_units/ { print $2 }' "$out/$name.log")
    cover=$(sed -n 's/.* cov: \([0-9]*\).*/\1/p' "$out/$name.log" | tail -n 1)
    echo "fuzz: $name: ${runs:-?} runs, ${cover:-?} edges, nothing found"
else
    tail -n 60 "$out/$name.log" | cut -c 1-200
    echo "fuzz: $name failed; its input is beside $out/$name.log"
    exit 1
fi
