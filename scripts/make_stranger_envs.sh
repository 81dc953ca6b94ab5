#!/bin/sh
# Environments of their own for the foreign clients that judge the simulated exchange: .venvs/ccxt and .venvs/cryptofeed.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
make_env() {
    name=$1
    shift
    if [ ! -f ".venvs/$name/ready" ]; then
        "$python" -m venv --clear ".venvs/$name"
        ".venvs/$name/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
        touch ".venvs/$name/ready"
    fi
}
make_env ccxt "ccxt==4.5.90"
make_env cryptofeed "cryptofeed==2.4.1"
