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

tests() { # tests FOLDER [pytest options]: the tests of a folder
    .venv/bin/python -m pytest -q --durations=5 --durations-min=5 "$1" "${@:2}"
}

beside() { # beside HELD SHOWN: both at once, the first one's output held back until the second is done
    local log status=0
    log=$(mktemp)
    "$1" >"$log" 2>&1 &
    local held=$!
    "$2" || status=1
    echo "--- beside: $1"
    wait "$held" || status=1
    cat "$log"
    rm -f "$log"
    return "$status"
}

check() { make check; } # most of it is pyright, on one processor
unit() { tests tests/unit -n auto; }

# Each of these waits now and then, for engines, servers and timers: three at once keep two processors busy. Those of
# the clouds, two files at a time, the longest first, give way: the others have servers that answer within a time.
cloud_folders=(tests/emulated/{llmops/rehearsal,howto,llmops/rehearsal_azure,llmops/smoke,aws,llmops/aws,azure,llmops/azure,scanners})
clouds() {
    nice -n 10 .venv/bin/python -m pytest -q --durations=20 --durations-min=10 \
        -n 2 --dist loadfile --no-loadscope-reorder "${cloud_folders[@]}"
}
containers() { tests tests/containers -n 2 --dist loadfile; }
conformance() { tests tests/conformance; } # one thread, so that every sum is the same
others() { tests tests/emulated "${cloud_folders[@]/#/--ignore=}"; }

twins_unit() { tests twins/tests/unit -n auto; }
twins_emulated() { tests twins/tests/emulated -n 2 --dist loadfile; }
twins_containers() { tests twins/tests/containers -n 2 --dist loadfile; }

trap 'tools/docker.sh stop' EXIT
step setup make .venv/dev.stamp engine
if ((${#failed[@]})); then exit 1; fi
step machine tools/test-machine.sh
case ${1:-} in
    kit)
        step check+unit beside check unit
        step emulated beside clouds others
        step containers+conformance beside conformance containers
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
