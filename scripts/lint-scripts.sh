#!/usr/bin/env bash
# Syntax of every script in the repository; shellcheck too where it is installed.
set -euo pipefail

mapfile -t shell < <(git ls-files '*.sh' .ci/run)
mapfile -t python < <(git ls-files '*.py')
for script in "${shell[@]}"; do
    bash -n "$script"
done
"${PYTHON:-python3}" - "${python[@]}" <<'EOF'
import ast, sys
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        ast.parse(file.read(), name)
EOF
if command -v shellcheck >/dev/null; then
    shellcheck "${shell[@]}"
fi
echo "${#shell[@]} shell and ${#python[@]} Python scripts are well-formed"
