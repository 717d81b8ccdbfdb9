# What tools/test.sh runs tests with: lanes beside each other, and once more what failed in them. To be sourced.

flaky=()
caches=$(mktemp -d) # what pytest notes of each lane: which tests failed
pytest=(.venv/bin/python -m pytest -q --durations=10 --durations-min=1)
tests() { "${pytest[@]}" -o cache_dir="$caches/$lane" "$@"; }
gently() { nice -n 5 "${pytest[@]}" -o cache_dir="$caches/$lane" "$@"; }

timed() { # timed LANE: runs it, and says how long it took
    local began=$SECONDS status=0 lane=$1
    "$1" || status=2
    if ((status)) && [[ -e $caches/$lane/v/cache/lastfailed ]]; then status=1; fi # by tests alone
    echo "--- $1: $((SECONDS - began)) s"
    return "$status"
}

# As Python's own `regrtest --rerun`: a few tests that failed beside others run once more, alone. Those that pass then
# are named at the end, since a test that depends on how busy the machine is has to be mended.
again() {
    local names lane=again
    mapfile -t names < <(failures)
    printf '\n%d failed:\n' "${#names[@]}"
    printf '  %s\n' "${names[@]}"
    if (($(printf '%s\n' "${names[@]%%::*}" | sort -u | wc -l) > 4)); then return 1; fi # files: no accident
    printf 'once more, alone\n'
    LLMOPS_TESTS_AFRESH=1 tests "${names[@]}" || return 1 # nor with what is kept of a script that was disturbed
    flaky+=("${names[@]}")
}
failures() { # of the lanes, as pytest names them
    "${pytest[0]}" -c 'import json, sys; [print(name) for path in sys.argv[1:] for name in json.load(open(path))]' \
        "$caches"/*/v/cache/lastfailed
}

beside() { # beside SHOWN LANE...: all at once; the lanes' output follows that of the first
    local log lane status=0
    local -A logs lanes
    for lane in "${@:2}"; do
        log=$(mktemp)
        timed "$lane" >"$log" 2>&1 &
        lanes[$lane]=$! logs[$lane]=$log
    done
    timed "$1" || status=$?
    for lane in "${@:2}"; do
        wait "${lanes[$lane]}" || status=$(($? > status ? $? : status))
        cat "${logs[$lane]}"
        rm -f "${logs[$lane]}"
    done
    if ((status == 1)); then again && status=0; fi
    rm -rf "${caches:?}"/*
    return "$status"
}
