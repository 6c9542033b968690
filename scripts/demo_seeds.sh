#!/usr/bin/env bash
# The demo with seeds 1, 2 and 3 (or SEEDS="…"): at a third of the steps the head start is worth 5 points or more.
set -euo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT
for seed in ${SEEDS:-1 2 3}; do
    SEED=$seed examples/digits/demo.sh >"$log" 2>&1 || { cat "$log" >&2; exit 1; }
    headstart compare runs/five_to_nine runs/five_to_nine_scratch --names "head start,from scratch" --json |
        "${PYTHON:-python3}" scripts/check_gap.py --seed "$seed" --points 5
done
