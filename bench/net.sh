#!/usr/bin/env bash
# What bench/net.py measures. HEADSTART_PYTHON may name a Python with PyTorch and transformers; else they are installed.
set -euo pipefail
cd "$(dirname "$0")/.."

examples/sections/setup.py
case ${PHASE:-all} in
all | lora) examples/assistant/setup.py ;;
esac
python=${HEADSTART_PYTHON:-$(scripts/python-env.sh tests/parity/requirements.txt)}
exec "${PYTHON:-python3}" bench/net.py "$python"
