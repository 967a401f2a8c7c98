# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The operator as one would write it by hand in PyTorch for speed: rows of a phase as slices, PyTorch's own flash kernel with lse, and a merge
in place that touches only the rows a branch covers.

In: q, k, v as `[B, N, H, D]` (token-major) or `[B, H, N, D]` (head-major). Out: out, `[B, N, H, D]` in both. Four variants, since which is
fastest depends on the machine: both layouts, each with strided views handed to the kernel or copied to contiguous memory first.
"""

from __future__ import annotations

import torch

flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def groups(heads: int, r: int):
    """Heads of one phase: (phase, slice of heads)."""
    return [(o, slice(o, heads, r)) for o in range(min(r, heads))]


def rows(x: torch.Tensor, w: int, r: int, phase: int, heads: slice, head_major: bool) -> torch.Tensor:
    """The view `[B * segments, heads, rows, D]` of what a phase covers."""
    if head_major:
        b, h, n, d = x.shape
        cut = x.view(b, h, n // w, w, d)[:, heads, :, phase::r].transpose(1, 2)
    else:
        b, n, h, d = x.shape
        cut = x.view(b, n // w, w, h, d)[:, :, phase::r, heads].transpose(2, 3)
    return cut.flatten(0, 1) if b == 1 else cut.reshape(-1, *cut.shape[2:])


def attention(q, k, v, branches, causal: bool, head_major: bool, copies: bool) -> torch.Tensor:
    """The operator. `copies`: gather into contiguous memory before the kernel."""
    heads = q.shape[1] if head_major else q.shape[2]
    batch, n, d = q.shape[0], q.shape[2] if head_major else q.shape[1], q.shape[3]
    done = []
    out = total = None
    for w, r in branches:
        for phase, part in groups(heads, r):
            x = [rows(t, w, r, phase, part, head_major) for t in (q, k, v)]
            if copies:
                x = [t.contiguous() for t in x]
            o, lse = flash(*x, is_causal=causal)
            if out is None and r == 1:
                # The kernel writes token by token: its result is the output's memory.
                first = lse
                out = o.transpose(1, 2).reshape(batch, n, heads, d)
                total = lse.transpose(1, 2).reshape(batch, n, heads).clone()
                continue
            done.append((w, r, phase, part, o, lse))
    assert out is not None, "the first branch has dilation 1"
    covered = []
    for w, r, phase, part, o, lse in done:
        sums = total.view(-1, w, heads)[:, phase::r, part].transpose(1, 2)
        sums.copy_(torch.logaddexp(sums, lse))
        covered.append(sums)
    weight = torch.exp(first.transpose(1, 2).reshape(total.shape) - total)
    out.mul_(weight.unsqueeze(-1).to(out.dtype))
    for (w, r, phase, part, o, lse), sums in zip(done, covered):
        target = out.view(-1, w, heads, d)[:, phase::r, part].transpose(1, 2)
        target.addcmul_(o, torch.exp(lse - sums).unsqueeze(-1).to(o.dtype))
    return out
