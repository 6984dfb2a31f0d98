#!/usr/bin/env bash
# Build .venv: the locked dependencies, and this checkout as an editable package.
# Safe to run again, to interrupt, and to run twice at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stamp=.venv/.complete
sources=(pyproject.toml requirements-dev.lock tools/uv.lock tools/setup.sh)

fail() { echo "Error: $*" >&2; exit 1; }

is_complete() {
    [[ -e $stamp && -x .venv/bin/python ]] || return 1
    local source
    for source in "${sources[@]}"; do
        [[ ! $source -nt $stamp ]] || return 1
    done
}

# One builder at a time: the second waits, then finds the work done.
mkdir -p .tools
exec 9> .tools/setup.lock
if command -v flock > /dev/null; then
    flock 9
fi
if is_complete; then
    exit 0
fi

python=${PYTHON:-python3}
command -v "$python" > /dev/null || fail "$python not found: install Python 3.11 or later"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: set PYTHON to a Python 3.11 or later (make PYTHON=python3.12 ...)"

echo "Setting up .venv (a few GB the first time, most of it torch and CUDA) ..."
rm -f "$stamp"
# No environment yet, or one that is damaged or whose Python has gone.
.venv/bin/python -m pip --version &> /dev/null || "$python" -m venv --clear .venv ||
    fail "cannot make a virtual environment (on Debian or Ubuntu: apt install python3-venv)"
run() { .venv/bin/python -m "$@"; }
run pip install --quiet --disable-pip-version-check -r tools/uv.lock
# Bytecode now: where Python may not write it later, each start of torch costs seconds more.
run uv pip install --quiet --compile-bytecode --python .venv/bin/python -r requirements-dev.lock
run uv pip install --quiet --python .venv/bin/python --no-deps --editable .
touch "$stamp"
