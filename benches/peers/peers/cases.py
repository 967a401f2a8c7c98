# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What is measured: schedules, sizes, dtypes.

In: a name such as `C1-f32-causal` or `G65536-f32`. Out: the branches, the operator's `.attn` text, the floating-point operations by formula,
and the tensors, which are written once and read by everyone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HEADS = 8
HEAD_DIM = 64
SEED = 20230705

C1 = ((2048, 1), (4096, 2), (8192, 4))
C2 = ((2048, 1), (4096, 2), (8192, 4), (16384, 6), (32768, 12))


def geometric(n: int) -> tuple[tuple[int, int], ...]:
    """w = 1024 * 2^i up to n, r = 2^i."""
    return tuple((1024 << i, 1 << i) for i in range((n // 1024).bit_length()))


@dataclass(frozen=True)
class Case:
    """One operator at one size; batch 1, `offsets = modulo`, N a multiple of every segment."""

    schedule: str
    branches: tuple[tuple[int, int], ...]
    seq_len: int
    dtype: str
    causal: bool
    heads: int = HEADS

    @property
    def name(self) -> str:
        """Its name on the command line and in files."""
        return f"{self.schedule}-{self.dtype}" + ("-causal" if self.causal else "")

    @staticmethod
    def of(name: str) -> Case:
        """The case of a name."""
        parts = name.split("-")
        schedule, dtype, causal = parts[0], parts[1] if len(parts) > 1 else "", parts[2:] == ["causal"]
        if dtype not in ("f32", "bf16") or (parts[2:] and not causal):
            raise ValueError(f"`{name}` is no case: SCHEDULE-f32|bf16[-causal]")
        if schedule == "C1":
            return Case(schedule, C1, 8192, dtype, causal)
        if schedule == "C2":
            return Case(schedule, C2, 32768, dtype, causal)
        if schedule.startswith("G") and schedule[1:].isdigit():
            n = int(schedule[1:])
            if n >= 1024 and n & (n - 1) == 0:
                return Case(schedule, geometric(n), n, dtype, causal)
        raise ValueError(f"`{name}` is no case: the schedule is C1, C2 or G and a power of two from 1024")

    def text(self) -> str:
        """The operator for attnc."""
        fields = f"heads = {self.heads}, head_dim = {HEAD_DIM}, dtype = {self.dtype}"
        if self.causal:
            fields += ", causal = true"
        branches = "".join(f"    branch {{ segment = {w}, dilation = {r} }}\n" for w, r in self.branches)
        return f"edition 1\nattention peers {{\n    {fields}\n{branches}}}\n"

    def flops(self) -> int:
        """Two a multiply-add, each key once for every branch that shows it, half when causal: whatever was executed."""
        # N w / r^2 may be a fraction: summed exactly over the least common multiple of all r^2.
        scale = 1
        for _, r in self.branches:
            scale *= r * r
        pairs = sum(self.seq_len * w * scale // (r * r) for w, r in self.branches)
        madds = 2 * self.heads * HEAD_DIM * pairs // (scale * (2 if self.causal else 1))
        return 2 * madds

    def dense_flops(self) -> int:
        """The same for attention of every query to every key."""
        madds = 2 * self.heads * HEAD_DIM * self.seq_len**2 // (2 if self.causal else 1)
        return 2 * madds


def tensors(case: Case, folder: Path) -> Path:
    """The file with q, k, v `[1, N, H, D]` in the case's dtype, standard normal from a fixed seed; written where it is not there yet."""
    import torch
    from safetensors.torch import save_file

    path = folder / f"{case.seq_len}x{case.heads}x{HEAD_DIM}-{case.dtype}.safetensors"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        generator = torch.Generator().manual_seed(SEED)
        shape = (1, case.seq_len, case.heads, HEAD_DIM)
        dtype = torch.float32 if case.dtype == "f32" else torch.bfloat16
        made = {name: torch.randn(shape, generator=generator).to(dtype) for name in "qkv"}
        beside = path.with_suffix(".part")
        save_file(made, beside)
        beside.rename(path)
    return path
