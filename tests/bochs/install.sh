#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Puts Bochs' CPU (a wheel from PyPI) and numpy into target/bochs, where the tests look for them. Where the C library is older than the
# wheel, a few functions that it lacks are built beside it, to be loaded first.
set -euo pipefail
cd "$(dirname "$0")/../.."
to=target/bochs
python3 -m pip install --quiet --root-user-action=ignore --disable-pip-version-check --no-deps --upgrade \
    --target "$to" bochscpu-python==0.4.0 numpy==2.2.6
rm -f "$to/glibc.so"
if ! PYTHONPATH="$to" python3 -c 'import bochscpu' 2>/dev/null; then
    cc -shared -fPIC -O1 -o "$to/glibc.so" tests/bochs/glibc.c
fi
preload=
if [ -e "$to/glibc.so" ]; then preload="$PWD/$to/glibc.so"; fi
LD_PRELOAD="$preload" PYTHONPATH="$to" python3 -c 'import bochscpu, numpy; print("numpy", numpy.__version__)'
