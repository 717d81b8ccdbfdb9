#!/bin/bash
# `tools/check.sh [kit|twins]`: format, lint, types, import rules, dead code; all of them run, and each says what it found.
# `kit` leaves out the types of twins/, which `twins` checks alone. `make check` checks everything.
cd "$(dirname "$0")/.." || exit 1
failed=()
step() { # step NAME COMMAND...
    printf '%-14s' "$1"
    if output=$("${@:2}" 2>&1); then
        echo ok
    else
        echo FAILED
        printf '%s\n' "$output" | sed 's/^/    /'
        failed+=("$1")
    fi
}
bin=.venv/bin
# With Node's own limit Pyright drops what it has found out, time and again: it takes twice as long.
export NODE_OPTIONS="--max-old-space-size=8192 $NODE_OPTIONS"
kit_folders() { # of those in pyproject.toml
    "$bin/python" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["tool"]["pyright"]["include"])' |
        tr ' ' '\n' | grep -vx twins
}
if [[ ${1-} != twins ]]; then
    step format "$bin/ruff" format --check .
    step lint "$bin/ruff" check .
    step imports "$bin/lint-imports" --no-cache
    step "dead code" "$bin/vulture"
    step unused "$bin/python" -m tools.unused
fi
case ${1-} in
    # shellcheck disable=SC2046
    kit) step types "$bin/pyright" --warnings $(kit_folders) ;;
    twins) step types "$bin/pyright" --warnings twins ;;
    *) step types "$bin/pyright" --warnings ;;
esac
if ((${#failed[@]})); then
    echo "failed: ${failed[*]} (format and many lint findings: .venv/bin/ruff format . && .venv/bin/ruff check --fix .)" >&2
    exit 1
fi
