#!/bin/bash
# `tools/test.sh kit|twins`: every check and test of the kit, or of the twins, with progress and the time of each step.
# `make test` and `make test-twins` call it, and .ci/run calls both.
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

pytest=(.venv/bin/python -m pytest -q --durations=10 --durations-min=1)
tests() { "${pytest[@]}" "$@"; }
gently() { nice -n 10 "${pytest[@]}" "$@"; }

timed() { # timed LANE: runs it, and says how long it took
    local began=$SECONDS status=0
    "$1" || status=1
    echo "--- $1: $((SECONDS - began)) s"
    return "$status"
}

beside() { # beside SHOWN LANE...: all at once; the lanes' output follows that of the first
    local log lane status=0
    local -A logs lanes
    for lane in "${@:2}"; do
        log=$(mktemp)
        timed "$lane" >"$log" 2>&1 &
        lanes[$lane]=$! logs[$lane]=$log
    done
    timed "$1" || status=1
    for lane in "${@:2}"; do
        wait "${lanes[$lane]}" || status=1
        cat "${logs[$lane]}"
        rm -f "${logs[$lane]}"
    done
    return "$status"
}

check() { make check; } # most of it is pyright, on one processor
unit() { tests -n auto tests/unit; }

# Each of these waits now and then, for engines, servers, timers and disks: four at once keep two processors busy. Those
# of the clouds, two files at a time, the longest first, and the containers give way: the others have servers that answer
# within a time. Containers build for minutes without a processor's help, so they begin with the rest.
cloud_folders=(tests/emulated/{llmops/rehearsal,howto,llmops/smoke,aws,llmops/aws,azure,llmops/azure,scanners})
clouds() { gently -n 2 --dist loadfile --no-loadscope-reorder "${cloud_folders[@]}"; }
containers() { gently -n 2 --dist loadfile tests/containers; }
others() { tests tests/emulated "${cloud_folders[@]/#/--ignore=}"; }
conformance() { tests tests/conformance; } # one thread, so that every sum is the same
others_conformance() {
    local status=0
    timed others || status=1
    timed conformance || status=1
    return "$status"
}

twins_unit() { tests -n auto twins/tests/unit; }
twins_emulated() { tests -n 2 --dist loadfile twins/tests/emulated; }
twins_containers() { tests -n 2 --dist loadfile twins/tests/containers; }

trap 'tools/docker.sh stop' EXIT
step setup make .venv/dev.stamp engine
if ((${#failed[@]})); then exit 1; fi
step machine tools/test-machine.sh
case ${1:-} in
    kit)
        step check+unit beside unit check
        step emulated beside clouds others_conformance containers
        ;;
    twins)
        step unit twins_unit
        step emulated+containers beside twins_emulated twins_containers
        ;;
    *)
        echo "tools/test.sh takes kit or twins" >&2
        exit 2
        ;;
esac

printf '\n%s\n' "${times[@]}"
if ((${#failed[@]})); then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
echo "all passed"
