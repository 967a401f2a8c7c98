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
# The targets that this machine runs, the most demanding first: all of them for C1, the first one for the rest.
targets=$(../../target/release/attnc targets | awk '$1 ~ /^x86_64-/ && / runs/ { print $1 }' | tac)
best=$(head -n 1 <<<"$targets")
[ -n "$best" ] || { echo "this machine runs no wide target (attnc targets)" >&2; exit 1; }
native="$best/share $best/each"
all=$(for t in $targets; do echo "$t/share $t/each"; done)
rm -rf results
for case in C1-f32 C1-f32-causal C1-bf16 C1-bf16-causal; do
    peers check $case --engines $all original $hand dense
    timed $case --engines $all original $hand dense --turns 3
done
for case in C2-f32 C2-f32-causal C2-bf16 C2-bf16-causal; do
    peers check $case --engines $native original $hand
    timed $case --engines $native original $hand --turns 2
done
for case in C1-f32 C1-f32-causal; do
    peers check $case --engines $all original $hand --mkl shipped
    timed $case --engines $all original $hand --turns 3 --mkl shipped
    timed $case --engines $native original $hand --threads 2
done
peers check G2048-f32 --engines $best/share original hand-views-head flex --label flex
timed G2048-f32 --engines $best/share original hand-views-head flex --turns 2 --label flex
for n in 4096 8192 16384 32768 65536; do
    dense=$([ $n -le 16384 ] && echo dense || true)
    peers check G$n-f32 --engines $best/share original hand-views-head $dense
    timed G$n-f32 --engines $best/share original hand-views-head $dense --turns 2
done
peers report
