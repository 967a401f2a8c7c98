# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The command line: `check` and `time` one case each, `report` merges."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .cases import Case
from .machine import Failed
from .measure import HANDWRITTEN, check, timed
from .mkl import CHOICES, settle
from .report import goals, load, markdown, plot, rows

ROOT = Path(__file__).resolve().parents[3]
DEFAULT = ("native/share", "native/each", "original", *HANDWRITTEN)


def arguments() -> argparse.ArgumentParser:
    """Every option, with its default."""
    parser = argparse.ArgumentParser(prog="python -m peers", description="attnc against PyTorch on the CPU")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, about in (("check", "compare everyone's result"), ("time", "time everyone in turns")):
        p = verbs.add_parser(verb, help=about)
        p.add_argument("case", help="SCHEDULE-f32|bf16[-causal]; SCHEDULE: C1, C2 or G and N, the geometric one")
        p.add_argument(
            "--engines", nargs="+", default=list(DEFAULT), help="TARGET/PLAN of attnc, original, hand-..., dense, flex"
        )
        p.add_argument("--threads", type=int, default=1)
        p.add_argument("--results", type=Path, default=Path("results"), help="folder of result files (default: results)")
        p.add_argument("--label", default="", help="part of the result file's name, to keep several runs of a case")
        p.add_argument("--data", type=Path, default=Path("data"), help="folder of tensors (default: data)")
        p.add_argument("--attnc", type=Path, default=ROOT / "target/release/attnc")
        p.add_argument("--ceiling", type=Path, default=ROOT / "target/release/examples/ceiling")
        p.add_argument("--mkl", choices=CHOICES, default="auto", help="what MKL takes the processor for (default: auto)")
        p.add_argument("--rows", type=int, default=256, help="check: rows compared with float64")
        p.add_argument("--turns", type=int, default=5, help="time: most turns")
        p.add_argument("--seconds", type=float, default=50.0, help="time: no further turn if it would end later")
    p = verbs.add_parser("report", help="merge result files to report.md, report.json and tokens.svg")
    p.add_argument("--results", type=Path, default=Path("results"))
    p.add_argument("--output", type=Path, default=Path("."))
    return parser


def write(path: Path, text: str) -> None:
    """Beside, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(path.suffix + ".part")
    beside.write_text(text)
    beside.rename(path)


def main() -> int:
    """Exit code 1 where the work failed, 2 on usage."""
    options = arguments().parse_args()
    try:
        if options.verb == "report":
            made = rows(load(options.results))
            text = goals(made) + "\n" + markdown(made)
            write(options.output / "report.json", json.dumps(made, indent=1) + "\n")
            write(options.output / "report.md", text)
            plot(made, options.output / "tokens.svg")
            print(text)
            return 0
        case = Case.of(options.case)
        options.mkl = settle(options.mkl, options.data)
        result = (check if options.verb == "check" else timed)(case, options)
        label = f"-{options.label}" if options.label else ""
        write(options.results / f"{options.verb}-{case.name}-{options.threads}-{options.mkl}{label}.json", json.dumps(result, indent=1) + "\n")
        print(json.dumps(result.get("errors", result.get("times_ms")), indent=1))
        wrong = [name for name, e in result.get("errors", {}).items() if e.get("right") is False]
        if wrong:
            print(f"wrong results: {', '.join(wrong)}", file=sys.stderr)
            return 1
    except (Failed, ValueError) as why:
        print(f"peers: {why}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
