#!/usr/bin/env bash
# Prints the path of a moto_server (an S3 server for tests), installed on first use.
set -euo pipefail

here=$(dirname "$0")
python=$("$here/python-env.sh" "$here/requirements-test.txt")
server=$(dirname "$python")/moto_server
if [ ! -x "$server" ]; then
    printf '#!/bin/sh\nexec "%s" -c "from moto.server import main; main()" "$@"\n' "$python" >"$server.$$"
    chmod +x "$server.$$"
    mv "$server.$$" "$server"
fi
echo "$server"
