#!/usr/bin/env bash
# What is a language model's head start worth? Teach SmolLM2 to answer questions about packages with an adapter, then train the
# same network on the same conversations from random weights. SEED=n repeats it with another seed. Run it with `make assistant`.
set -euo pipefail
cd "$(dirname "$0")/../.."

command -v headstart >/dev/null || { echo "headstart is not on PATH: run \`make assistant\`" >&2; exit 1; }
example=examples/assistant
seed=${SEED:-42}
started=$SECONDS

"${PYTHON:-python3}" "$example/setup.py"
# Each run starts afresh.
rm -rf runs/assistant runs/assistant_scratch runs/assistant.svg

echo "1/3  One conversation: the answers, marked, are what is learned"
headstart preprocess "$example/run.yaml" --rows 1

echo "2/3  An adapter of SmolLM2, on 2 workers"
headstart train "$example/run.yaml" --workers 2 --set "seed=$seed"

echo "3/3  The same network from random weights, on 2 workers"
headstart train "$example/scratch.yaml" --workers 2 --set "seed=$seed"

echo
headstart compare runs/assistant runs/assistant_scratch --names "head start,from scratch" \
    --metric mean_token_accuracy --plot runs/assistant.svg
headstart compare runs/assistant runs/assistant_scratch --names "head start,from scratch" --metric perplexity
echo "Curves: runs/assistant.svg. The adapter, for PEFT: runs/assistant/final. Took $((SECONDS - started)) s."
