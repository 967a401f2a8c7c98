// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Rows of a result: all of them in order, or a sample that holds those where mistakes live.
//!
//! In: sizes, the operator's branches, the positions where an engine's tiles start, a seed. Out: row names (batch, head, position).
//!
//! A sample always holds, for every branch: the first and the last row of the first, second, a middle and the last segment (ragged or not), each
//! for a head whose phase it has, and one row of every phase (up to 64 of them); the first and last row of tiles; the first and last position; every head
//! and every batch entry. The rest is drawn at random from the seed.

use std::collections::BTreeSet;

use attnc_oracle::RowId;
use attnc_spec::{Operator, Rows};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// All rows of a result, in the order batch, position, head.
#[derive(Clone, Copy, Debug)]
pub struct RowIds {
    heads: u32,
    seq_len: usize,
    len: u64,
}

impl RowIds {
    /// The rows of `batch` entries of `seq_len` tokens. The count fits wherever the tensors do.
    pub fn new(batch: usize, heads: u32, seq_len: usize) -> RowIds {
        let len = (batch as u64)
            .saturating_mul(seq_len as u64)
            .saturating_mul(u64::from(heads));
        RowIds {
            heads,
            seq_len,
            len,
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The row of number `i` < `len`.
    pub fn get(&self, i: u64) -> RowId {
        let heads = u64::from(self.heads);
        let token = i / heads;
        RowId {
            batch: (token / self.seq_len as u64) as usize,
            head: (i % heads) as u32,
            position: (token % self.seq_len as u64) as usize,
        }
    }
}

/// Phases of one branch that a sample holds.
const MAX_PHASES: usize = 64;
/// Tile starts that a sample holds.
const MAX_BOUNDARIES: usize = 64;
/// The stream of the seed's key stream that rows are drawn from; inputs use the low numbers.
const STREAM: u64 = 1 << 32;

/// A sample of at least `count` rows, if there are so many. `boundaries` are positions where an engine's tiles or chunks start.
pub fn sample(
    op: &Operator,
    batch: usize,
    seq_len: usize,
    count: u64,
    boundaries: &[u64],
    seed: u64,
) -> Vec<RowId> {
    let all = RowIds::new(batch, op.heads, seq_len);
    if all.len() <= count {
        return (0..all.len()).map(|i| all.get(i)).collect();
    }
    let mut picked = Picked {
        op,
        batch,
        seq_len: seq_len as u64,
        turn: 0,
        rows: BTreeSet::new(),
    };
    for i in 0..op.branches.len() {
        picked.branch(i);
    }
    picked.boundaries(boundaries);
    picked.every_head_and_entry();
    let mut rng = rng(seed);
    while (picked.rows.len() as u64) < count {
        picked.rows.insert(all.get(rng.next_u64() % all.len()));
    }
    picked.rows.into_iter().collect()
}

fn rng(seed: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(STREAM);
    rng
}

struct Picked<'a> {
    op: &'a Operator,
    batch: usize,
    seq_len: u64,
    /// Counts up, so that heads of equal phase and batch entries take turns.
    turn: usize,
    rows: BTreeSet<RowId>,
}

impl Picked<'_> {
    fn add(&mut self, head: u32, position: u64) {
        if position < self.seq_len {
            self.rows.insert(RowId {
                batch: self.turn % self.batch,
                head,
                position: position as usize,
            });
        }
        self.turn += 1;
    }

    /// Segment ends and phases of branch `i`.
    fn branch(&mut self, i: usize) {
        let branch = self.op.branches[i];
        let (r, n) = (branch.dilation, self.seq_len);
        let w = branch.segment.clipped(n);
        // Rows of a segment may be put back at steps of the filled segment.
        let step = match self.op.profile.rows {
            Rows::Aligned => w,
            Rows::Displaced => w.div_ceil(r) * r,
        };
        let last = (n - 1) / step;
        let segments = [0, 1.min(last), last / 2, last];
        let mut phases: Vec<(u64, Vec<u32>)> = Vec::new();
        for h in 0..self.op.heads {
            let o = self.op.offset(h, r);
            match phases.iter().position(|p| p.0 == o) {
                Some(i) => phases[i].1.push(h),
                None if phases.len() < MAX_PHASES => phases.push((o, vec![h])),
                None => {}
            }
        }
        // Both ends of all four segments, and every phase, in turns.
        for j in 0..phases.len().max(2 * segments.len()) {
            let (o, heads) = &phases[j % phases.len()];
            let head = heads[self.turn % heads.len()];
            let start = segments[(j / 2) % segments.len()] * step;
            let end = n.min(start + step);
            // The first and the last place of the segment with this phase; outside for phases that a short segment has not.
            let first = start + o;
            let position = if first >= end || j % 2 == 0 {
                first
            } else {
                first + (end - 1 - first) / r * r
            };
            self.add(head, position);
        }
    }

