#!/bin/sh
# SPDX-License-Identifier: MIT
# usage: fuzz.sh PROGRAM NAME SECONDS OUT [SEED]
#
# Runs one libFuzzer program. Seeds are spec/fuzz/corpus/NAME, NAME.tar.gz beside it
# and what the transcripts in spec/wire/NAME say; spec/fuzz/NAME.dict is a dictionary,
# spec/fuzz/NAME.options has options for libFuzzer. What is found worth keeping goes to
# OUT/corpus/NAME, an input that breaks something to OUT/NAME-*, the whole talk to
# OUT/NAME.log. With a SEED, the run begins from nothing but the seeds of the tree, and
# is the same each time as far as it gets. SECONDS "keep": what was found is minimised,
# and becomes NAME.tar.gz if it is small.
set -eu

program=$1 name=$2 seconds=$3 out=$(realpath "$4") seed=${5:-}
found=$out/corpus/$name
if [ -n "$seed" ]; then
    found=$out/repeated/$name
    rm -rf "$found"
fi
mkdir -p "$found"
set -- "$found"
[ ! -d "spec/fuzz/corpus/$name" ] || set -- "$@" "spec/fuzz/corpus/$name"
if [ -d "spec/wire/$name" ]; then
    python3 spec/fuzz/seeds "$name" "$out/seeds/$name"
    set -- "$@" "$out/seeds/$name"
fi
kept=spec/fuzz/corpus/$name.tar.gz
if [ -f "$kept" ]; then
    mkdir -p "$out/seeds/$name-kept"
    tar -xzf "$kept" -C "$out/seeds/$name-kept"
    set -- "$@" "$out/seeds/$name-kept"
fi
if [ "$seconds" = keep ]; then
    rm -rf "$out/merged/$name"
    mkdir -p "$out/merged/$name"
    "$program" -set_cover_merge=1 "$out/merged/$name" "$@" >"$out/$name.log" 2>&1
    (cd "$out/merged/$name" && tar --sort=name --mtime=@0 --owner=0 --group=0 -cf - . | gzip -9n) \
        >"$out/$name.tar.gz"
    size=$(wc -c <"$out/$name.tar.gz")
    echo "fuzz: $name: $(ls "$out/merged/$name" | wc -l) inputs, $size bytes"
    [ "$size" -gt 65536 ] || cp "$out/$name.tar.gz" "$kept"
    exit
fi
[ ! -f "spec/fuzz/$name.dict" ] || set -- "-dict=spec/fuzz/$name.dict" "$@"
[ ! -f "spec/fuzz/$name.options" ] || set -- $(cat "spec/fuzz/$name.options") "$@"
[ -z "$seed" ] || set -- "-seed=$seed" "$@"
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
