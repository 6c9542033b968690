#!/usr/bin/env bash
# fuzz.sh SECONDS [TARGET…]: hostile bytes for every parser of fuzz/targets, each for so long. Plain cargo and the pinned
# toolchain: coverage flags are stable, and sanitizers (which are not) have nothing to find in code without `unsafe`.
set -euo pipefail

cd "$(dirname "$0")/.."
out=$(realpath -m "${CARGO_TARGET_DIR:-target}")/fuzz
cd fuzz
seconds=$1
shift
targets=("$@")
if [ "$#" = 0 ]; then
    targets=(targets/*.rs)
    targets=("${targets[@]##*/}")
    targets=("${targets[@]%.rs}")
fi

../scripts/retry.sh "${CARGO:-cargo}" fetch --quiet --locked
host=$(rustc -vV | sed -n 's/^host: //p')
flags=(--cfg fuzzing -Cpasses=sancov-module)
for coverage in level=4 inline-8bit-counters pc-table trace-compares; do
    flags+=("-Cllvm-args=-sanitizer-coverage-$coverage")
done
# With --target, build scripts and macros are built without these flags.
RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$out \
    "${CARGO:-cargo}" build --release --locked --bins --target "$host"

built=$out/$host/release
"$built/seeds" "$out/seeds"
mkdir -p "$out/logs"
failed=()
for target in "${targets[@]}"; do
    corpus=$out/corpus/$target
    artifacts=$out/artifacts/$target/
    log=$out/logs/$target
    # Seconds for one input; the largest image that is decoded takes instrumented code ten.
    longest=5
    [ "$target" = image ] && longest=30
    mkdir -p "$corpus" "$artifacts"
    # What is found stays in the corpus, so that the next run begins where this one ended.
    if "$built/$target" "$corpus" "$out/seeds/$target" -max_total_time="$seconds" -timeout="$longest" -rss_limit_mb=1024 \
        -max_len=4096 -print_final_stats=1 -artifact_prefix="$artifacts" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        memory=$(sed -n 's/^stat::peak_rss_mb: *//p' "$log")
        echo "$target: $seconds s, $runs inputs, at most $memory MB"
    else
        failed+=("$target")
        tail -n 40 "$log"
        echo "$target failed; what did it is in $artifacts, run it again with: $built/$target FILE" >&2
    fi
done
if [ "${#failed[@]}" -gt 0 ]; then
    echo "fuzzing failed: ${failed[*]}" >&2
    exit 1
fi
