# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The machine and the programs beside PyTorch: attnc, and the measured ceiling.

In: paths of the two binaries. Out: what they print, as Python values.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

BITS = {"x86_64": "128", "x86_64-v3": "256", "x86_64-v4": "512", "x86_64-amx": "512", "aarch64": "128"}


class Failed(Exception):
    """A program that refused, with what it said."""


def output(command: list[str], **how) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **how)
    if done.returncode != 0:
        raise Failed(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done.stdout


def pin(threads: int) -> list[int]:
    """Binds this process, and what it starts, to the first processors that it may use."""
    allowed = sorted(os.sched_getaffinity(0))[:threads]
    if len(allowed) < threads:
        raise Failed(f"{threads} threads need {threads} processors; this process may use {len(allowed)}")
    os.sched_setaffinity(0, allowed)
    return allowed


def vendor() -> str:
    """Who made the processor, as Linux names them on x86; else empty."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("vendor_id")), "")


def facts() -> dict:
    """Processor, system and day."""
    model, flags, family = platform.processor() or platform.machine(), set(), ""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            key, value = key.strip(), value.strip()
            if key == "model name":
                model = value
            elif key == "cpu family":
                family = value
            elif key == "flags":
                flags = set(value.split())
    except OSError:
        pass
    shown = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16")
    return {
        "cpu": model + (f", family {family}" if family else ""),
        "has": [f for f in shown if f in flags],
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "date": datetime.date.today().isoformat(),
    }


def ceilings(binary: Path, cpus: list[int]) -> dict[str, float]:
    """f32 GFLOP/s by vector width, summed over these processors, each measured by a process of its own at the same time."""
    started = [
        subprocess.Popen(
            [str(binary)], stdout=subprocess.PIPE, text=True, preexec_fn=lambda c=cpu: os.sched_setaffinity(0, [c])
        )
        for cpu in cpus
    ]
    sums: dict[str, float] = {}
    for process in started:
        text, _ = process.communicate()
        if process.returncode != 0:
            raise Failed(f"`{binary}` failed")
        for bits, rate in json.loads(text).items():
            sums[bits] = sums.get(bits, 0.0) + rate
    return sums


@dataclass(frozen=True)
class Attnc:
    """attnc on one case."""

    binary: Path
    operator: Path
    inputs: Path
    threads: int

    def run(self, target: str, plan: str, repeat: int, out: Path | None = None) -> dict:
        """One process: reads, compiles, calls `repeat` times; its report. Reading and compiling are outside its `run_ms_all`."""
        command = [str(self.binary), "run", str(self.operator), "--input", str(self.inputs), "--json", "--no-cache"]
        command += ["--threads", str(self.threads), "--target", target, "--plan", plan, "--repeat", str(repeat)]
        if out is not None:
            command += ["--output", str(out)]
        return json.loads(output(command))
