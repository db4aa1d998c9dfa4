#!/usr/bin/env bash
# Sets up .venv from the pinned and hashed requirements: `venv.sh server` what runs the product, `venv.sh dev` what tests it.
# PYTHON names the interpreter to make it with; otherwise the first new enough one on PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
part=${1:?server or dev}

stop() { printf '%s\n' "$@" >&2; exit 1; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

if ! [[ -x .venv/bin/python ]] || ! new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    python=
    for candidate in "${PYTHON-}" python3 python3.14 python3.13 python3.12 python3.11; do
        if [[ -n $candidate ]] && new_enough "$candidate"; then python=$candidate; break; fi
    done
    [[ -n $python ]] || stop "scrapewatch needs Python 3.11 or newer; here is $(python3 --version 2>/dev/null || echo none)." \
        "Install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python3.12 …"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || stop "$python has no venv module." \
        "Install it (Debian: apt-get install python3-venv) and run make again."
    rm -rf .venv
    "$python" -m venv .venv
fi

install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@" || stop \
    "pip could not install what requirements/$part.txt names; its complaint stands above."; }

echo "Setting up .venv ($part): about half a minute on a fast line." >&2
install --require-hashes -r requirements/build.txt -r "requirements/$part.txt"
# The build back end is among the pinned: nothing is fetched that has no hash.
install --no-deps --no-build-isolation --editable .
touch ".venv/$part.stamp"
