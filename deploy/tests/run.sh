#!/usr/bin/env bash
# Checks the rendered manifests, and that errors planted in them are found. Wants `headstart` on PATH.
set -euo pipefail
cd "$(dirname "$0")/../.."

python=$(scripts/python-env.sh deploy/requirements.txt)
KUBECTL=$(scripts/kubectl.sh)
export KUBECTL PYTHONDONTWRITEBYTECODE=1
cd deploy/tests
exec "$python" -m unittest --quiet test_manifests test_pods
