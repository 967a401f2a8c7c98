# SPDX-License-Identifier: Apache-2.0 OR MIT
"""From result files to tables and a plot.

In: JSON objects of `check` and `time`. Out: rows (JSON), Markdown, an image. Needs no PyTorch.
"""

from __future__ import annotations

import json
from pathlib import Path

from .machine import BITS

MKL = {"shipped": "as shipped", "intel": "told the processor is Intel's"}

# Ratios that the issue asks for, time of the peer / time of attnc: schedule, causal -> (hand-written, original).
GOALS = {
    ("C1", False): (1.7, 1.95),
    ("C1", True): (2.0, 2.5),
    ("C2", False): (1.6, 2.3),
    ("C2", True): (1.8, 3.1),
}


def load(folder: Path) -> list[dict]:
    """Every result in a folder and the folders in it, by name."""
    return [json.loads(path.read_text()) for path in sorted(folder.rglob("*.json"))]


def machine(result: dict) -> str:
    """The processor, and which of the instructions it has that matter here."""
    return f"{result['machine']['cpu']} ({', '.join(result['machine']['has'])})"


def rows(results: list[dict]) -> list[dict]:
    """One row an engine, in runs of one measurement: ratios are between times of the same run only."""
    errors: dict[tuple, dict] = {}
    for r in results:
        if r["kind"] == "check":
            for name, e in r["errors"].items():
                errors[machine(r), r["case"], r["mkl"], name] = e
    made = []
    for r in (r for r in results if r["kind"] == "time"):
        best = {name: min(ts) for name, ts in r["times_ms"].items()}
        hand = [t for name, t in best.items() if name.startswith("hand-")]
        wide = max(r["ceilings"].values())
        for name, ms in best.items():
            flops = r["dense_flops"] if name == "dense" else r["flops"]
            target = name.partition("/")[0]
            row = {
                "machine": machine(r),
                "case": r["case"],
                "threads": r["threads"],
                "mkl": r["mkl"],
                "engine": name,
                "ms": ms,
                "turns": len(r["times_ms"][name]),
                "gflops": flops / ms / 1e6,
                "to_hand": min(hand) / ms if hand else None,
                "to_original": best["original"] / ms if "original" in best else None,
                "us_per_token": ms * 1e3 / r["seq_len"],
            }
            if name in r["madds_executed"]:
                peak = r["ceilings"].get(BITS.get(target, ""), wide)
                row["issued"] = 2 * r["madds_executed"][name] / ms / 1e6
                row["ceiling"] = peak
                row["part"] = row["issued"] / peak
            else:
                row["ceiling"] = wide
                row["part"] = row["gflops"] / wide
            e = errors.get((machine(r), r["case"], r["mkl"], name))
            row["error"] = e.get("sampled") if e else None
            row["void"] = e is None or not e.get("right", False)
            made.append(row)
        for name, why in r["failed"].items():
            made.append(
                {
                    "machine": machine(r),
                    "case": r["case"],
                    "threads": r["threads"],
                    "mkl": r["mkl"],
                    "engine": name,
                    "failed": why,
                }
            )
    return made


def number(x: float | None, digits: int = 1) -> str:
    """As the tables show it."""
    return "" if x is None else f"{x:.{digits}f}"


def markdown(made: list[dict]) -> str:
    """One table a case and number of threads, machine by machine."""
    text = []
    done = []
    for row in made:
        key = row["machine"], row["case"], row["threads"], row["mkl"]
        if key in done:
            continue
        if row["machine"] not in [k[0] for k in done]:
            text += [f"## {row['machine']}", ""]
        done.append(key)
        threads = "1 thread" if row["threads"] == 1 else f"{row['threads']} threads"
        text += [f"**{row['case']}, {threads}, MKL {MKL[row['mkl']]}**", ""]
        text += ["| engine | ms | GFLOP/s by formula | to hand-written | to original | part of ceiling | error |"]
        text += ["|---|---|---|---|---|---|---|"]
        for r in (r for r in made if (r["machine"], r["case"], r["threads"], r["mkl"]) == key):
            if "failed" in r:
                text.append(f"| {r['engine']} | failed: {r['failed'].replace('|', '/')} | | | | | |")
                continue
            same = r["engine"] != "dense"
            ratios = ["void" if r["void"] else number(r[x], 2) if same else "" for x in ("to_hand", "to_original")]
            part = f"{100 * r['part']:.0f} % of {r['ceiling']:.0f}"
            error = "unchecked" if r["error"] is None else f"{r['error']:.1e}"
            cells = [r["engine"], number(r["ms"]), number(r["gflops"]), *ratios, part, error]
            text.append("| " + " | ".join(cells) + " |")
        text.append("")
    return "\n".join(text)


def goals(made: list[dict]) -> str:
    """The f32 goals of one thread: attnc's fastest row of a case against them."""
    text = [
        "| machine | case | MKL | attnc | to hand-written | goal | to original | goal |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for where in dict.fromkeys(r["machine"] for r in made):
        for (schedule, causal), (hand, original) in GOALS.items():
            case = f"{schedule}-f32" + ("-causal" if causal else "")
            for mkl, said in MKL.items():
                key = where, case, 1, mkl
                ours = [r for r in made if (r["machine"], r["case"], r["threads"], r["mkl"]) == key and "/" in r["engine"]]
                ours = [r for r in ours if not r.get("void", True) and r["to_hand"] and r["to_original"]]
                if not ours:
                    continue
                r = max(ours, key=lambda r: r["to_hand"])
                cells = [where, case, said, r["engine"]]
                for ratio, goal in (("to_hand", hand), ("to_original", original)):
                    cells += [f"{r[ratio]:.2f}", f"{goal}: " + ("reached" if r[ratio] >= goal else "missed")]
                text.append("| " + " | ".join(cells) + " |")
    return "\n".join(text) + "\n"


def plot(made: list[dict], path: Path) -> None:
    """Time a token against N of the geometric schedules, one thread; where several machines were measured, a colour each."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "peers"
    import matplotlib.pyplot as plt

    lines: dict[tuple[str, str], list[tuple[int, float]]] = {}
    machines = list(dict.fromkeys(r["machine"] for r in made))
    for r in made:
        schedule, _, rest = r["case"].partition("-")
        if schedule.startswith("G") and rest == "f32" and r["threads"] == 1 and "failed" not in r:
            name = "hand-written, best" if r["engine"].startswith("hand-") else r["engine"]
            lines.setdefault((r["machine"], name), []).append((int(schedule[1:]), r["us_per_token"]))
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for (where, name), points in lines.items():
        best: dict[int, float] = {}
        for n, t in points:
            best[n] = min(t, best.get(n, t))
        look = {"marker": "o", "label": name}
        if len(machines) > 1:
            others = [n for w, n in lines if w == where]
            look |= {
                "color": f"C{machines.index(where)}",
                "marker": "os^dvx*+"[others.index(name) % 8],
                "label": f"{name}, {where.partition(' (')[0]}",
            }
        axes.plot(sorted(best), [best[n] for n in sorted(best)], **look)
    axes.set(xscale="log", yscale="log", xlabel="tokens", ylabel="microseconds a token, 8 heads of 64, f32, one thread")
    axes.set_xscale("log", base=2)
    axes.grid(True, which="both", alpha=0.3)
    if lines:
        axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
