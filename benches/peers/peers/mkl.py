# SPDX-License-Identifier: Apache-2.0 OR MIT
"""PyTorch at its best on processors that are not Intel's.

MKL, which PyTorch's wheels multiply matrices with, asks whether the processor is Intel's and uses 256-bit code where it is not. Its exported
function that answers can be replaced from outside; then MKL goes by the instructions the processor has, twice as fast on AVX-512.

In: a choice. Out: this process started anew with the answer replaced, where that is chosen and not yet so.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .machine import Failed, vendor

CHOICES = ("auto", "shipped", "intel")
SOURCE = "int mkl_serv_intel_cpu_true(void) { return 1; }\nint mkl_serv_intel_cpu(void) { return 1; }\n"
MARK = "PEERS_MKL"


def settle(choice: str, folder: Path) -> str:
    """`intel` (MKL told that the processor is Intel's) or `shipped`; `auto` is `intel` wherever that differs."""
    if choice == "auto":
        choice = "shipped" if vendor() in ("GenuineIntel", "") else "intel"
    if choice == "intel" and os.environ.get(MARK) != "intel":
        library = folder.resolve() / "intel.so"
        folder.mkdir(parents=True, exist_ok=True)
        beside = library.with_suffix(".part")
        command = ["cc", "-shared", "-fPIC", "-O2", "-x", "c", "-", "-o", str(beside)]
        try:
            subprocess.run(command, input=SOURCE, text=True, check=True)
        except (OSError, subprocess.CalledProcessError) as why:
            raise Failed(f"no C compiler for MKL's answer ({why}); `--mkl shipped` goes without") from why
        beside.rename(library)
        preload = ":".join(filter(None, [str(library), os.environ.get("LD_PRELOAD", "")]))
        os.execve(sys.executable, sys.orig_argv, os.environ | {"LD_PRELOAD": preload, MARK: "intel"})
    return choice
