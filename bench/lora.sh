#!/usr/bin/env bash
# Headstart beside transformers + PEFT. HEADSTART_PYTHON may name a Python that has them; else they are installed.
set -euo pipefail
cd "$(dirname "$0")/.."

examples/assistant/setup.py
python=${HEADSTART_PYTHON:-$(scripts/python-env.sh tests/parity/requirements.txt)}
"${PYTHON:-python3}" bench/lora.py "$python"
