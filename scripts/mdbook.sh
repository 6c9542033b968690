#!/usr/bin/env bash
# Prints the path of mdBook, which is installed once, into the user's cache.
set -euo pipefail

version=0.5.4
tools=${XDG_CACHE_HOME:-$HOME/.cache}/headstart/tools
mdbook=$tools/bin/mdbook

if [ "$("$mdbook" --version 2>/dev/null)" != "mdbook v$version" ]; then
    echo "installing mdbook $version into $tools (once, some minutes)" >&2
    # Its own build outputs go to a temporary folder, not among ours.
    env -u CARGO_TARGET_DIR -u RUSTFLAGS "$(dirname "$0")/retry.sh" "${CARGO:-cargo}" install --quiet --locked --force \
        --no-default-features --features search --root "$tools" "mdbook@$version" >&2
fi
echo "$mdbook"
