// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random operators with every switch, and what of the difficult each holds.
//!
//! In: proptest's randomness. Out: [`Case`]s that shrink, and their [`Features`], of which tests assert that each is common.

use attnc_spec::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
use attnc_tensor::DType;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// An operator with sizes and the seed of its inputs.
#[derive(Clone, Debug)]
pub struct Case {
    /// The operator.
    pub op: Operator,
    /// B.
    pub batch: usize,
    /// N.
    pub seq_len: usize,
    /// Seed of q, k, v.
    pub seed: u64,
}

/// What makes a case difficult.
#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// A last segment is short.
    pub ragged: bool,
    /// Rows return to other positions.
    pub displaced: bool,
    /// Some row no branch covers.
    pub uncovered: bool,
    /// Heads share keys.
    pub gqa: bool,
    /// A dilation beyond its segment.
    pub sparse: bool,
    /// N beyond every tile.
    pub long: bool,
    /// D is odd.
    pub odd: bool,
}

impl Features {
    /// Names and values, for counting.
    pub fn list(&self) -> [(&'static str, bool); 7] {
        [
            ("ragged", self.ragged),
            ("displaced", self.displaced),
            ("uncovered", self.uncovered),
            ("gqa", self.gqa),
            ("r > w", self.sparse),
            ("N > 1000", self.long),
            ("odd D", self.odd),
        ]
    }
}

impl Case {
    /// What makes it difficult.
    pub fn features(&self) -> Features {
        let n = self.seq_len as u64;
        let branches = &self.op.branches;
        let clipped = |b: &Branch| b.segment.clipped(n);
        let covers = |h: u32, p: u64, b: &Branch| {
            p % clipped(b) % b.dilation == self.op.offset(h, b.dilation)
        };
        let bare = |h: u32| (0..n).any(|p| !branches.iter().any(|b| covers(h, p, b)));
        Features {
            ragged: branches.iter().any(|b| !n.is_multiple_of(clipped(b))),
            displaced: self.op.profile.rows == Rows::Displaced
                && branches
                    .iter()
                    .any(|b| !clipped(b).is_multiple_of(b.dilation) && clipped(b) < n),
            uncovered: (0..self.op.heads).any(bare),
            gqa: self.op.kv_heads < self.op.heads,
            sparse: branches.iter().any(|b| b.dilation > clipped(b)),
            long: n > 1000,
            odd: !self.op.head_dim.is_multiple_of(2),
        }
    }
}

fn branch() -> impl Strategy<Value = Branch> {
    let segment = prop_oneof![
        4 => (1u64..40).prop_map(Segment::Finite),
        2 => (1u64..400).prop_map(Segment::Finite),
        1 => Just(Segment::Whole),
    ];
    (segment, prop_oneof![4 => 1u64..5, 1 => 5u64..70])
        .prop_map(|(segment, dilation)| Branch { segment, dilation })
}

fn profile() -> impl Strategy<Value = Profile> {
    (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(a, b, c, d)| Profile {
        offsets: if a { Offsets::Modulo } else { Offsets::Blocked },
        ragged: if b { Ragged::Masked } else { Ragged::ZeroKeys },
        rows: if c { Rows::Aligned } else { Rows::Displaced },
        gradient: Gradient::Exact,
        zero_lse: if d {
            ZeroLse::Covered
        } else {
            ZeroLse::Uncovered
        },
    })
}

/// Cases of at most `long` positions, now and then.
pub fn case(long: usize) -> impl Strategy<Value = Case> {
    let heads = prop_oneof![
        Just((1, 1)),
        Just((2, 1)),
        Just((4, 2)),
        Just((3, 3)),
        Just((6, 2))
    ];
    let dim = prop_oneof![Just(1u32), Just(3), Just(8), Just(7), Just(16)];
    let size = prop_oneof![5 => 1..120.min(long), 1 => long - long / 6..long];
    let dtype = prop_oneof![4 => Just(DType::F32), 1 => Just(DType::Bf16), 1 => Just(DType::F16)];
    let branches = proptest::collection::vec(branch(), 1..5);
    // What asks for less accuracy is drawn with the seed, so that all else stays as it is.
    let rest = (any::<bool>(), 0u64..1000, dtype);
    (branches, profile(), heads, dim, size, rest).prop_map(
        |(mut branches, profile, (heads, kv_heads), head_dim, seq_len, (causal, seed, dtype))| {
            if seed % 5 == 0 {
                branches.push(branches[0]);
            }
            let op = Operator {
                name: "random".into(),
                heads,
                kv_heads,
                head_dim,
                dtype,
                precision: match (dtype, seed % 2) {
                    (DType::Bf16 | DType::F16, 1) => Precision::Fast,
                    _ => Precision::Standard,
                },
                causal,
                scale: 1.0 / f64::from(head_dim).sqrt(),
                profile,
                branches,
            };
            Case {
                op,
                batch: if seq_len < 100 { 2 } else { 1 },
                seq_len,
                seed,
            }
        },
    )
}

/// Runs `test` on `n` cases, the same in every run; `PROPTEST_CASES` asks for more. Panics with the smallest case that fails.
pub fn cases(n: u32, long: usize, test: impl Fn(&Case) -> Result<(), String>) {
    let more = std::env::var("PROPTEST_CASES").ok();
    let config = Config {
        cases: more.and_then(|c| c.parse().ok()).unwrap_or(n),
        failure_persistence: None,
        max_shrink_iters: 20,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(config, rng)
        .run(&case(long), |c| test(&c).map_err(TestCaseError::fail))
        .unwrap_or_else(|e| panic!("{e}"));
}
