# Sourced by e2e.sh: podman with storage, networks and settings of its own in the cache, and the images that e2e needs.
# shellcheck shell=bash

cache=${XDG_CACHE_HOME:-$HOME/.cache}/headstart
PACKAGES=(podman runc conmon catatonit netavark aardvark-dns iptables debootstrap)

fail() { echo "headstart: $1" >&2; exit 1; }

# Everything that needs root is said at once, before anything is done.
install_podman() {
    local missing=() package
    [ "$(id -u)" = 0 ] || fail "make e2e needs root: debootstrap and podman's bridge networks do"
    for package in "${PACKAGES[@]}"; do
        dpkg-query --show --showformat '${Status}' "$package" 2>/dev/null | grep -q ' installed' || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "missing: ${missing[*]} (these are Debian's names)"
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    scripts/retry.sh apt-get update -qq
    scripts/retry.sh apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
}

# Nothing of a podman that is in use here is touched. File locks, because the others would share shared memory with it.
configure_podman() { # DIRECTORY
    local home=$1
    mkdir -p "$home"
    cat >"$home/containers.conf" <<EOF
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$home/tmp"
[network]
network_backend = "netavark"
network_config_dir = "$home/networks"
EOF
    cat >"$home/storage.conf" <<EOF
[storage]
driver = "overlay"
graphroot = "$home/root"
runroot = "$home/run"
EOF
    export CONTAINERS_CONF=$home/containers.conf CONTAINERS_STORAGE_CONF=$home/storage.conf
}

# The Debian that built the programs, or 12: its C library must not be older than theirs.
debian_suite() {
    # shellcheck source=/dev/null
    (. /etc/os-release && [ "$ID" = debian ] && echo "$VERSION_CODENAME") || echo bookworm
}

# A slim Debian, made from packages once: an image that needs no registry.
base_image() { # SUITE
    local suite=$1 image=localhost/headstart-base:$1 archive=$cache/debian-$1.tar
    if [ ! -e "$archive" ]; then
        echo "making a Debian $suite base image (once)" >&2
        local work
        work=$(mktemp -d)
        if ! debootstrap --variant=minbase --include=ca-certificates "$suite" "$work/root" >"$work/log" 2>&1; then
            tail -n 5 "$work/log" >&2
            rm -rf "$work"
            fail "debootstrap $suite failed"
        fi
        tar -C "$work/root" --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' -cf "$archive.$$" .
        rm -rf "$work"
        mv "$archive.$$" "$archive"
    fi
    podman image exists "$image" ||
        podman import --quiet --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            "$archive" "$image" >/dev/null
    echo "$image"
}

# The base with Python and moto. The packages are fetched by this machine's pip, for the Python of the image.
s3_image() { # BASE
    local base=$1 key python version
    key=$({ echo "$base"; cat scripts/requirements-test.txt deploy/e2e/s3.Containerfile; } | sha256sum | cut -c1-12)
    local image=localhost/headstart-s3:$key
    if ! podman image exists "$image"; then
        echo "making the S3 server's image (once)" >&2
        local work
        work=$(mktemp -d)
        python=localhost/headstart-python:$key
        podman build --quiet --build-arg "BASE=$base" --target python --tag "$python" -f deploy/e2e/s3.Containerfile "$work" >/dev/null
        version=$(podman run --rm "$python" python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 scripts/retry.sh "${PYTHON:-python3}" -m pip install \
            --quiet --no-warn-conflicts --target "$work/moto" --python-version "$version" --only-binary=:all: --implementation cp \
            --platform manylinux2014_x86_64 -r scripts/requirements-test.txt >&2
        podman build --quiet --build-arg "BASE=$base" --tag "$image" -f deploy/e2e/s3.Containerfile "$work" >/dev/null
        rm -rf "$work"
    fi
    podman tag "$image" localhost/headstart-s3:e2e
}
