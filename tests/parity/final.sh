#!/usr/bin/env bash
# final.sh RUN DATA: transformers opens RUN/final, evaluates DATA, and computes the logits that the worker computes.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=${HEADSTART_PYTHON:-$(scripts/python-env.sh tests/parity/requirements.txt)}
logits=$(mktemp)
trap 'rm -f "$logits"' EXIT
"${CARGO:-cargo}" run --quiet --release --package headstart-worker --example logits -- "$1/final" 64 >"$logits"
"$python" tests/parity/check_final.py "$1/final" "$2" --logits "$logits"
