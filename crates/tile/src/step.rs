// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tile functions of attention. `step` is the only statement of the online softmax in the compiler.
//!
//! In: the extents of the tiles and the [`Softmax`] constants. Out: [`TileFn`]s, which the interpreter runs, Cranelift lowers
//! operation by operation, and a target may claim whole.
//!
//! A state is (m, l, o): the reference exponent, the sum of `exp(s - m)`, and the sum of `exp(s - m) v` (Milakov and Gimelshein,
//! "Online normalizer calculation for softmax"; Rabe and Staats, "Self-attention does not need O(n^2) memory"). States that differ
//! only in m are equal; m is always finite unless the row is NaN, so an empty state has m = -MAX.

mod sums;

use crate::core::{
    Accuracy, Axis, Core, Elem, Expr, Guard, Layout, OpKind, Red, Scalar, Tile, TileFn, TileOp,
    TileTy,
};
pub use sums::{join, mix, normalize, open, settle};

/// Which exponential the scores go through, with the scale that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Softmax {
    /// `exp2` (the scale has log2 e folded in) or `exp`.
    pub base2: bool,
    /// Factor of q.k.
    pub scale: f32,
    /// How near weights are to the exponentials of their scores. Corrections, of which a state meets many, are always full.
    pub weights: Accuracy,
}

/// Extents of the tiles of one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extents {
    /// Queries in a tile, a multiple of [`crate::core::QUERY_STEP`].
    pub mq: u32,
    /// Keys in a step, a multiple of [`crate::core::KEY_STEP`].
    pub nk: u32,
    /// Head dimension.
    pub head_dim: u32,
    /// What keys and values stand in.
    pub panels: Panels,
}

/// How keys and values stand in memory, and with it how precise the weights are that values are summed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panels {
    /// Both in f32, a row a key, and weights in f32.
    Float,
    /// Both in the operator's dtype, so that two neighbouring elements of a contracted axis are one operand of an instruction for pairs:
    /// keys in rows padded to multiples of [`PAIRS`], values transposed, as many keys as a step has from one element of a head to the
    /// next. Weights are rounded to the operator's dtype before they are summed and before they meet values, so that what multiplies
    /// values and what divides the sum are the same numbers.
    Half,
}

impl Panels {
    /// What the functions of a program take.
    pub fn of(core: &Core) -> Panels {
        let mut tiles = core.fns.iter().flat_map(|f| &f.tiles);
        if tiles.any(|(_, ty)| ty.elem == Elem::Data) {
            Panels::Half
        } else {
            Panels::Float
        }
    }
}

/// Elements of a half row that matrix instructions take at a time.
pub const PAIRS: u32 = 32;
/// Queries that assembled kernels over half panels take at a time.
pub const PAIR_LANES: u32 = 16;
/// Scores of a step from which on its temporaries have room for what assembled kernels over half panels keep there.
const PAIR_ROOM: u32 = 4096;

impl Extents {
    /// Whether assembled kernels over half panels take such a step; what counts products asks the same.
    pub fn suits_pairs(self) -> bool {
        self.mq.is_multiple_of(PAIR_LANES)
            && self.nk.is_multiple_of(PAIRS)
            && self.mq * self.nk >= PAIR_ROOM
    }

    fn panel(self, layout: Layout) -> TileTy {
        match self.panels {
            Panels::Float => KEYS,
            Panels::Half => TileTy {
                elem: Elem::Data,
                layout,
                ..KEYS
            },
        }
    }

    /// The layout of packed keys.
    pub fn keys(self) -> Layout {
        match self.panels {
            Panels::Float => Layout::Row,
            Panels::Half => Layout::Padded {
                pitch: self.head_dim.next_multiple_of(PAIRS),
            },
        }
    }

    /// The layout of packed values.
    pub fn values(self) -> Layout {
        match self.panels {
            Panels::Float => Layout::Row,
            Panels::Half => Layout::Transposed { stride: self.nk },
        }
    }
}

