// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Which keys the branches show to the rows of one head, counted in square bins; and how many there are in all.
//!
//! In: an operator, a head, a sequence length, how many bins at most. Out: a [`Pattern`]: for each bin of rows and keys the sum over its
//! pairs of the number of branches that show the key to the row. What a row sees comes from the oracle, so a picture is a picture of the
//! definition. Zero keys have no position and are told apart.

use attnc_oracle::seen;
use attnc_spec::Operator;

/// Longest sequence of which a pattern is counted.
pub const MAX_SEQ_LEN: u64 = 1 << 20;

/// Most positions times branches that are counted, a few seconds' work.
pub const MAX_WORK: u64 = 1 << 24;

/// What is wrong with a wish for a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No such head.
    #[error("there is no head {head}; `{name}` has the heads 0 to {}", heads - 1)]
    Head {
        /// The head asked for.
        head: u32,
        /// The operator.
        name: String,
        /// How many it has.
        heads: u32,
    },
    /// No position, or too many.
    #[error("a pattern has 1 to {MAX_SEQ_LEN} positions, not {0}")]
    Length(u64),
    /// Too many positions times branches.
    #[error(
        "{seq_len} positions of {branches} branches are too many to count; at most {MAX_WORK} together: take a shorter sequence"
    )]
    Work {
        /// Positions.
        seq_len: u64,
        /// Branches.
        branches: usize,
    },
}

/// Counts in square bins, rows downwards and keys to the right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// N.
    pub seq_len: u64,
    /// Positions a bin has in each direction, a power of two; the last may have fewer.
    pub bin: u64,
    /// Bins in each direction.
    pub bins: usize,
    /// Whether later keys are hidden.
    pub causal: bool,
    /// For row bin i and key bin j, at `i * bins + j`: the sum over the pairs of the branches that show the key.
    pub counts: Vec<u64>,
    /// Most zero keys that a row sees, over all branches.
    pub zero_keys: u64,
    /// Rows that no branch covers.
    pub uncovered: u64,
}

impl Pattern {
    /// Counts what `branches` (indices; out of range ones show nothing) of `op` show to head `head`, in at most `most_bins` bins a side.
    ///
    /// # Errors
    /// See [`PatternError`].
    pub fn count(
        op: &Operator,
        branches: &[usize],
        head: u32,
        seq_len: u64,
        most_bins: u64,
    ) -> Result<Pattern, PatternError> {
        if head >= op.heads {
            return Err(PatternError::Head {
                head,
                name: op.name.clone(),
                heads: op.heads,
            });
        }
        if seq_len == 0 || seq_len > MAX_SEQ_LEN {
            return Err(PatternError::Length(seq_len));
        }
        if seq_len.saturating_mul(branches.len() as u64) > MAX_WORK {
            return Err(PatternError::Work {
                seq_len,
                branches: branches.len(),
            });
        }
        // A power of two, which most dilations divide: else neighbouring bins hold now one, now two of their keys.
        let bin = seq_len.div_ceil(most_bins.max(1)).next_power_of_two();
        let bins = seq_len.div_ceil(bin) as usize;
        let mut p = Pattern {
            seq_len,
            bin,
            bins,
            causal: op.causal,
            counts: vec![0; bins * bins],
            zero_keys: 0,
            uncovered: 0,
        };
        let chosen: Vec<_> = branches
            .iter()
            .filter_map(|b| op.branches.get(*b))
            .collect();
        for row in 0..seq_len {
            let at = (row / bin) as usize * bins;
            let (mut zeros, mut covered) = (0, false);
            for branch in &chosen {
                if let Some(s) = seen(op, branch, head, row, seq_len) {
                    progression(
                        &mut p.counts[at..at + bins],
                        bin,
                        (s.first, s.step, s.count),
                    );
                    zeros += s.zeros;
                    covered = true;
                }
            }
            p.zero_keys = p.zero_keys.max(zeros);
            p.uncovered += u64::from(!covered);
        }
        Ok(p)
    }

    /// Whether every bin is one pair.
    pub fn exact(&self) -> bool {
        self.bin == 1
    }

    /// Positions of bin `i`.
    fn extent(&self, i: usize) -> u64 {
        let start = i as u64 * self.bin;
        self.bin.min(self.seq_len - start.min(self.seq_len))
    }

    /// Pairs of row bin `i` and key bin `j` that causality allows.
    pub fn pairs(&self, i: usize, j: usize) -> u64 {
        let (rows, keys) = (self.extent(i), self.extent(j));
        if !self.causal || j < i {
            rows * keys
        } else if j > i {
            0
        } else {
            rows * (rows + 1) / 2
        }
    }

