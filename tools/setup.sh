#!/bin/sh
# `tools/setup.sh kit|data|aws-twin|azure-twin|dev` makes .venv with the kit's needs, with those of collecting data, of a
# cloud and its twin, or of the tests too; `tools/setup.sh engine` finds or gets Pulumi's engine and lets
# .venv/bin/activate put it on PATH. The Makefile calls both. Needs Python 3.11 or newer. tools/setup.py shows the
# steps, and runs `tools/setup.sh install SET` as one of them.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'error: %s\nfix: %s\n' "$1" "$2" >&2
    exit 1
}

find_pythons() { # set $first, the first Python that the locks are made for, $base: the first optimized one, or else $first, and a $hint
    first= base= hint=
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3}; do
        # A distribution's is optimized, whatever its options say; pyenv's is not, unless it is asked for.
        found=$("$candidate" -c 'import sys, sysconfig
options = sysconfig.get_config_var("CONFIG_ARGS") or ""
plain = options and "--enable-optimizations" not in options and sys.base_prefix != "/usr"
print(sys.executable if (3, 11) <= sys.version_info[:2] <= (3, 14) else "", "plain" if plain else "optimized")' 2>/dev/null) || continue
        case $found in
            " "*) continue ;;
            *" optimized") base=${found% *} ;;
        esac
        first=${first:-${found% *}}
        if [ "$base" ]; then break; fi
    done
    if [ -z "$first" ]; then
        fail "there is no Python 3.11 to 3.14${PYTHON:+ at $PYTHON}" "install one (Debian: apt-get install python3), or name it: make PYTHON=/path/to/python ..."
    fi
    if [ "$base" != "$first" ]; then
        hint="hint: $first was built without --enable-optimizations, so what it runs takes about a third longer${base:+; $base was taken instead (make PYTHON=$first ... takes the other)}"
        base=${base:-$first}
    fi
}

get_uv() { # set $uv: the one in .venv, the machine's, or the locked one from PyPI in a temporary folder
    uv=.venv/bin/uv
    if [ -x "$uv" ] && "$uv" --version >/dev/null 2>&1; then return; fi
    if uv=$(command -v uv) && "$uv" --version >/dev/null 2>&1; then return; fi
    echo "fetching uv, which installs the rest"
    temporary=$(mktemp -d)
    trap 'rm -rf "$temporary"' EXIT
    awk '/^[a-z]/ {found = /^uv==/} found && !/^ *#/' requirements/kit.txt >"$temporary/uv.txt"
    for maker in "$base" "$first"; do # Debian's has no pip, and may have no venv
        if "$maker" -m venv --clear "$temporary/venv" >/dev/null 2>&1; then
            set -- "$temporary/venv/bin/python" -m pip install
            uv=$temporary/venv/bin/uv
        elif "$maker" -m pip --version >/dev/null 2>&1; then
            set -- "$maker" -m pip install --target "$temporary/lib"
            uv=$temporary/lib/bin/uv
        else
            continue
        fi
        "$@" --quiet --require-hashes -r "$temporary/uv.txt" ||
            fail "uv could not be installed from the package registry" "see pip's message above; PIP_INDEX_URL names another registry"
        return
    done
    fail "$base can neither make a virtual environment nor run pip, and there is no uv on PATH" \
        "install one of them (Debian and Ubuntu: apt-get install python3-venv)"
}

install() { # install kit|data|aws-twin|azure-twin|dev: what is there already is never taken away
    sets=$1
    for set in data aws-twin azure-twin; do
        if [ -f ".venv/$set.stamp" ]; then sets="$set $sets"; fi
    done
    if [ -f .venv/dev.stamp ]; then sets=dev; fi
    find_pythons
    get_uv
    export UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV="$PWD/.venv"
    if ! .venv/bin/python -c '' 2>/dev/null; then "$uv" venv --quiet --clear --python "$base" .venv; fi
    rm -f .venv/*.stamp
    files=
    for set in $sets; do files="$files requirements/$set.txt"; done
    echo "installing$files into .venv"
    # shellcheck disable=SC2086
    "$uv" pip sync --require-hashes $files
    "$uv" pip install --quiet --no-deps --build-constraints requirements/dev.txt \
        --editable . --editable twins # the first one brings the portion of hosting too
    for set in kit $sets; do touch ".venv/$set.stamp"; done
    case $sets in dev) touch .venv/data.stamp .venv/aws-twin.stamp .venv/azure-twin.stamp ;; esac
}

set_up() { # set_up SET: as a step, with what finding a Python has said
    find_pythons
    PYTHONPATH=src:hosting LLMOPS_SETUP_HINT=$hint exec "$base" -m tools.setup "$1" # whose Python has no kit yet
}

case ${1:-} in
    kit | data | aws-twin | azure-twin | dev) set_up "$1" ;;
    install) install "$2" ;;
    engine) exec .venv/bin/python -m tools.setup engine ;;
    *) fail "tools/setup.sh takes kit, data, aws-twin, azure-twin, dev or engine" "see the Makefile" ;;
esac
