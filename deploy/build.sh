#!/usr/bin/env bash
# Builds the images headstart-coordinator:TAG and headstart-worker:TAG from the programs that `make build` made.
#   ENGINE  podman or docker (whichever is there)
#   TAG     the version in Cargo.toml
#   BASE    the worker's base image (debian:bookworm-slim)
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "headstart: $1" >&2; exit 1; }
engine=${ENGINE:-$(command -v podman || command -v docker || true)}
[ -n "$engine" ] || fail "neither podman nor docker found: install one (Debian: apt-get install podman)"
tag=${TAG:-$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml)}
target=${CARGO_TARGET_DIR:-target}
staged=$target/deploy
COORDINATOR_LIMIT=$((60 * 1000 * 1000)) # bytes

deploy/stage.sh "$target/release" "$staged"

build() { # NAME ARGUMENTS…
    local name=$1
    shift
    "$engine" build --quiet --tag "$name:$tag" --file "deploy/${name#headstart-}.Containerfile" "$@" "$staged" >/dev/null
    size=$("$engine" image inspect --format '{{.Size}}' "$name:$tag")
    echo "$name:$tag: $((size / 1000000)) MB"
}

build headstart-coordinator
[ "$size" -lt "$COORDINATOR_LIMIT" ] || fail "the coordinator's image is $size bytes, $COORDINATOR_LIMIT are allowed"
build headstart-worker ${BASE:+--build-arg "BASE=$BASE"}