/// The lowest finite f32: the reference exponent of an empty state.
pub const EMPTY: f32 = f32::MIN;

const ROW: TileTy = TileTy {
    elem: Elem::F32,
    rows: Axis::One,
    cols: Axis::Query,
    layout: Layout::Row,
};
const HEAD: TileTy = TileTy {
    elem: Elem::F32,
    rows: Axis::Dim,
    cols: Axis::Query,
    layout: Layout::Row,
};
const KEYS: TileTy = TileTy {
    elem: Elem::F32,
    rows: Axis::Key { order: 0 },
    cols: Axis::Dim,
    layout: Layout::Row,
};
const SCORES: TileTy = TileTy {
    elem: Elem::F32,
    rows: Axis::Key { order: 0 },
    cols: Axis::Query,
    layout: Layout::Row,
};
const QPOS: TileTy = TileTy {
    elem: Elem::I64,
    rows: Axis::One,
    cols: Axis::Query,
    layout: Layout::Row,
};
const KPOS: TileTy = TileTy {
    elem: Elem::I64,
    rows: Axis::Key { order: 0 },
    cols: Axis::One,
    layout: Layout::Row,
};

/// Collects a tile function. Tiles are numbered parameters first, so all parameters come before the first temporary.
struct Build {
    f: TileFn,
    guard: Option<Guard>,
}

impl Build {
    fn new(name: &str, e: Extents, keys: bool) -> Build {
        let mut scalars = vec!["live_q".to_string()];
        if keys {
            scalars.push("live_k".to_string());
        }
        let nk = if keys { e.nk } else { 0 };
        let f = TileFn {
            name: name.to_string(),
            mq: e.mq,
            nk,
            head_dim: e.head_dim,
            tiles: Vec::new(),
            scalars,
            temps: Vec::new(),
            body: Vec::new(),
        };
        Build { f, guard: None }
    }
    fn tile(&mut self, name: &str, ty: TileTy) -> Tile {
        self.f.tiles.push((name.to_string(), ty));
        Tile(self.f.tiles.len() as u32 - 1)
    }
    fn state(&mut self, prefix: &str) -> (Tile, Tile, Tile) {
        let name = |s: &str| format!("{prefix}{s}");
        (
            self.tile(&name("m"), ROW),
            self.tile(&name("l"), ROW),
            self.tile(&name("o"), HEAD),
        )
    }
    fn temp(&mut self, name: &str, ty: TileTy) -> Tile {
        self.f.temps.push((name.to_string(), ty));
        Tile((self.f.tiles.len() + self.f.temps.len()) as u32 - 1)
    }
    fn scalar(&mut self, name: &str) -> Scalar {
        self.f.scalars.push(name.to_string());
        Scalar(self.f.scalars.len() as u32 - 1)
    }
    fn op(&mut self, kind: OpKind) {
        self.f.body.push(TileOp {
            guard: self.guard,
            kind,
        });
    }
    fn when(&mut self, scalar: Scalar, when: bool, kind: OpKind) {
        self.f.body.push(TileOp {
            guard: Some(Guard { scalar, when }),
            kind,
        });
    }
    fn map(&mut self, dst: Tile, expr: Expr) {
        self.op(OpKind::Map { dst, expr });
    }
}

/// What the scores of a block are made of.
struct Keys {
    m: Tile,
    q: Tile,
    k: Tile,
    weight: Tile,
    positions: Option<(Tile, Tile)>,
    mixed: Scalar,
    careful: Scalar,
}

/// The scores of a block and the reference exponent that they raise.
struct Peak {
    s: Tile,
    /// What each query sees; written only when careful.
    vis: Tile,
    r: Tile,
    /// max(m, largest weighted score).
    m2: Tile,
}

