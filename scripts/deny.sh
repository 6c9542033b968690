#!/usr/bin/env bash
# Licences, banned crates and sources of all dependencies. cargo-deny is installed once, into the user's cache.
set -euo pipefail

version=0.20.2
tools=${XDG_CACHE_HOME:-$HOME/.cache}/headstart/tools
export PATH="$tools/bin:$PATH"

if ! cargo deny --version 2>/dev/null | grep -q '^cargo-deny 0\.20\.'; then
    echo "installing cargo-deny $version into $tools (once, some minutes)"
    # Its own build outputs go to a temporary folder, not among ours.
    env -u CARGO_TARGET_DIR scripts/retry.sh cargo install --quiet --locked --root "$tools" "cargo-deny@$version"
fi
cargo deny --workspace --all-features check --hide-inclusion-graph licenses bans sources
