#!/usr/bin/env bash
# Says in one line what is missing before a build can start.
set -euo pipefail

missing() {
    echo "headstart: $1" >&2
    exit 1
}

cargo=${CARGO:-cargo}
python=${PYTHON:-python3}

command -v "$cargo" >/dev/null || missing "no cargo found: install Rust from https://rustup.rs"
version=$("$cargo" --version 2>&1) || missing "cargo does not start: ${version##*error: }"
minor=$(sed -n 's/^cargo 1\.\([0-9]*\)\..*/\1/p' <<<"$version")
needed=$(sed -n 's/^rust-version = "1\.\([0-9]*\)"/\1/p' Cargo.toml)
[ "${minor:-0}" -ge "$needed" ] || missing "$version is too old: Rust 1.$needed or newer is needed (rustup update)"
command -v "${CXX:-c++}" >/dev/null || missing "no C++ compiler found: install g++ (Debian: apt-get install g++)"
command -v "$python" >/dev/null || missing "no Python 3 found: install it (Debian: apt-get install python3 python3-pip)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    missing "$("$python" --version) is too old: Python 3.9 or newer is needed"
