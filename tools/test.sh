#!/bin/bash
# `tools/test.sh kit|twins|unit|nightly`, with progress and the time of each step: checks and tests of the kit; those of the
# twins, of the local runtime with processes and containers, and conformance; the kit's unit tests alone; the tests marked `long`, of the
# folders or files named after it or of all. `make test`, `make test-twins`, `make unit` and `make nightly` call it, .ci/run the first two.
cd "$(dirname "$0")/.." || exit 1
failed=()
times=()

step() { # step NAME COMMAND...: runs it, and remembers time and failure
    printf '\n=== %s\n' "$1"
    local began=$SECONDS
    if "${@:2}"; then local word=ok; else
        local word=FAILED
        failed+=("$1")
    fi
    times+=("$(printf '%-12s %4d s  %s' "$1" $((SECONDS - began)) "$word")")
    printf '=== %s: %s after %d s\n' "$1" "$word" $((SECONDS - began))
}

. tools/lanes.sh

check() { tools/check.sh kit; } # most of it is pyright, on one processor
# One process for each part: workers of one lane would each import what all parts import, torch for training's too.
unit_tests() { OMP_NUM_THREADS=1 tests -p no:xdist "$@"; }
infra_unit() { unit_tests tests/unit/infra; }
runs_unit() { unit_tests tests/unit/cli/{runs,platforms}; }
training_unit() { unit_tests tests/unit/training; }
# shellcheck disable=SC2046
cli_unit() { unit_tests $(rest tests/unit/cli runs platforms); }
# shellcheck disable=SC2046
other_unit() { unit_tests $(rest tests/unit infra cli training); }
units=(infra_unit other_unit cli_unit runs_unit training_unit)
# Mostly downloads and disk. Later, every worker of the lanes would wait for the same environments.
prepared() { nice -n 10 .venv/bin/python -m tests.support.tiny_models.prepared; }

# Both lanes wait now and then, for engines, servers, timers and disks: five files at once keep two processors busy. The
# longest come first, so that no worker is left alone with one at the end. Clouds and containers give way: the others
# have servers that answer within a time.
cloud_folders=(tests/emulated/{cli/rehearsal,cli/smoke,howto,aws,cli/aws,azure,cli/azure})
by_file=(--dist loadfile --no-loadscope-reorder)
rest() { # rest FOLDER NAME...: the tests in a folder beside these; pytest takes a folder within another one for that
    local path
    for path in "$1"/*/ "$1"/test_*.py; do
        if [[ -e $path && " ${*:2} __pycache__ " != *" $(basename "$path") "* ]]; then echo "$path"; fi
    done
}
clouds_containers() {
    # shellcheck disable=SC2046
    gently -n 3 "${by_file[@]}" tests/containers/training "${cloud_folders[@]}" $(rest tests/containers training local_runtime)
}
others() {
    local first=(training cli readme scanners serving)
    # shellcheck disable=SC2046
    tests -n 2 "${by_file[@]}" "${first[@]/#/tests/emulated/}" \
        $(rest tests/emulated "${first[@]}" local_runtime "${cloud_folders[@]##*/}") "${cloud_folders[@]/#/--ignore=}"
}

# The local runtime is what both twins run containers with; conformance compares the twins with this machine.
twins_types() { tools/check.sh twins; }
twins_unit() { tests -n auto twins/tests/unit; }
twins_emulated() { tests -n 2 "${by_file[@]}" tests/conformance twins/tests/emulated tests/emulated/local_runtime; }
twins_containers() { tests -n 2 "${by_file[@]}" twins/tests/containers tests/containers/local_runtime; }

long_tests() { tests -n 2 "${by_file[@]}" -m long "${nightly[@]}"; }

prepare_machine() {
    trap 'tools/docker.sh stop; rm -rf "$caches"' EXIT
    step setup make dev
    if ((${#failed[@]})); then exit 1; fi
    step machine tools/test-machine.sh
}

case ${1:-} in
    kit)
        prepare_machine
        step check+unit beside "${units[@]}" check prepared
        step emulated beside clouds_containers others
        ;;
    twins)
        prepare_machine
        step check+unit beside twins_unit twins_types
        step emulated+containers beside twins_emulated twins_containers
        ;;
    unit)
        trap 'rm -rf "$caches"' EXIT
        step unit beside "${units[@]}"
        ;;
    nightly)
        nightly=("${@:2}")
        if ! ((${#nightly[@]})); then nightly=(tests/{conformance,containers,emulated} twins/tests); fi
        prepare_machine
        step nightly beside long_tests
        ;;
    *)
        echo "tools/test.sh takes kit, twins, unit or nightly" >&2
        exit 2
        ;;
esac

printf '\n%s\n' "${times[@]}"
if ((${#failed[@]})); then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
if ((${#flaky[@]})); then
    printf 'passed only when they ran once more, alone; mend them:\n'
    printf '  %s\n' "${flaky[@]}"
fi
echo "all passed"
