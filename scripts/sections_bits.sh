#!/usr/bin/env bash
# The same run on 1, 2, 3 and 5 workers must give the same weights and ledger, byte for byte, with every worker at work.
# A last run with another shards_per_step, a key that may change bits, shows that the comparison can tell runs apart.
# STEPS=n sets the length of each run (60).
set -euo pipefail
cd "$(dirname "$0")/.."

runs=runs/sections_bits
steps=${STEPS:-60}

train() { # NAME WORKERS [--set …]
    local name=$1 workers=$2
    shift 2
    echo "training $name"
    headstart train examples/sections/run.yaml --workers "$workers" \
        --set "output_dir=$runs/$name" --set "max_steps=$steps" --set "eval_steps=$steps" "$@"
}

rm -rf "$runs"
for workers in 1 2 3 5; do
    train "workers-$workers" "$workers" --set "cluster.min_workers=$workers"
done
train shards-4 2 --set shards_per_step=4
"${PYTHON:-python3}" scripts/check_bits.py "$runs"
