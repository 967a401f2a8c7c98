// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Random small operators with inputs, and a count of what they cover.
//!
//! In: a seed. Out: operators of up to four branches, eight heads, forty tokens, with every switch, GQA, `whole`, and inputs that at times hold zero rows
//! or large scores.

use attnc_spec::{
    Branch, Gradient, Offsets, Operator, Precision, Profile, Ragged, Rows, Segment, ZeroLse,
};
use attnc_tensor::{DType, fill_normal};

/// A small deterministic generator (splitmix64, Steele et al. 2014).
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// In 0..n.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    fn flip(&mut self) -> bool {
        self.below(2) == 1
    }
    pub(crate) fn normal(&mut self) -> f64 {
        let mut x = [0f64];
        fill_normal(&mut x, self.next(), 0, 0);
        x[0]
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) op: Operator,
    pub(crate) b: usize,
    pub(crate) n: usize,
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f64>,
    pub(crate) zero_rows: bool,
}

impl Case {
    /// New inputs; `zero_rows` sets some queries and keys to zero.
    pub(crate) fn refill(&mut self, rng: &mut Rng, zero_rows: bool) {
        let d = self.op.head_dim as usize;
        let size = self.b * self.n * d;
        let seed = rng.next();
        let large = if rng.below(10) == 0 { 8.0 } else { 1.0 };
        let make = |stream, heads: u32| {
            let mut x = vec![0f64; size * heads as usize];
            fill_normal(&mut x, seed, stream, 0);
            x
        };
        self.q = make(0, self.op.heads);
        self.q.iter_mut().for_each(|x| *x *= large);
        self.k = make(1, self.op.kv_heads);
        self.v = make(2, self.op.kv_heads);
        self.zero_rows = zero_rows;
        if zero_rows {
            for t in [&mut self.q, &mut self.k] {
                t.chunks_mut(d)
                    .filter(|_| rng.below(3) == 0)
                    .for_each(|row| row.fill(0.0));
            }
        }
    }
}

pub(crate) fn case(rng: &mut Rng) -> Case {
    let heads = 1 + rng.below(8) as u32;
    let divisors: Vec<u32> = (1..=heads).filter(|d| heads.is_multiple_of(*d)).collect();
    let kv_heads = divisors[rng.below(divisors.len() as u64) as usize];
    let n = 1 + rng.below(40) as usize;
    let profile = Profile {
        offsets: [Offsets::Modulo, Offsets::Blocked][rng.below(2) as usize],
        ragged: [Ragged::Masked, Ragged::ZeroKeys][rng.below(2) as usize],
        rows: [Rows::Aligned, Rows::Displaced][rng.below(2) as usize],
        gradient: [Gradient::Exact, Gradient::Detached][rng.below(2) as usize],
        zero_lse: [ZeroLse::Covered, ZeroLse::Uncovered][rng.below(2) as usize],
    };
    let mut branches: Vec<Branch> = (0..1 + rng.below(4))
        .map(|_| Branch {
            segment: match rng.below(6) {
                0 => Segment::Whole,
                _ => Segment::Finite(1 + rng.below(24)),
            },
            dilation: 1 + rng.below(7),
        })
        .collect();
    if rng.below(5) == 0 {
        branches.push(branches[0]);
    }
    let head_dim = 1 + rng.below(9) as u32;
    let op = Operator {
        name: "random".into(),
        heads,
        kv_heads,
        head_dim,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: rng.flip(),
        scale: if rng.flip() {
            1.0 / f64::from(head_dim).sqrt()
        } else {
            0.3
        },
        profile,
        branches,
    };
    let mut c = Case {
        op,
        b: 1 + rng.below(2) as usize,
        n,
        q: Vec::new(),
        k: Vec::new(),
        v: Vec::new(),
        zero_rows: false,
    };
    let zero_rows = rng.below(3) == 0;
    c.refill(rng, zero_rows);
    c
}

/// How often each kind of case came up.
#[derive(Debug, Default)]
pub(crate) struct Met {
    gqa: usize,
    whole: usize,
    zero_keys: usize,
    displaced: usize,
    uncovered: usize,
    blocked: usize,
    causal: usize,
    ragged: usize,
    wide_dilation: usize,
    torchscale: usize,
    zero_rows: usize,
}

impl Met {
    pub(crate) fn count(&mut self, c: &Case) {
        let (op, p) = (&c.op, c.op.profile);
        let clipped = |b: &Branch| b.segment.clipped(c.n as u64);
        let any = |f: &dyn Fn(&Branch) -> bool| usize::from(op.branches.iter().any(f));
        self.gqa += usize::from(op.kv_heads < op.heads);
        self.whole += any(&|b| b.segment == Segment::Whole);
        self.zero_keys += usize::from(p.ragged == Ragged::ZeroKeys);
        self.displaced += usize::from(p.rows == Rows::Displaced)
            * any(&|b| clipped(b) < c.n as u64 && !clipped(b).is_multiple_of(b.dilation));
        self.uncovered += usize::from(p.zero_lse == ZeroLse::Uncovered);
        self.blocked += usize::from(p.offsets == Offsets::Blocked);
        self.causal += usize::from(op.causal);
        self.ragged += any(&|b| !(c.n as u64).is_multiple_of(clipped(b)));
        self.wide_dilation += any(&|b| b.dilation > clipped(b));
        let (mut t, gradient) = (Profile::TORCHSCALE, p.gradient);
        t.gradient = gradient;
        self.torchscale += usize::from(p == t);
        self.zero_rows += usize::from(c.zero_rows);
    }

    /// Every kind makes up a tenth of `total`; the full profile, one combination of sixteen, a thirtieth.
    pub(crate) fn assert_rich(&self, total: usize) {
        let kinds = [
            self.gqa,
            self.whole,
            self.zero_keys,
            self.displaced,
            self.uncovered,
            self.blocked,
            self.causal,
            self.ragged,
            self.wide_dilation,
            self.zero_rows,
        ];
        assert!(kinds.iter().all(|&k| k * 10 >= total), "{self:?}");
        assert!(self.torchscale * 30 >= total, "{self:?}");
    }
}
