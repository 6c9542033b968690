#!/usr/bin/env bash
# Installs the servers that tests run against (object stores, MLflow's), TensorBoard's reader, mdBook and what drives a browser, on first
# use, into the user's cache.
# Prints the variables that lead tests to them: eval "$(scripts/test-env.sh)".
set -euo pipefail

here=$(dirname "$0")
cache=${XDG_CACHE_HOME:-$HOME/.cache}/headstart
azurite_version=3.35.0
s3s_fs_version=0.14.1

# install NAME COMMAND…: runs the command, which fills the directory that is its last argument, and renames that in
# one step; whoever comes second gives way.
install() {
    local target=$cache/$1 work
    shift
    [ ! -d "$target" ] || return 0
    mkdir -p "$cache"
    work=$(mktemp -d "$target.XXXXXX")
    echo "installing ${target##*/} into $cache (once)" >&2
    if ! "$here/retry.sh" "$@" "$work" >&2; then
        rm -rf "$work"
        return 1
    fi
    chmod 755 "$work"
    mv -T "$work" "$target" 2>/dev/null || { rm -rf "$work" && [ -d "$target" ]; }
}

# program PATH LINE: a program of one line.
program() {
    if [ ! -x "$1" ]; then
        printf '#!/bin/sh\n%s\n' "$2" >"$1.$$"
        chmod +x "$1.$$"
        mv "$1.$$" "$1"
    fi
}

python=$("$here/python-env.sh" "$here/requirements-test.txt")
moto=$(dirname "$python")/moto_server
program "$moto" "exec '$python' -c 'from moto.server import main; main()' \"\$@\""

for needed in node npm; do
    command -v "$needed" >/dev/null || {
        echo "headstart: no $needed found: install it (Debian: apt-get install nodejs npm)" >&2
        exit 1
    }
done
install "azurite-$azurite_version" \
    npm install --silent --no-audit --no-fund --ignore-scripts "azurite@$azurite_version" --prefix
azurite=$cache/azurite-$azurite_version/azurite-blob
program "$azurite" "exec node '$cache/azurite-$azurite_version/node_modules/.bin/azurite-blob' \"\$@\""

# What tests/dashboard.rs needs; the browser is the system's.
fetch_browser_driver() { # DIRECTORY
    cp "$here"/../tests/dashboard/package*.json "$1" &&
        npm ci --silent --no-audit --no-fund --ignore-scripts --prefix "$1"
}
driver=dashboard-$(sha256sum <"$here/../tests/dashboard/package-lock.json" | cut -c1-12)
export -f fetch_browser_driver
export here
install "$driver" bash -c 'fetch_browser_driver "$0"'

# Its own build outputs go to a temporary folder, not among ours.
install "s3s-fs-$s3s_fs_version" env -u CARGO_TARGET_DIR -u RUSTFLAGS \
    "${CARGO:-cargo}" install --quiet --locked --features binary "s3s-fs@$s3s_fs_version" --root

mdbook=$("$here/mdbook.sh")

trackers=$("$here/python-env.sh" "$here/requirements-trackers.txt" --no-deps)

echo "export HEADSTART_BROWSER_DRIVER='$cache/$driver'"
echo "export HEADSTART_TRACKERS='$trackers' HEADSTART_MDBOOK='$mdbook'"
echo "export HEADSTART_MOTO='$moto' HEADSTART_AZURITE='$azurite'"
echo "export HEADSTART_S3S_FS='$cache/s3s-fs-$s3s_fs_version/bin/s3s-fs'"
