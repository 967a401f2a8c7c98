// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The two dots of `step`: where nearly all the time goes. Each kind of dot is one internal function.
//!
//! In: the kind, and a builder at its entry. Out: its body. A register tile of 5 rows by 2 vectors is the largest that Cranelift keeps in
//! sixteen registers with fused multiply-adds that overwrite a factor. The register allocator's fortune decides over a quarter of the
//! speed, so this code stands in functions of its own, where nothing around it can change the outcome (`tests/spills.rs` watches it).

use attnc_tensor::DType;
use attnc_tile::core::{Core, Elem, Layout, OpKind, Tile, TileFn};
use cranelift_codegen::ir::{InstBuilder, Value, types};

use crate::convert::{Lanes, widen};
use crate::fx::{F4, Fx};

/// Rows of the largest register tile.
pub(crate) const MR: u32 = 5;
/// Rounds of the inner loop that are unrolled.
const UNROLL: i64 = 4;

/// A kind of dot: everything about it that is known at compile time. The parameters are (a, b, dst, end, count): rows of factors that
/// are broadcast, vectors of lanes, the products' rows; `end` the lanes in bytes, a multiple of 32; `count` the elements contracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dot {
    /// `dst[0..rows, lanes]` = `rows` rows of keys times `b[dim, lanes]`; contracts the `dim` elements of a head.
    Keys {
        rows: u32,
        dim: u32,
        mq: u32,
        panel: Panel,
    },
    /// `dst[0..rows, lanes]` = `rows` columns of values times `b[count, lanes]`; contracts `count` keys.
    Values {
        rows: u32,
        dim: u32,
        mq: u32,
        panel: Panel,
    },
}

/// How the factors that are broadcast stand in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panel {
    pub(crate) dtype: DType,
    /// Bytes from one key to the next, and from one element of a head to the next.
    pub(crate) key: i64,
    pub(crate) d: i64,
}

impl Panel {
    /// The panel that tile `a` of a function of `core` is.
    pub(crate) fn of(core: &Core, f: &TileFn, a: Tile) -> Panel {
        let ty = f.tiles.get(a.0 as usize).map(|(_, ty)| *ty);
        let (dtype, layout) = match ty {
            Some(ty) if ty.elem == Elem::Data => (core.dtype, ty.layout),
            Some(_) | None => (DType::F32, Layout::Row),
        };
        let at = |key, d| layout.at(key, d, u64::from(f.head_dim)) as i64 * dtype.bytes() as i64;
        Panel {
            dtype,
            key: at(1, 0),
            d: at(0, 1),
        }
    }

    /// The element at `p + off` in four lanes.
    pub(crate) fn splat(self, fx: &mut Fx<'_>, p: Value, off: i64) -> Value {
        let x = if self.dtype == DType::F32 {
            fx.load(types::F32, p, off as i32)
        } else {
            let x = widen(fx, self.dtype, Lanes::One, p, off);
            fx.bits(x, types::F32)
        };
        fx.b.ins().splat(F4, x)
    }

    /// Behind the name of a function, where the panel is not of floats in rows.
    fn name(self) -> String {
        match self.dtype {
            DType::F32 => String::new(),
            dtype => format!("_{dtype}_{}_{}", self.key, self.d),
        }
    }
}

impl Dot {
    /// Number of 64-bit parameters.
    pub(crate) const PARAMS: usize = 5;

    /// Name of its function.
    pub(crate) fn name(self) -> String {
        match self {
            Dot::Keys {
                rows,
                dim,
                mq,
                panel,
            } => format!("dot_keys_{rows}_{dim}_{mq}{}", panel.name()),
            Dot::Values {
                rows,
                dim,
                mq,
                panel,
            } => format!("dot_values_{rows}_{dim}_{mq}{}", panel.name()),
        }
    }

    /// The dots that values `a` take in a function of `core`: full register tiles, and one for the rest.
    pub(crate) fn of_values(core: &Core, f: &TileFn, a: Tile) -> impl Iterator<Item = Dot> + use<> {
        let (dim, mq, panel) = (f.head_dim, f.mq, Panel::of(core, f, a));
        let full = (dim >= MR).then_some(MR);
        let rest = (!dim.is_multiple_of(MR)).then_some(dim % MR);
        full.into_iter().chain(rest).map(move |rows| Dot::Values {
            rows,
            dim,
            mq,
            panel,
        })
    }

    /// The dot of keys `a` in a function of `core`: the largest register tile that divides what keys are padded to.
    pub(crate) fn of_keys(core: &Core, f: &TileFn, a: Tile) -> Dot {
        let rows = (1..=MR).rev().find(|r| core.key_step.is_multiple_of(*r));
        Dot::Keys {
            rows: rows.unwrap_or(1),
            dim: f.head_dim,
            mq: f.mq,
            panel: Panel::of(core, f, a),
        }
    }
}

