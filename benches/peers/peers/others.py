# SPDX-License-Identifier: Apache-2.0 OR MIT
"""Two more ways to attend in PyTorch: every query to every key, and FlexAttention with the pattern as a block mask.

In: q, k, v `[B, N, H, D]`. Out: out `[B, N, H, D]`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def dense(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """Dense attention: another result and, by N, many more products; what one pays without a long-sequence operator."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)


def flex(branches, causal: bool, heads: int, n: int):
    """FlexAttention compiled for the pattern: a block mask of the visible keys, and log(count) added to each score. Raises what
    `torch.compile` raises where there is no C++ compiler."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    def count(h, i, j):
        total = 0
        for w, r in branches:
            seen = (i // w == j // w) & (i % w % r == h % r) & (j % w % r == h % r)
            total = total + seen.to(torch.float32)
        return total

    def visible(_b, h, i, j):
        seen = count(h, i, j) > 0
        return seen & (j <= i) if causal else seen

    def counted(score, _b, h, i, j):
        return score + torch.log(count(h, i, j))

    mask = create_block_mask(visible, None, heads, n, n, device="cpu", _compile=True)
    compiled = torch.compile(flex_attention)

    def attention(q, k, v):
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return compiled(q, k, v, score_mod=counted, block_mask=mask).transpose(1, 2)

    return attention
