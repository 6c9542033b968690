#!/usr/bin/env bash
# The measurements of this folder. HEADSTART_PYTHON may name a Python with PyTorch and transformers; else they are installed.
set -euo pipefail
cd "$(dirname "$0")/.."

examples/sections/setup.py
python=${HEADSTART_PYTHON:-$(scripts/python-env.sh tests/parity/requirements.txt)}
"${PYTHON:-python3}" bench/bench.py "$python"