impl Build {
    /// `s = q.k`, hidden ones -inf; `m2 = max(m, max over keys of s * scale + log(count))`.
    fn scores(&mut self, softmax: Softmax, x: Keys) -> Peak {
        let s = self.temp("s", SCORES);
        let vis = self.temp("vis", SCORES);
        let (r, m2) = (self.temp("r", ROW), self.temp("m2", ROW));
        let mask = |causal, only| OpKind::Mask {
            dst: s,
            causal,
            only,
        };
        self.op(OpKind::DotKeys {
            dst: s,
            a: x.k,
            b: x.q,
        });
        self.when(
            x.careful,
            true,
            OpKind::Visible {
                dst: vis,
                weight: x.weight,
                causal: x.positions,
            },
        );
        self.when(x.careful, true, mask(None, Some(vis)));
        self.when(x.mixed, true, mask(x.positions, None));
        self.when(x.mixed, false, mask(None, None));
        self.op(OpKind::Reduce {
            dst: r,
            op: Red::Max,
            src: s,
        });
        for careful in [false, true] {
            let expr = max(softmax.scaled(careful, r, x.weight), t(x.m));
            self.when(x.careful, careful, OpKind::Map { dst: m2, expr });
        }
        Peak { s, vis, r, m2 }
    }
}

fn t(x: Tile) -> Expr {
    Expr::Tile(x)
}
fn c(x: f32) -> Expr {
    Expr::Const(x)
}
fn sub(a: Expr, b: Expr) -> Expr {
    Expr::Sub(Box::new(a), Box::new(b))
}
fn add(a: Expr, b: Expr) -> Expr {
    Expr::Add(Box::new(a), Box::new(b))
}
fn mul(a: Expr, b: Expr) -> Expr {
    Expr::Mul(Box::new(a), Box::new(b))
}
fn div(a: Expr, b: Expr) -> Expr {
    Expr::Div(Box::new(a), Box::new(b))
}
fn fma(a: Expr, b: Expr, c: Expr) -> Expr {
    Expr::Fma(Box::new(a), Box::new(b), Box::new(c))
}
/// max(a, b), or b when a is NaN.
fn max(a: Expr, b: Expr) -> Expr {
    Expr::Max(Box::new(a), Box::new(b))
}
fn if_eq(a: Expr, b: Expr, then: Expr, els: Expr) -> Expr {
    Expr::IfEq(Box::new(a), Box::new(b), Box::new(then), Box::new(els))
}

impl Softmax {
    fn exp(self, x: Expr) -> Expr {
        self.exp_to(x, Accuracy::Full)
    }
    fn exp_to(self, x: Expr, accuracy: Accuracy) -> Expr {
        if self.base2 {
            Expr::Exp2(Box::new(x), accuracy)
        } else {
            Expr::Exp(Box::new(x), accuracy)
        }
    }
    fn log(self, x: Expr) -> Expr {
        if self.base2 {
            Expr::Log2(Box::new(x))
        } else {
            Expr::Ln(Box::new(x))
        }
    }
    /// `x * scale + y`. Careful: the product is rounded before the sum, so that scores beyond 2^24, whose reference exponent was rounded
    /// too, cancel with it instead of leaving its rounding error as an exponent.
    fn scaled(self, careful: bool, x: Tile, y: Tile) -> Expr {
        if careful {
            add(mul(t(x), c(self.scale)), t(y))
        } else {
            fma(t(x), c(self.scale), t(y))
        }
    }
    /// What turns an exponent of this base into a natural one.
    fn to_natural(self) -> f32 {
        if self.base2 {
            std::f32::consts::LN_2
        } else {
            1.0
        }
    }
}

