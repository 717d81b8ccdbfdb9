#!/bin/bash
# Docker for tests/containers, on machines that have it installed but not running, and can pull nothing.
#   tools/docker.sh start   start the daemon if none answers (root only); tests skip where it can't be had
#   tools/docker.sh base    make the image llmops-base from Debian's packages, where python:3.11-slim can't be pulled: `python`
#                           and `pip` as there, with this machine's certificates and pip configuration. For tests only.
#   tools/docker.sh stop    stop the daemon that `start` started
set -u
cd "$(dirname "$0")/.." || exit 1
state=${TMPDIR:-/tmp}/llmops-docker-$(id -u)

answers() { docker info >/dev/null 2>&1; }

start() {
    if ! command -v docker >/dev/null; then echo "docker: not installed; tests of containers will skip"; return; fi
    if answers; then echo "docker: running"; return; fi
    if [ "$(id -u)" != 0 ] || ! command -v dockerd >/dev/null; then
        echo "docker: no daemon answers, and this user can't start one; tests of containers will skip"
        return
    fi
    mkdir -p "$state"
    dockerd >"$state/log" 2>&1 &
    local pid=$!
    echo "$pid" >"$state/pid"
    for _ in $(seq 60); do
        if answers; then
            echo "docker: daemon started"
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.5
    done
    echo "docker: the daemon did not start; tests of containers will skip. Its last lines ($state/log):"
    tail -n 5 "$state/log" | sed 's/^/    /'
    stop
}

base() {
    answers || return 0
    if docker image inspect llmops-base >/dev/null 2>&1; then echo "docker: llmops-base is there"; return; fi
    if ! command -v mmdebstrap >/dev/null; then echo "docker: llmops-base needs mmdebstrap (apt-get install mmdebstrap)"; return 1; fi
    echo "docker: making llmops-base from Debian's packages (about a minute)"
    local tar file hooks=(--customize-hook='chroot "$1" python3 -m venv /opt/python')
    for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
        if [ -f "$file" ]; then hooks+=(--customize-hook="copy-in $file $(dirname "$file")"); fi
    done
    tar=$(mktemp --suffix=.tar)
    if mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates "${hooks[@]}" bookworm "$tar" &&
        docker import --change 'ENV PATH=/opt/python/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
            "$tar" llmops-base >/dev/null; then
        rm -f "$tar"
        return
    fi
    rm -f "$tar"
    echo "docker: llmops-base could not be made"
    return 1
}

stop() {
    [ -f "$state/pid" ] || return 0
    local pid
    pid=$(cat "$state/pid")
    rm -f "$state/pid"
    # The number may be another program's by now.
    if [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = dockerd ]; then
        kill "$pid"
        for _ in $(seq 60); do kill -0 "$pid" 2>/dev/null || break; sleep 0.5; done
        echo "docker: daemon stopped"
    fi
}

case ${1:-} in
    start | base | stop) "$1" ;;
    *) echo "usage: tools/docker.sh start|base|stop" >&2; exit 2 ;;
esac
