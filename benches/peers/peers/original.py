# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The operator written straightforwardly, step for step as LongNet's published code: pad, rearrange into segments, dilate by head through a
diagonal, attend with lse, spread back through a diagonal, mix by a softmax over the branches' lse.

In: q, k, v `[B, N, H, D]`. Out: out `[B, N, H, D]`. Differs from that code where attnc's default profile does: heads take their phase by
h mod r, padding is masked instead of seen as zeros, and every segment is cut back to its length before segments are joined.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

HIDDEN = -1e8


def up(n: int, multiple: int) -> int:
    """What is missing to the next multiple."""
    return -n % multiple


def dense_to_sparse(x: torch.Tensor, r: int) -> torch.Tensor:
    """`[b, l, H, D]` to `[b, ceil(l / r), H, D]`: head h keeps the places of phase h mod r."""
    _, length, heads, _ = x.shape
    if up(length, r) or up(heads, r):
        x = F.pad(x, (0, 0, 0, up(heads, r), 0, up(length, r)))
    b, length, padded, d = x.shape
    x = x.reshape(b, length // r, r, padded // r, r, d)
    x = torch.diagonal(x, dim1=2, dim2=4)  # b, l, head group, d, phase
    return x.permute(0, 1, 2, 4, 3).reshape(b, length // r, padded, d)[:, :, :heads]


def sparse_to_dense(out: torch.Tensor, lse: torch.Tensor, r: int, w: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Back to `[b, w, H, D]` and lse `[b, w, H]`; what no head of the phase holds gets out 0 and a hidden lse."""
    b, length, heads, d = out.shape
    if up(heads, r):
        out = F.pad(out, (0, 0, 0, up(heads, r)))
        lse = F.pad(lse, (0, up(heads, r)), value=HIDDEN)
    padded = out.shape[2]
    out = out.reshape(b, length, padded // r, r, d).permute(0, 1, 2, 4, 3)
    out = torch.diag_embed(out, dim1=2, dim2=4)  # b, l, phase, head group, head in group, d
    out = out.reshape(b, length * r, padded, d)[:, :w, :heads]
    lse = torch.diag_embed(lse.reshape(b, length, padded // r, r), dim1=2, dim2=4)
    lse = lse.masked_fill(lse == 0, HIDDEN).reshape(b, length * r, padded)[:, :w, :heads]
    return out, lse


def padding(w: int, r: int, heads: int, like: torch.Tensor) -> torch.Tensor | None:
    """What hides the padded places from heads whose phase has one fewer, `[1, H, 1, L]`; none where r divides w."""
    if up(w, r) == 0:
        return None
    length = (w + r - 1) // r
    place = torch.arange(length) * r + (torch.arange(heads) % r)[:, None]
    hidden = torch.zeros(1, heads, 1, length, dtype=like.dtype)
    return hidden.masked_fill(place[None, :, None] >= w, float("-inf")).expand(-1, -1, length, -1)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, branches, causal: bool) -> torch.Tensor:
    """The operator."""
    batch, n, heads, d = q.shape
    outs, lses = [], []
    for w, r in branches:
        parts = [dense_to_sparse(x.reshape(batch * n // w, w, heads, d), r) for x in (q, k, v)]
        # When causal, padding lies behind every real row.
        mask = None if causal else padding(w, r, heads, q)
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            *(x.transpose(1, 2) for x in parts), is_causal=causal, attn_mask=mask
        )
        out, lse = sparse_to_dense(out.transpose(1, 2), lse.transpose(1, 2), r, w)
        outs.append(out.reshape(batch, n, heads, d))
        lses.append(lse.reshape(batch, n, heads))
    weights = torch.softmax(torch.stack(lses), dim=0).unsqueeze(-1)
    return sum(out * weight.type_as(out) for out, weight in zip(outs, weights))