/// `step(m, l, o, q, k, v, t, kpos, qpos; live_q, live_k, mixed, careful)`: go on with the online softmax over one block of keys.
///
/// t is the row vector log(count) of the run (-inf: this query sees none of its keys). `mixed`: the block holds keys behind some
/// query of the tile (causal). `careful`: a gathered element was not finite, or so large that a score may exceed 2^24; then what a
/// query does not see is left out by selection instead of by weight 0, and scores are rounded before they meet the exponent.
///
/// Under [`Panels::Half`] k and v are panels in the operator's dtype, and the weights `exp(s - m)` are rounded to it.
pub fn step(e: Extents, softmax: Softmax, causal: bool) -> TileFn {
    let mut b = Build::new("step", e, true);
    let (m, l, o) = b.state("");
    let q = b.tile("q", HEAD);
    let k = b.tile("k", e.panel(e.keys()));
    let v = b.tile("v", e.panel(e.values()));
    let weight = b.tile("t", ROW);
    let kpos = b.tile("kpos", KPOS);
    let qpos = b.tile("qpos", QPOS);
    let mixed = b.scalar("mixed");
    let careful = b.scalar("careful");
    let Peak { s, vis, r, m2 } = b.scores(
        softmax,
        Keys {
            m,
            q,
            k,
            weight,
            positions: causal.then_some((kpos, qpos)),
            mixed,
            careful,
        },
    );
    let (a, d) = (b.temp("a", ROW), b.temp("d", ROW));
    let pv = b.temp("pv", HEAD);
    b.map(a, softmax.exp(sub(t(m), t(m2))));
    b.map(d, sub(t(weight), t(m2)));
    for when in [false, true] {
        let expr = softmax.exp_to(softmax.scaled(when, s, d), softmax.weights);
        let expr = match e.panels {
            Panels::Float => expr,
            Panels::Half => Expr::Data(Box::new(expr)),
        };
        b.when(careful, when, OpKind::Map { dst: s, expr });
        let (op, src) = (Red::Sum, s);
        b.when(careful, when, OpKind::Reduce { dst: r, op, src });
    }
    b.map(l, fma(t(l), t(a), t(r)));
    b.when(
        careful,
        false,
        OpKind::DotValues {
            dst: pv,
            a: v,
            b: s,
            only: None,
        },
    );
    b.when(
        careful,
        true,
        OpKind::DotValues {
            dst: pv,
            a: v,
            b: s,
            only: Some(vis),
        },
    );
    b.map(o, fma(t(o), t(a), t(pv)));
    b.map(m, t(m2));
    b.f
}

/// What a [`step`] was made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// Extents of its tiles.
    pub extents: Extents,
    /// Its exponential and scale.
    pub softmax: Softmax,
    /// Whether it can hide keys behind a query.
    pub causal: bool,
}

/// The parameters of a function that equals the [`step`] made from them; `None` for every other. What claims `step` asks this.
pub fn recognise(f: &TileFn) -> Option<Parameters> {
    let half = f.tiles.iter().any(|(_, ty)| ty.elem == Elem::Data);
    let extents = Extents {
        mq: f.mq,
        nk: f.nk,
        head_dim: f.head_dim,
        panels: if half { Panels::Half } else { Panels::Float },
    };
    let causal = f.body.iter().any(|op| {
        matches!(
            op.kind,
            OpKind::Mask {
                causal: Some(_),
                ..
            }
        )
    });
    let scale = f.body.iter().find_map(|op| match &op.kind {
        OpKind::Map { expr, .. } => first_factor(expr),
        _ => None,
    })?;
    let mut all = Accuracy::ALL
        .into_iter()
        .flat_map(|weights| [true, false].map(|base2| (base2, weights)));
    all.find_map(|(base2, weights)| {
        let p = Parameters {
            extents,
            softmax: Softmax {
                base2,
                scale,
                weights,
            },
            causal,
        };
        (*f == step(p.extents, p.softmax, p.causal)).then_some(p)
    })
}

/// The constant factor of the first fused multiply-add of an expression.
fn first_factor(e: &Expr) -> Option<f32> {
    match e {
        Expr::Fma(_, b, _) => match **b {
            Expr::Const(c) => Some(c),
            _ => None,
        },
        Expr::Max(a, b) => first_factor(a).or_else(|| first_factor(b)),
        _ => None,
    }
}