    /// The mean over the allowed pairs of a bin of the number of branches that show the key; the number itself where a bin is one pair.
    pub fn mean(&self, i: usize, j: usize) -> f64 {
        match self.pairs(i, j) {
            0 => 0.0,
            pairs => self.counts[i * self.bins + j] as f64 / pairs as f64,
        }
    }

    /// The largest mean.
    pub fn most(&self) -> f64 {
        let all = (0..self.bins).flat_map(|i| (0..self.bins).map(move |j| (i, j)));
        all.map(|(i, j)| self.mean(i, j)).fold(0.0, f64::max)
    }
}

/// Adds `count` keys from `first` on, `step` apart, to the bins of a row.
fn progression(row: &mut [u64], bin: u64, (first, step, count): (u64, u64, u64)) {
    let mut done = 0;
    while done < count {
        let key = first + done * step;
        let at = key / bin;
        // Keys up to the end of this bin.
        let here = ((at + 1) * bin - key).div_ceil(step).min(count - done);
        row[at as usize] += here;
        done += here;
    }
}

/// Pairs of rows and real keys, all heads and one batch entry.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairs {
    /// Once for every branch that shows the key.
    pub shown: f64,
    /// Once, however many branches show it.
    pub distinct: f64,
    /// Whether every row was counted; else both are estimates from evenly spread rows.
    pub exact: bool,
}

/// Counts pairs, by every row if that takes some `budget` steps at most, else by a sample of rows of about that cost: one at a seeded
/// place of each of equally long stretches of every head.
pub fn pairs(op: &Operator, seq_len: u64, budget: u64) -> Pairs {
    let heads = u64::from(op.heads);
    if seq_len == 0 {
        return Pairs {
            shown: 0.0,
            distinct: 0.0,
            exact: true,
        };
    }
    // A first sample tells what a row costs, and so how many can be afforded.
    let few = sample(op, seq_len, (1024 / heads).clamp(1, seq_len));
    let row = few.steps.div_ceil(few.rows).max(1);
    let rows = (budget / row / heads).clamp(1, seq_len);
    let s = sample(op, seq_len, rows);
    let scale = seq_len as f64 / rows as f64;
    Pairs {
        shown: s.shown as f64 * scale,
        distinct: s.distinct as f64 * scale,
        exact: rows == seq_len,
    }
}

#[derive(Default)]
struct Sample {
    rows: u64,
    shown: u64,
    distinct: u64,
    steps: u64,
}

/// `rows` rows of every head.
fn sample(op: &Operator, seq_len: u64, rows: u64) -> Sample {
    let mut s = Sample::default();
    let mut lists: Vec<(u64, u64, u64)> = Vec::new();
    for head in 0..op.heads {
        for i in 0..rows {
            let start = (u128::from(i) * u128::from(seq_len) / u128::from(rows)) as u64;
            let end = (u128::from(i + 1) * u128::from(seq_len) / u128::from(rows)) as u64;
            // Not a fixed place, which would meet one phase of a dilation only.
            let row = start + scramble(i ^ u64::from(head) << 48) % (end - start);
            lists.clear();
            for branch in &op.branches {
                if let Some(seen) = seen(op, branch, head, row, seq_len)
                    && seen.count > 0
                {
                    s.shown += seen.count;
                    lists.push((seen.first, seen.step, seen.count));
                }
            }
            s.rows += 1;
            s.steps += op.branches.len() as u64;
            let (distinct, steps) = union(&mut lists);
            s.distinct += distinct;
            s.steps += steps;
        }
    }
    s
}

/// How many numbers the progressions (first, step, count) hold together, and the steps that counting took.
fn union(lists: &mut [(u64, u64, u64)]) -> (u64, u64) {
    // What a denser one holds whole need not be walked; nested branches leave few.
    lists.sort_unstable_by_key(|(_, step, count)| (*step, std::cmp::Reverse(*count)));
    let mut kept: Vec<(u64, u64, u64)> = Vec::new();
    for l in lists.iter() {
        if !kept.iter().any(|k| holds(k, l)) {
            kept.push(*l);
        }
    }
    if let [(_, _, count)] = kept[..] {
        return (count, 1);
    }
    let (mut distinct, mut steps) = (0, 0);
    while let Some(next) = kept.iter().map(|k| k.0).min() {
        distinct += 1;
        steps += kept.len() as u64;
        kept.retain_mut(|(first, step, count)| {
            if *first == next {
                *first += *step;
                *count -= 1;
            }
            *count > 0
        });
    }
    (distinct, steps)
}

/// Whether every number of `b` is one of `a`.
fn holds(a: &(u64, u64, u64), b: &(u64, u64, u64)) -> bool {
    let last = |l: &(u64, u64, u64)| l.0 + (l.2 - 1) * l.1;
    a.0 <= b.0 && last(b) <= last(a) && (b.0 - a.0).is_multiple_of(a.1) && b.1.is_multiple_of(a.1)
}

