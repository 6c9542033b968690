#!/usr/bin/env bash
# stage.sh BIN_DIR OUT_DIR: lays out the files of each image below OUT_DIR, from the programs built in BIN_DIR.
#
#   coordinator/    a whole root: the program, the libraries it loads, CA certificates, a user
#   worker-torch/   libtorch, a layer of its own: it changes rarely
#   worker/         the program and CA certificates; the rest comes from the base image
set -euo pipefail

bin=$1 out=$2
USER_ID=65532

fail() { echo "headstart: $1" >&2; exit 1; }
command -v strip >/dev/null || fail "no strip found: install binutils"
for program in headstart-coordinator headstart-worker; do
    [ -x "$bin/$program" ] || fail "$bin/$program is missing: run \`make build\`"
done

# Paths of the shared libraries that a program loads, the loader included.
libraries() {
    local listed
    listed=$(ldd "$1") || fail "ldd $1 failed"
    ! grep -q 'not found' <<<"$listed" || fail "$1: $(grep -m1 'not found' <<<"$listed" | xargs)"
    sed -n 's/^.*=> \(\/[^ ]*\) .*/\1/p; s/^\t\(\/[^ ]*\) (0x.*/\1/p' <<<"$listed"
}

# Sizes and hashes are of the files; links would point outside the image.
place() { install -D -m "$1" "$2" "$3"; }

certificates=/etc/ssl/certs/ca-certificates.crt
[ -e "$certificates" ] || fail "$certificates is missing: install ca-certificates"

rm -rf "$out/coordinator" "$out/worker-torch" "$out/worker"

root=$out/coordinator
place 755 "$bin/headstart-coordinator" "$root/usr/local/bin/headstart-coordinator"
strip "$root/usr/local/bin/headstart-coordinator"
libraries "$bin/headstart-coordinator" | while read -r library; do
    place 755 "$library" "$root$library"
done
place 644 "$certificates" "$root$certificates"
mkdir -p "$root/etc"
echo "headstart:x:$USER_ID:$USER_ID:headstart:/home:/nonexistent" >"$root/etc/passwd"
echo "headstart:x:$USER_ID:" >"$root/etc/group"
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
install -d -m 1777 "$root/tmp"

place 755 "$bin/headstart-worker" "$out/worker/usr/local/bin/headstart-worker"
strip "$out/worker/usr/local/bin/headstart-worker"
place 644 "$certificates" "$out/worker$certificates"
# What a Debian image has in its own directories comes from there; libtorch's folder goes along.
libraries "$bin/headstart-worker" | { grep -v -e '^/lib' -e '^/usr/lib' || true; } | while read -r library; do
    place 755 "$library" "$out/worker-torch/usr/local/lib/headstart/$(basename "$library")"
done
[ -e "$out/worker-torch/usr/local/lib/headstart/libtorch_cpu.so" ] || fail "$bin/headstart-worker loads no libtorch_cpu.so"