/// `peak(m, q, k, t, kpos, qpos; live_q, live_k, mixed, careful)`: raise the reference exponent to the largest weighted score of the
/// block, and nothing else. The first of the two sweeps of a softmax that rewriting left unfused: its maximum is known before any
/// exponential is taken, and the second sweep's `step`s never raise it again. Parameters as for [`step`].
pub fn peak(e: Extents, softmax: Softmax, causal: bool) -> TileFn {
    let mut b = Build::new("peak", e, true);
    let m = b.tile("m", ROW);
    let q = b.tile("q", HEAD);
    let k = b.tile("k", e.panel(e.keys()));
    let weight = b.tile("t", ROW);
    let kpos = b.tile("kpos", KPOS);
    let qpos = b.tile("qpos", QPOS);
    let mixed = b.scalar("mixed");
    let careful = b.scalar("careful");
    let x = b.scores(
        softmax,
        Keys {
            m,
            q,
            k,
            weight,
            positions: causal.then_some((kpos, qpos)),
            mixed,
            careful,
        },
    );
    b.map(m, t(x.m2));
    b.f
}

/// `init(m, l, o; live_q)`: the empty state.
pub fn init(e: Extents) -> TileFn {
    let mut b = Build::new("init", e, false);
    let (m, l, o) = b.state("");
    b.map(m, c(EMPTY));
    b.map(l, c(0.0));
    b.map(o, c(0.0));
    b.f
}

/// `zeros(m, l, o, z; live_q)`: take in exp(z) keys of score 0 whose values are 0 (ragged = zero_keys); z = -inf: none.
pub fn zeros(e: Extents, softmax: Softmax) -> TileFn {
    let mut b = Build::new("zeros", e, false);
    let (m, l, o) = b.state("");
    let z = b.tile("z", ROW);
    let (m2, a) = (b.temp("m2", ROW), b.temp("a", ROW));
    b.map(
        m2,
        max(if_eq(t(z), c(f32::NEG_INFINITY), c(EMPTY), c(0.0)), t(m)),
    );
    b.map(a, softmax.exp(sub(t(m), t(m2))));
    b.map(l, fma(t(l), t(a), softmax.exp(sub(t(z), t(m2)))));
    b.map(o, mul(t(o), t(a)));
    b.map(m, t(m2));
    b.f
}

/// `finish(m, l, o, lse; live_q)`: o / l in place, and the natural log-sum-exp. A row whose scores were all -inf has l = 0: NaN in both.
pub fn finish(e: Extents, softmax: Softmax) -> TileFn {
    let mut b = Build::new("finish", e, false);
    let (m, l, o) = b.state("");
    let lse = b.tile("lse", ROW);
    b.map(o, div(t(o), t(l)));
    b.map(lse, natural_lse(softmax, m, l));
    b.f
}

/// `finish_mix(m, l, o, fb, seen, lse; live_q)`: `finish`, and the fallback of rows that only hidden branches cover: every branch
/// weighs 1/branches, lse = -inf.
pub fn finish_mix(e: Extents, softmax: Softmax, branches: u32) -> TileFn {
    let mut b = Build::new("finish_mix", e, false);
    let (m, l, o) = b.state("");
    let fb = b.tile("fb", HEAD);
    let seen = b.tile("seen", ROW);
    let lse = b.tile("lse", ROW);
    let fallback = div(t(fb), c(branches as f32));
    b.map(o, if_eq(t(seen), c(0.0), fallback, div(t(o), t(l))));
    b.map(
        lse,
        if_eq(
            t(seen),
            c(0.0),
            c(f32::NEG_INFINITY),
            natural_lse(softmax, m, l),
        ),
    );
    b.f
}

/// (m + log l) in natural units; l / l turns the empty sum into NaN and leaves every other row as it is.
fn natural_lse(softmax: Softmax, m: Tile, l: Tile) -> Expr {
    mul(
        mul(add(t(m), softmax.log(t(l))), c(softmax.to_natural())),
        div(t(l), t(l)),
    )
}
