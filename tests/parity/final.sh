#!/usr/bin/env bash
# final.sh RUN DATA: transformers opens RUN/final, evaluates DATA, and computes the logits that `headstart predict` gives.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${HEADSTART_PYTHON:-$(scripts/python-env.sh tests/parity/requirements.txt)}
predictions=$(mktemp)
trap 'rm -f "$predictions"' EXIT
if [ -d "$2" ]; then cut=(); else cut=(--sequence-len 128); fi
headstart predict --model "$1/final" --data "$2" --device cpu "${cut[@]}" --output "$predictions"
"$python" tests/parity/check_final.py "$1/final" "$2" --predictions "$predictions"
