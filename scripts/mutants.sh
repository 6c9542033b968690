#!/usr/bin/env bash
# Plants the bugs in tests/mutants/*.patch one by one in a copy of this checkout; the ordinary tests must catch each. The
# first line of a patch names the tests that are run: `tests: arguments of cargo test`. Those with --workspace start the
# programs, which are built first. ONLY=name plants one of them.
set -euo pipefail
cd "$(dirname "$0")/.."

root=$PWD
copy=$(mktemp -d)
trap 'git worktree remove --force "$copy/tree" 2>/dev/null || true; rm -rf "$copy"' EXIT
git worktree add --quiet --detach "$copy/tree" HEAD
export LIBTORCH=${LIBTORCH:-$(realpath .libtorch)}
export CARGO_TARGET_DIR=${MUTANTS_TARGET_DIR:-${CARGO_TARGET_DIR:-$root/target}/mutants}
ln -s "$LIBTORCH" "$copy/tree/.libtorch"
[ -d examples/digits/data ] && cp -r examples/digits/data "$copy/tree/examples/digits/"
cd "$copy/tree"
# Each bug is a small change.
export CARGO_INCREMENTAL=1

run() { # TESTS: builds and runs them
    local tests
    read -r -a tests <<<"$1"
    case "$1" in --workspace*) cargo build --release --workspace --bins || return 2 ;; esac
    cargo test --release --no-run "${tests[@]}" || return 2
    timeout 600 cargo test --release "${tests[@]}" || return 1
}

# What fails without a bug would catch any.
sed -sn '1s/^tests: //p' "$root"/tests/mutants/*${ONLY:-}*.patch | sort -u | while read -r tests; do
    run "$tests" </dev/null >"$copy/log" 2>&1 || { tail -30 "$copy/log" >&2; echo "headstart: $tests fail as they are" >&2; exit 1; }
done

caught=0 planted=0
for patch in "$root"/tests/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    [ -z "${ONLY:-}" ] || [ "$ONLY" = "$name" ] || continue
    planted=$((planted + 1))
    git apply "$patch" || { echo "headstart: $name does not apply any more" >&2; exit 1; }
    log=$copy/$name.log status=0
    run "$(sed -n '1s/^tests: //p' "$patch")" >"$log" 2>&1 || status=$?
    case "$status" in
    0) echo "$name: NOT CAUGHT" ;;
    1)
        echo "$name: caught: $(grep -m1 -E '^test .* FAILED|panicked at|timed out' "$log" | head -c 160)"
        caught=$((caught + 1))
        ;;
    *)
        tail -20 "$log" >&2
        echo "headstart: $name does not compile: that is no bug to be caught by a test" >&2
        exit 1
        ;;
    esac
    git checkout --quiet .
done
echo "$caught of $planted planted bugs caught"
[ "$caught" = "$planted" ]
