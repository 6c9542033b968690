#!/usr/bin/env bash
# python-env.sh REQUIREMENTS [PIP OPTION…]: install pinned Python packages once into the user's cache, beside the system's Python.
# Prints the path of a `python` that sees them. Needs pip only: many machines have no venv module.
set -euo pipefail

requirements=$1
shift
python=$(command -v "${PYTHON:-python3}") || { echo "headstart: no Python 3 found" >&2; exit 1; }
"$python" -m pip --version >/dev/null 2>&1 || {
    echo "headstart: Python 3 has no pip: install it (Debian: apt-get install python3-pip)" >&2
    exit 1
}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/headstart
key=$({ "$python" -c 'import sys; print(sys.executable, sys.version)'; cat "$requirements"; } | sha256sum | cut -c1-12)
env=$cache/python-$key

if [ ! -x "$env/bin/python" ]; then
    mkdir -p "$cache"
    work=$(mktemp -d "$env.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    echo "installing the packages of $requirements into $env (once)" >&2
    PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$(dirname "$0")/retry.sh" \
        "$python" -m pip install --quiet --no-warn-conflicts "$@" --target "$work/packages" -r "$requirements" >&2
    mkdir "$work/bin"
    printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" "$@"\n' "$env/packages" "$python" >"$work/bin/python"
    chmod +x "$work/bin/python"
    chmod 755 "$work"
    # Renamed in one step; whoever comes second gives way.
    mv -T "$work" "$env" 2>/dev/null || [ -x "$env/bin/python" ]
fi
echo "$env/bin/python"
