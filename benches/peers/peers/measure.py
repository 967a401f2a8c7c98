# SPDX-License-Identifier: Apache-2.0 OR MIT
"""One case: everyone's result compared (`check`), everyone timed in turns (`time`).

In: a case, which engines, threads, a budget of seconds. Out: one JSON object a call; `report` merges them.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

from . import reference
from .cases import Case, tensors
from .machine import Attnc, Failed, ceilings, facts, pin

TOLERANCE = {"f32": 1e-6, "bf16": 1e-2}
HANDWRITTEN = {
    "hand-views-token": (False, False),
    "hand-copies-token": (False, True),
    "hand-views-head": (True, False),
    "hand-copies-head": (True, True),
}
PEERS = ("original", *HANDWRITTEN, "dense", "flex")


class Bench:
    """The tensors of a case, and its engines by name."""

    def __init__(self, case: Case, options) -> None:
        self.case, self.options = case, options
        self.cpus = pin(options.threads)
        import torch
        from safetensors.torch import load_file

        torch.set_num_threads(options.threads)
        torch.set_grad_enabled(False)
        self.torch = torch
        self.inputs = tensors(case, options.data)
        self.q, self.k, self.v = (load_file(self.inputs)[name] for name in "qkv")
        self.temporary = tempfile.TemporaryDirectory(prefix="peers-")  # gone with this object
        self.folder = Path(self.temporary.name)
        operator = self.folder / "peers.attn"
        operator.write_text(case.text())
        self.attnc = Attnc(options.attnc, operator, self.inputs, options.threads)

    def peer(self, name: str):
        """A peer by name, with its inputs in the layout it wants, made outside the clock."""
        from . import handwritten, original, others

        case = self.case
        q, k, v = self.q, self.k, self.v
        if name == "original":
            return partial(original.attention, q, k, v, case.branches, case.causal)
        if name == "dense":
            return partial(others.dense, q, k, v, case.causal)
        if name == "flex":
            return partial(others.flex(case.branches, case.causal, case.heads, case.seq_len), q, k, v)
        head_major, copies = HANDWRITTEN[name]
        if head_major:
            q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
        return partial(handwritten.attention, q, k, v, case.branches, case.causal, head_major, copies)

    def head(self, kind: str) -> dict:
        """What every file opens with."""
        o = self.options
        return {
            "kind": kind,
            "case": self.case.name,
            "threads": o.threads,
            "mkl": o.mkl,
            "machine": facts(),
            "torch": self.torch.__version__,
        }


def check(case: Case, options) -> dict:
    """Errors of every engine: relative Frobenius on sampled rows against float64, and over all rows, relative and largest, against attnc."""
    from safetensors.torch import load_file

    bench = Bench(case, options)
    n, heads = case.seq_len, case.heads
    rows = reference.some_rows(n, heads, options.rows, 1)
    q, k, v = (x[0].double().numpy() for x in (bench.q, bench.k, bench.v))
    right = reference.attend(q, k, v, case.branches, case.causal, rows)
    whole = reference.attend(q, k, v, ((n, 1),), case.causal, rows)
    first = None
    errors: dict[str, dict] = {}
    for name in options.engines:
        try:
            if name in PEERS:
                out = bench.peer(name)()
            else:
                path = bench.folder / "out.safetensors"
                target, plan = name.split("/")
                bench.attnc.run(target, plan, 1, path)
                out = load_file(path)["out"]
        except Exception as why:  # what a peer cannot do is a result
            errors[name] = {"failed": f"{type(why).__name__}: {why}".splitlines()[0][:300]}
            continue
        out = out[0].double().numpy()
        at = [out[row, head] for row, head in rows]
        e = {"sampled": reference.error(at, whole if name == "dense" else right)}
        if name != "dense":
            if first is None:
                first = out
            else:
                e["frobenius"] = reference.error(out, first)
                e["largest"] = float(abs(out - first).max())
        e["right"] = max(e["sampled"], e.get("frobenius", 0.0) / 2) <= TOLERANCE[case.dtype]
        errors[name] = e
    return bench.head("check") | {"errors": errors}


def timed(case: Case, options) -> dict:
    """Milliseconds of every engine, in turns: one call of each, then again, while the budget lasts; at least one turn. A first call of each peer
    warms up outside the clock, and attnc's turn is a process whose first call does."""
    start = time.perf_counter()
    bench = Bench(case, options)
    peers = {name: bench.peer(name) for name in options.engines if name in PEERS}
    failed = {}
    for name, call in list(peers.items()):
        try:
            call()
        except Exception as why:
            failed[name] = f"{type(why).__name__}: {why}".splitlines()[0][:300]
            del peers[name]
    engines = [name for name in options.engines if name not in failed]
    times: dict[str, list[float]] = {name: [] for name in engines}
    issued: dict[str, int] = {}
    peak = ceilings(options.ceiling, bench.cpus)
    turns = 0
    while turns < options.turns:
        began = time.perf_counter()
        for name in engines:
            if name in peers:
                before = time.perf_counter()
                peers[name]()
                times[name].append((time.perf_counter() - before) * 1e3)
            else:
                target, plan = name.split("/")
                report = bench.attnc.run(target, plan, 2)
                times[name].append(min(report["run_ms_all"]))
                issued[name] = report["madds_executed"]
                if report["madds_formula"] * 2 != case.flops():
                    raise Failed(f"attnc counts {report['madds_formula']} products by formula, the runner {case.flops() // 2}")
        for bits, rate in ceilings(options.ceiling, bench.cpus).items():
            peak[bits] = max(peak[bits], rate)
        turns += 1
        now = time.perf_counter()
        if now - start + (now - began) > options.seconds:
            break
    return bench.head("time") | {
        "seq_len": case.seq_len,
        "flops": case.flops(),
        "dense_flops": case.dense_flops(),
        "ceilings": {bits: round(rate, 1) for bits, rate in peak.items()},
        "times_ms": {name: [round(t, 3) for t in ts] for name, ts in times.items()},
        "madds_executed": issued,
        "failed": failed,
    }
