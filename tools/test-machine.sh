#!/bin/bash
# What some tests need of the machine: Chromium for the chat page, Docker for the containers, a registry for the images of
# AWS's twin, zsh for the activate script. Root on Debian or Ubuntu gets what is missing; everyone else is told, and those
# tests skip.
cd "$(dirname "$0")/.." || exit 1
packages=()
command -v chromium >/dev/null || command -v google-chrome >/dev/null || packages+=(chromium)
if ! command -v dockerd >/dev/null && ! docker info >/dev/null 2>&1; then packages+=(docker.io iptables); fi
command -v mmdebstrap >/dev/null || packages+=(mmdebstrap)
command -v docker-registry >/dev/null || packages+=(docker-registry)
command -v zsh >/dev/null || packages+=(zsh)

if ((${#packages[@]})); then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing ${packages[*]}"
        export DEBIAN_FRONTEND=noninteractive
        log=$(mktemp)
        if ! { apt-get update -qq && apt-get install -qq -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
            tail -n 10 "$log"
            echo "not all of ${packages[*]} could be installed; tests that need them will skip"
        fi
        rm -f "$log"
        # The package's own service listens on port 5000 for everybody; the twin starts one for itself.
        if [[ " ${packages[*]} " == *" docker-registry "* ]]; then systemctl disable --now docker-registry >/dev/null 2>&1; fi
    else
        echo "missing: ${packages[*]}; tests that need them will skip (Debian: apt-get install --no-install-recommends ${packages[*]})"
    fi
fi
tools/docker.sh start
tools/docker.sh base || true
