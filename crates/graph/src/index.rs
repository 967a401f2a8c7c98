// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The strided sets of a branch: which positions the rows of its segments hold, and where they return to.
//!
//! In: a header, a branch, a head, a sequence length. Out: index arithmetic, one function an arrow. Row (s, j) of a branch is place
//! o + r j of segment s; a segment of w' = min(w, N) tokens is filled up to ceil(w'/r) rows of each phase.

use attnc_spec::{Branch, Offsets, Ragged, Rows};

use crate::graph::Header;

/// The rows of one branch for one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    seq_len: u64,
    segment: u64,
    dilation: u64,
    offset: u64,
    displaced: bool,
    causal: bool,
    padded: bool,
}

impl Grid {
    /// The grid of `branch` for query head `head` over `seq_len` positions (at least 1).
    pub fn new(header: &Header, branch: Branch, head: u32, seq_len: u64) -> Grid {
        let (h, heads) = (u64::from(head), u64::from(header.heads));
        let dilation = branch.dilation.max(1);
        Grid {
            seq_len: seq_len.max(1),
            segment: branch.segment.clipped(seq_len),
            dilation,
            offset: match header.profile.offsets {
                Offsets::Modulo => h % dilation,
                Offsets::Blocked => h / heads.div_ceil(dilation).max(1),
            },
            displaced: header.profile.rows == Rows::Displaced,
            causal: header.causal,
            padded: header.profile.ragged == Ragged::ZeroKeys,
        }
    }

    /// Segments that hold a token.
    pub fn segments(&self) -> u64 {
        self.seq_len.div_ceil(self.segment)
    }

    /// Rows of a segment, filled ones included.
    pub fn rows(&self) -> u64 {
        self.segment.div_ceil(self.dilation)
    }

    /// The place of row `j` within its segment.
    pub fn place(&self, j: u64) -> u64 {
        self.offset + self.dilation * j
    }

    /// The position of row `j` of segment `s`; none for a row that was filled in.
    pub fn position(&self, s: u64, j: u64) -> Option<u64> {
        let place = self.place(j);
        let n = s * self.segment + place;
        (place < self.segment && n < self.seq_len).then_some(n)
    }

    /// The row (s, j) that holds position `n` itself, if the branch has its phase.
    pub fn row_of(&self, n: u64) -> Option<(u64, u64)> {
        self.split(n, self.segment)
    }

    /// The row (s, j) whose result returns to position `n`: its own, or with `rows = displaced` the one on the grid of filled segments.
    pub fn returns_to(&self, n: u64) -> Option<(u64, u64)> {
        let grid = if self.displaced {
            self.rows() * self.dilation
        } else {
            self.segment
        };
        self.split(n, grid)
    }

    fn split(&self, n: u64, length: u64) -> Option<(u64, u64)> {
        let (s, place) = (n / length, n % length);
        (place % self.dilation == self.offset).then_some((s, place / self.dilation))
    }

    /// Whether row `i` of segment `s` sees row `j` of it: not behind itself when causal, and filled rows only with
    /// `ragged = zero_keys`.
    pub fn sees(&self, s: u64, i: u64, j: u64) -> bool {
        let real = |j| self.padded || self.position(s, j).is_some();
        real(i) && real(j) && (!self.causal || j <= i)
    }
}