/// A fixed bijection that looks like chance (splitmix64's).
fn scramble(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use attnc_spec::{Branch, Precision, Profile, Segment};
    use attnc_tensor::DType;
    use std::collections::BTreeMap;

    fn op(branches: &[(u64, u64)], causal: bool, profile: Profile) -> Operator {
        let branch = |&(w, dilation): &(u64, u64)| Branch {
            segment: Segment::Finite(w),
            dilation,
        };
        Operator {
            name: "p".into(),
            heads: 3,
            kv_heads: 3,
            head_dim: 4,
            dtype: DType::F32,
            precision: Precision::Standard,
            causal,
            scale: 1.0,
            profile,
            branches: branches.iter().map(branch).collect(),
        }
    }

    /// (row, key) -> branches, by walking everything.
    fn plainly(op: &Operator, head: u32, n: u64) -> BTreeMap<(u64, u64), u64> {
        let mut all = BTreeMap::new();
        for row in 0..n {
            for b in &op.branches {
                if let Some(s) = seen(op, b, head, row, n) {
                    for k in 0..s.count {
                        *all.entry((row, s.first + k * s.step)).or_default() += 1;
                    }
                }
            }
        }
        all
    }

    const BRANCHES: [(u64, u64); 4] = [(7, 1), (12, 2), (12, 3), (40, 5)];

    #[test]
    fn bins_hold_what_walking_all_pairs_finds() {
        for (causal, profile) in [(true, Profile::PAPER), (false, Profile::TORCHSCALE)] {
            let op = op(&BRANCHES, causal, profile);
            for head in 0..3 {
                for most in [200, 10, 1] {
                    let p = Pattern::count(&op, &[0, 1, 2, 3], head, 97, most).unwrap();
                    let mut want = vec![0; p.bins * p.bins];
                    for ((row, key), c) in plainly(&op, head, 97) {
                        want[(row / p.bin) as usize * p.bins + (key / p.bin) as usize] += c;
                    }
                    assert_eq!(p.counts, want, "head {head}, {most} bins");
                    assert_eq!(p.exact(), most == 200);
                    assert_eq!(p.uncovered, 0);
                    assert_eq!(p.zero_keys > 0, !causal);
                }
            }
        }
    }

    #[test]
    fn means_are_over_the_pairs_that_causality_allows() {
        let p = Pattern::count(&op(&[(64, 1)], true, Profile::PAPER), &[0], 0, 10, 3).unwrap();
        assert_eq!((p.bin, p.bins), (4, 3));
        assert_eq!(
            [p.pairs(0, 0), p.pairs(1, 0), p.pairs(0, 1), p.pairs(2, 2)],
            [10, 16, 0, 3]
        );
        for (i, j, mean) in [(0, 0, 1.0), (2, 2, 1.0), (2, 0, 1.0), (0, 2, 0.0)] {
            assert_eq!(p.mean(i, j), mean, "{i} {j}");
        }
        assert_eq!(p.most(), 1.0);
    }

    #[test]
    fn foreign_heads_and_lengths_are_refused() {
        let op = op(&BRANCHES, true, Profile::PAPER);
        let count = |head, n| {
            Pattern::count(&op, &[0], head, n, 10)
                .unwrap_err()
                .to_string()
        };
        assert!(count(3, 8).contains("heads 0 to 2"));
        assert!(count(0, 0).contains("not 0"));
        assert!(count(0, MAX_SEQ_LEN + 1).contains("1048577"));
        let many = vec![0; 17];
        assert!(Pattern::count(&op, &many, 0, MAX_SEQ_LEN, 10).is_err());
    }

    #[test]
    fn pairs_are_those_of_walking_and_samples_come_close() {
        for (causal, profile) in [(true, Profile::PAPER), (false, Profile::TORCHSCALE)] {
            let op = op(&BRANCHES, causal, profile);
            let all: Vec<_> = (0..3).map(|h| plainly(&op, h, 501)).collect();
            let distinct: usize = all.iter().map(BTreeMap::len).sum();
            let shown: u64 = all.iter().flat_map(BTreeMap::values).sum();
            let exact = pairs(&op, 501, u64::MAX);
            assert_eq!(
                (exact.distinct, exact.shown),
                (distinct as f64, shown as f64)
            );
            assert!(exact.exact && shown > distinct as u64);
            let part = pairs(&op, 501, 8000);
            assert!(!part.exact);
            assert!(
                (part.distinct / distinct as f64 - 1.0).abs() < 0.1,
                "{part:?}"
            );
        }
        assert_eq!(
            pairs(&op(&BRANCHES, true, Profile::PAPER), 0, 9).distinct,
            0.0
        );
    }
}
