#!/usr/bin/env bash
# `make e2e`: builds the images and plays the manifests' pods with podman. What is checked: run.py, in the order it happens.
set -euo pipefail
cd "$(dirname "$0")/../.."

# shellcheck source=deploy/e2e/containers.sh
. deploy/e2e/containers.sh

install_podman
mkdir -p "$cache"
exec 9>"$cache/e2e.lock"
flock --nonblock 9 || fail "another make e2e is running"
configure_podman "$cache/containers"
base=$(base_image "$(debian_suite)")
s3_image "$base"
echo "images:"
ENGINE=podman TAG=e2e BASE=$base deploy/build.sh
# Layers of earlier builds.
podman image prune --force >/dev/null
python=$(scripts/python-env.sh scripts/requirements-test.txt)
KUBECTL=$(scripts/kubectl.sh)
export KUBECTL
# The program that cleans up gets the signals, and keeps the lock: Python hands it on to nobody.
exec "$python" deploy/e2e/run.py
