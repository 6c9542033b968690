#!/usr/bin/env bash
# Chat templates render and mask conversations as transformers does. A step of every family, and twenty steps of one run, give
# what PyTorch and transformers make of them; then transformers opens and evaluates what Headstart wrote.
# HEADSTART_PYTHON may name a Python that has the packages of requirements.txt; else they are installed (3 GB, once).
set -euo pipefail
cd "$(dirname "$0")/../.."

here=tests/parity
runs=runs/parity
python=${HEADSTART_PYTHON:-$(scripts/python-env.sh $here/requirements.txt)}

# Of these packages only the template files are read.
templates=$(scripts/python-env.sh $here/templates.txt --no-deps)
"${CARGO:-cargo}" build --release --quiet --example chat_rows
"$python" "$here/chat.py" "${CARGO_TARGET_DIR:-target}/release/examples/chat_rows" \
    --packages "$(dirname "$(dirname "$templates")")/packages"

rm -rf "$runs"
mkdir -p "$runs"
"$python" "$here/families.py" "$runs/families"
headstart init "$here/run.yaml" "$runs/start"
headstart rows "$here/run.yaml" --steps 20 >"$runs/rows.jsonl"
headstart train "$here/run.yaml"

"$python" "$here/parity.py" --start "$runs/start" --data examples/sections/data/train.jsonl \
    --rows "$runs/rows.jsonl" --metrics "$runs/run/final/metrics.jsonl"
"$here/final.sh" "$runs/run" examples/sections/data/eval.jsonl
