#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0 OR MIT
# Builds attnc and the ceiling, installs PyTorch into .venv (or takes PYTHON), checks and times every case, writes the report. BEFORE, where set,
# is put before every timing (a command that keeps the machine quiet, say). Some 15 minutes on two cores after building.
set -euo pipefail
cd "$(dirname "$0")"
cargo build --release --locked -p attnc-cli
cargo build --release --locked -p attnc-benches --example ceiling
if [ -z "${PYTHON:-}" ]; then
    [ -e .venv ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet -r requirements.txt
    PYTHON=.venv/bin/python
fi
peers() { $PYTHON -m peers "$@"; }
timed() { ${BEFORE:-} $PYTHON -m peers time "$@"; }

hand="hand-views-token hand-copies-token hand-views-head hand-copies-head"
v4="x86_64-v4/share x86_64-v4/each"
v3="x86_64-v3/share x86_64-v3/each"
rm -rf results
for case in C1-f32 C1-f32-causal C1-bf16 C1-bf16-causal; do
    peers check $case --engines $v4 $v3 original $hand dense
    timed $case --engines $v4 $v3 original $hand dense --turns 3
done
for case in C2-f32 C2-f32-causal C2-bf16 C2-bf16-causal; do
    peers check $case --engines $v4 original $hand
    timed $case --engines $v4 original $hand --turns 2
done
for case in C1-f32 C1-f32-causal; do
    peers check $case --engines $v4 $v3 original $hand --mkl shipped
    timed $case --engines $v4 $v3 original $hand --turns 3 --mkl shipped
    timed $case --engines $v4 original $hand --threads 2
done
peers check G2048-f32 --engines x86_64-v4/share original hand-views-head flex --label flex
timed G2048-f32 --engines x86_64-v4/share original hand-views-head flex --turns 2 --label flex
for n in 4096 8192 16384 32768 65536; do
    dense=$([ $n -le 16384 ] && echo dense || true)
    peers check G$n-f32 --engines x86_64-v4/share original hand-views-head $dense
    timed G$n-f32 --engines x86_64-v4/share original hand-views-head $dense --turns 2
done
peers report