    /// Last and first rows about tile starts, evenly thinned where there are many.
    fn boundaries(&mut self, starts: &[u64]) {
        let inside: Vec<u64> = (starts.iter().copied())
            .filter(|&p| p > 0 && p < self.seq_len)
            .collect();
        let every = inside.len().div_ceil(MAX_BOUNDARIES).max(1);
        for &p in inside.iter().step_by(every) {
            for position in [p - 1, p] {
                let head = (self.turn % self.op.heads as usize) as u32;
                self.add(head, position);
            }
        }
    }

    /// Every head, every batch entry, the first and the last position.
    fn every_head_and_entry(&mut self) {
        for j in 0..self.batch.max(self.op.heads as usize).max(2) {
            let head = (j % self.op.heads as usize) as u32;
            self.turn = j;
            let position = if j % 2 == 0 { self.seq_len - 1 } else { 0 };
            self.add(head, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_spec::{Branch, Precision, Profile, Segment};
    use attnc_tensor::DType;

    fn op(profile: Profile) -> Operator {
        let b = |w, dilation| Branch {
            segment: Segment::Finite(w),
            dilation,
        };
        Operator {
            name: "t".into(),
            heads: 6,
            kv_heads: 3,
            head_dim: 8,
            dtype: DType::F32,
            precision: Precision::Standard,
            causal: true,
            scale: 1.0,
            profile,
            branches: vec![b(1000, 1), b(3000, 4), b(1 << 40, 16)],
        }
    }

    #[test]
    fn all_rows_are_named_once() {
        let all = RowIds::new(2, 3, 5);
        let set: BTreeSet<RowId> = (0..all.len()).map(|i| all.get(i)).collect();
        assert_eq!(set.len(), 30);
        assert!(
            set.iter()
                .all(|r| r.batch < 2 && r.head < 3 && r.position < 5)
        );
        assert!(RowIds::new(0, 3, 5).is_empty() && RowIds::new(2, 3, 0).is_empty());
    }

    #[test]
    fn samples_hold_the_rows_where_mistakes_live() {
        for profile in [Profile::PAPER, Profile::TORCHSCALE] {
            let op = op(profile);
            let (batch, n) = (3, 10_500);
            let rows = sample(&op, batch, n, 256, &[2048, 4096, 10_240], 9);
            assert_eq!(rows.len(), 256);
            assert!(rows.is_sorted() && rows.windows(2).all(|w| w[0] != w[1]));
            let has = |f: &dyn Fn(&RowId) -> bool| rows.iter().any(f);
            for h in 0..6 {
                assert!(has(&|r| r.head == h));
            }
            for b in 0..batch {
                assert!(has(&|r| r.batch == b));
            }
            // Ends of segments of the first branch, the ragged last one included, and of tiles.
            for p in [0, 999, 1000, 1999, 10_000, 10_499, 2047, 2048, 10_239] {
                assert!(has(&|r| r.position == p), "{p}");
            }
            // Every phase of the second branch at a row it covers.
            for h in 0..6 {
                let o = op.offset(h, 4);
                let covered =
                    |r: &RowId| r.position as u64 % 3000 % 4 == o && op.offset(r.head, 4) == o;
                assert!(has(&covered));
            }
        }
    }

    #[test]
    fn samples_depend_on_the_seed_only_and_small_results_are_taken_whole() {
        let op = op(Profile::PAPER);
        let s = |seed| sample(&op, 1, 5000, 200, &[], seed);
        assert_eq!(s(1), s(1));
        assert_ne!(s(1), s(2));
        assert_eq!(sample(&op, 1, 40, 256, &[], 0).len(), 240);
        assert!(sample(&op, 1, 0, 256, &[], 0).is_empty());
        // More batch entries than anything else: each is there.
        let many = sample(&op, 400, 5000, 1, &[], 0);
        let entries: BTreeSet<usize> = many.iter().map(|r| r.batch).collect();
        assert_eq!(entries.len(), 400);
        // Fewer rows than must be there: those that must.
        assert!(sample(&op, 1, 5000, 1, &[], 0).len() > 6);
    }
}
