#!/usr/bin/env bash
# What bench/gpu.py measures. HEADSTART_PYTHON may name a Python with PyTorch, transformers and PEFT; else they are installed,
# once a GPU is there to use them.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ -n "${HEADSTART_PYTHON:-}" ]; then
    find_python=(echo "$HEADSTART_PYTHON")
else
    find_python=(scripts/python-env.sh tests/parity/requirements.txt)
fi
"${PYTHON:-python3}" bench/gpu.py "${find_python[@]}"
