#!/usr/bin/env bash
# What is a head start worth? Train on the digits 0–4, then learn 5–9 from there and, for comparison, from scratch.
# SEED=n repeats the story with another seed. Run it with `make demo`.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v headstart >/dev/null || { echo "headstart is not on PATH: run \`make demo\`" >&2; exit 1; }
example=examples/digits
seed=${SEED:-42}
started=$SECONDS

[ -d "$example/data" ] || "${PYTHON:-python3}" "$example/prepare.py"
# The runs of a demo are disposable: each one starts afresh.
rm -rf runs/zero_to_four runs/five_to_nine runs/five_to_nine_scratch runs/head_start.svg runs/report.html

echo "1/3  Task A: the digits 0 to 4, from random weights"
headstart train "$example/pretrain.yaml" --set "seed=$seed"

echo "2/3  Task B: the digits 5 to 9, with the head start of task A, on 3 workers"
headstart train "$example/finetune.yaml" --workers 3 --set "seed=$seed"

echo "3/3  Task B again, from random weights, on 3 workers"
headstart train "$example/scratch.yaml" --workers 3 --set "seed=$seed"

echo
headstart compare runs/five_to_nine runs/five_to_nine_scratch \
    --names "head start,from scratch" --plot runs/head_start.svg
headstart report runs/five_to_nine runs/five_to_nine_scratch --names "head start,from scratch" --out runs/report.html
echo "Curves: runs/head_start.svg. Fine-tuned weights: runs/five_to_nine/final. Took $((SECONDS - started)) s."
