# SPDX-License-Identifier: Apache-2.0 OR MIT
"""What is right: the operator in float64 for some rows, by counting in how many branches a query sees a key.

In: q, k, v `[N, H, D]` (numpy), branches, rows. Out: those rows. It shares nothing with attnc or with the PyTorch operators.
"""

from __future__ import annotations

import numpy as np


def counts(branches, heads: int, n: int, head: int, row: int, causal: bool) -> np.ndarray:
    """How often head `head` lets query `row` see each of n keys, `[n]`."""
    keys = np.arange(n)
    c = np.zeros(n)
    for w, r in branches:
        if row % w % r == head % r:
            c += (keys // w == row // w) & (keys % w % r == head % r)
    if causal:
        c[row + 1 :] = 0
    return c


def some_rows(n: int, heads: int, amount: int, seed: int) -> list[tuple[int, int]]:
    """(row, head): the first and last rows of the sequence and random ones."""
    drawn = np.random.default_rng(seed).integers(0, (n, heads), size=(amount, 2))
    fixed = [(row, head) for row in (0, 1, n - 1) for head in (0, heads - 1)]
    return fixed + [(int(row), int(head)) for row, head in drawn]


def attend(q, k, v, branches, causal: bool, rows) -> np.ndarray:
    """`[len(rows), D]`; zero where no branch covers a row."""
    n, heads, d = q.shape
    out = np.zeros((len(rows), d))
    for at, (row, head) in enumerate(rows):
        c = counts(branches, heads, n, head, row, causal)
        seen = np.flatnonzero(c)
        if len(seen) == 0:
            continue
        s = k[seen, head].astype(np.float64) @ q[row, head].astype(np.float64) / np.sqrt(d)
        weight = c[seen] * np.exp(s - s.max())
        out[at] = weight @ v[seen, head].astype(np.float64) / weight.sum()
    return out


def error(x, reference) -> float:
    """Frobenius, relative to the reference; NaN counts as infinite."""
    x, reference = np.asarray(x, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    e = np.linalg.norm(x - reference) / np.linalg.norm(reference)
    return float(e) if np.isfinite(e) else float("inf")
