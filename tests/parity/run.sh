#!/usr/bin/env bash
# Chat templates render and mask conversations as transformers does. A step of every family, and twenty steps of two runs, give
# what PyTorch and transformers make of them; then transformers opens and evaluates what Headstart wrote. Fifty steps of an
# adapter give what transformers and PEFT make of them.
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
"$python" "$here/decoders.py" "$runs/decoders"
"$python" "$here/adapters.py" "$runs/adapters"
headstart init "$here/run.yaml" "$runs/start"
headstart rows "$here/run.yaml" --steps 20 >"$runs/rows.jsonl"
headstart train "$here/run.yaml"

"$python" "$here/parity.py" --start "$runs/start" --data examples/sections/data/train.jsonl \
    --rows "$runs/rows.jsonl" --metrics "$runs/run/final/metrics.jsonl"
# The same rows, with learning rates by depth, layers that begin later, and a pull towards the checkpoint.
headstart train "$here/run.yaml" --set "output_dir=$runs/transfer" --set layer_decay=0.8 --set l2_sp=20 \
    --set 'unfreeze=[{step: 6, parameters: "*.layer.?.*"}, {step: 11, parameters: "*.embeddings.*"}]'
"$python" "$here/parity.py" --start "$runs/start" --data examples/sections/data/train.jsonl \
    --rows "$runs/rows.jsonl" --metrics "$runs/transfer/final/metrics.jsonl" --layer-decay 0.8 --l2-sp 20 \
    --unfreeze '6=*.layer.?.*' --unfreeze '11=*.embeddings.*'
"$here/final.sh" "$runs/run" examples/sections/data/eval.jsonl
"$python" "$here/lora.py" "$runs/lora"