/// The dots that the functions of `core` use, each once, in order of first use.
pub(crate) fn dots(core: &Core) -> Vec<Dot> {
    let mut out: Vec<Dot> = Vec::new();
    for f in &core.fns {
        for op in &f.body {
            let here: Vec<Dot> = match op.kind {
                OpKind::DotKeys { a, .. } => vec![Dot::of_keys(core, f, a)],
                OpKind::DotValues { a, only: None, .. } => Dot::of_values(core, f, a).collect(),
                OpKind::DotValues { only: Some(_), .. }
                | OpKind::Map { .. }
                | OpKind::Reduce { .. }
                | OpKind::Visible { .. }
                | OpKind::Mask { .. } => Vec::new(),
            };
            for dot in here {
                if !out.contains(&dot) {
                    out.push(dot);
                }
            }
        }
    }
    out
}

/// Strides of a register tile, in bytes, and its rows.
struct Micro {
    rows: i64,
    /// From one row of `a` to the next, and from one contracted element to the next.
    a: (i64, i64),
    /// From one row of `b` and of `dst` to the next.
    pitch: i64,
    panel: Panel,
}

/// Fills the function at the builder's entry.
pub(crate) fn lower(fx: &mut Fx<'_>, dot: Dot, args: &[Value]) {
    let [a, b, dst, end, count] = [args[0], args[1], args[2], args[3], args[4]];
    let (m, fixed) = match dot {
        Dot::Keys {
            rows,
            dim,
            mq,
            panel,
        } => (
            Micro {
                rows: i64::from(rows),
                a: (panel.key, panel.d),
                pitch: i64::from(mq) * 4,
                panel,
            },
            Some(i64::from(dim)),
        ),
        Dot::Values {
            rows, mq, panel, ..
        } => (
            Micro {
                rows: i64::from(rows),
                a: (panel.d, panel.key),
                pitch: i64::from(mq) * 4,
                panel,
            },
            None,
        ),
    };
    let zero = fx.int(0);
    fx.each(zero, end, 32, |fx, j| {
        let (from, to) = (fx.add(b, j), fx.add(dst, j));
        let acc = match fixed {
            Some(n) => m.fixed(fx, a, from, n),
            None => m.live(fx, a, from, count),
        };
        for (i, pair) in acc.chunks(2).enumerate() {
            let off = i as i64 * m.pitch;
            fx.store(pair[0], to, off as i32);
            fx.store(pair[1], to, off as i32 + 16);
        }
    });
}

impl Micro {
    /// One contracted element: `rows` broadcasts times two vectors. Every other round takes the rows backwards: of the orders
    /// tried, the only one in which the register allocator spills nothing.
    fn round(&self, fx: &mut Fx<'_>, a: Value, b: Value, u: i64, acc: &[Value]) -> Vec<Value> {
        let b0 = fx.load(F4, b, (u * self.pitch) as i32);
        let b1 = fx.load(F4, b, (u * self.pitch + 16) as i32);
        let mut out = acc.to_vec();
        for i in 0..self.rows {
            let i = if u % 2 == 0 { i } else { self.rows - 1 - i };
            let x = self.panel.splat(fx, a, i * self.a.0 + u * self.a.1);
            let at = i as usize * 2;
            out[at] = fx.mul_add(x, b0, acc[at]);
            out[at + 1] = fx.mul_add(x, b1, acc[at + 1]);
        }
        out
    }

    /// `n` rounds at a time over lo..hi; the state is (a, b, accumulators).
    fn walk(&self, fx: &mut Fx<'_>, lo: Value, hi: Value, n: i64, state: Vec<Value>) -> Vec<Value> {
        let step = fx.int(n);
        fx.carry([lo, hi, step], &state, |fx, _, s| {
            let mut acc = s[2..].to_vec();
            for u in 0..n {
                acc = self.round(fx, s[0], s[1], u, &acc);
            }
            let mut next = vec![fx.addc(s[0], n * self.a.1), fx.addc(s[1], n * self.pitch)];
            next.extend(acc);
            next
        })
    }

    fn start(&self, fx: &mut Fx<'_>, a: Value, b: Value) -> Vec<Value> {
        let zero = fx.splat(0.0);
        let mut state = vec![a, b];
        state.extend(vec![zero; self.rows as usize * 2]);
        state
    }

    /// Contracts `n` elements.
    fn fixed(&self, fx: &mut Fx<'_>, a: Value, b: Value, n: i64) -> Vec<Value> {
        let mut state = self.start(fx, a, b);
        if n >= UNROLL {
            let (lo, hi) = (fx.int(0), fx.int(n / UNROLL * UNROLL));
            state = self.walk(fx, lo, hi, UNROLL, state);
        }
        let mut acc = state[2..].to_vec();
        for u in 0..n % UNROLL {
            acc = self.round(fx, state[0], state[1], u, &acc);
        }
        acc
    }

    /// Contracts `n` elements, known at run time.
    fn live(&self, fx: &mut Fx<'_>, a: Value, b: Value, n: Value) -> Vec<Value> {
        let state = self.start(fx, a, b);
        let (lo, main) = (fx.int(0), fx.round_down(n, UNROLL));
        let state = self.walk(fx, lo, main, UNROLL, state);
        let state = self.walk(fx, main, n, 1, state);
        state[2..].to_vec()
    }
}
