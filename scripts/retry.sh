#!/usr/bin/env bash
# retry.sh COMMAND…: up to three attempts at something that needs the network.
set -euo pipefail

for attempt in 1 2 3; do
    if "$@"; then
        exit 0
    fi
    echo "attempt $attempt of 3 failed: $*" >&2
    [ "$attempt" = 3 ] || sleep $((attempt * 5))
done
exit 1
