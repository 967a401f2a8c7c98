// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile functions as machine code: each operation a loop over the live part of its tiles, 128 bits wide.
//!
//! In: a [`TileFn`] and a builder at its entry. Out: its body. The two dots are calls of functions of their own (`dots`).

use attnc_tensor::DType;
use attnc_tile::core::{
    Axis, Core, Elem, Expr, Layout, OpKind, QUERY_STEP, Red, Tile, TileFn, TileOp, TileTy,
};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{FuncRef, InstBuilder, Value, types};

use crate::convert::{Lanes, round};
use crate::dots::{Dot, MR, Panel};
use crate::fx::{F4, Fx, Pair, both};

/// Bytes of a function's temporaries.
pub(crate) fn temp_bytes(f: &TileFn) -> u64 {
    f.temps.iter().map(|(_, t)| tile_bytes(f, *t)).sum()
}

fn extent(f: &TileFn, a: Axis) -> u64 {
    u64::from(match a {
        Axis::One => 1,
        Axis::Query => f.mq,
        Axis::Key { .. } => f.nk,
        Axis::Dim => f.head_dim,
    })
}

fn tile_bytes(f: &TileFn, t: TileTy) -> u64 {
    // Functions have tiles of floats and integers only, whatever tensors hold.
    let elem = t.elem.bytes(DType::F32);
    (extent(f, t.rows) * extent(f, t.cols) * elem).next_multiple_of(64)
}

/// One function body under construction.
struct Body<'f> {
    f: &'f TileFn,
    core: &'f Core,
    dots: &'f [(Dot, FuncRef)],
    tiles: Vec<Value>,
    scalars: Vec<Value>,
    live_q: Value,
    live_k: Value,
    /// Live lanes in groups of two vectors.
    groups: Value,
}

/// Fills the function, one of `core`'s, at the builder's entry: `args` are the tiles, the scalars, and the memory of temporaries;
/// `dots` what it can call.
pub(crate) fn lower(
    fx: &mut Fx<'_>,
    f: &TileFn,
    core: &Core,
    dots: &[(Dot, FuncRef)],
    args: &[Value],
) {
    let (tiles, rest) = args.split_at(f.tiles.len());
    let (scalars, temp) = rest.split_at(f.scalars.len());
    let mut tiles = tiles.to_vec();
    let mut at = 0;
    for (_, t) in &f.temps {
        let p = fx.addc(temp[0], at as i64);
        tiles.push(p);
        at += tile_bytes(f, *t);
    }
    let live_q = scalars[0];
    let live_k = if f.nk > 0 { scalars[1] } else { live_q };
    let groups = fx.groups(live_q, i64::from(QUERY_STEP));
    let body = Body {
        f,
        core,
        dots,
        tiles,
        scalars: scalars.to_vec(),
        live_q,
        live_k,
        groups,
    };
    let mut ops = f.body.iter().peekable();
    while let Some(op) = ops.next() {
        let pair = ops.peek().and_then(|next| map_and_reduce(op, next));
        let emit = |fx: &mut Fx<'_>, body: &Body<'_>| match pair {
            Some((dst, expr, then)) => body.map(fx, dst, expr, Some(then)),
            None => body.op(fx, &op.kind),
        };
        match op.guard {
            None => emit(fx, &body),
            Some(g) => {
                let s = body.scalars[g.scalar.0 as usize];
                if g.when {
                    fx.when(s, |fx| emit(fx, &body));
                } else {
                    fx.either(s, |_| {}, |fx| emit(fx, &body));
                }
            }
        }
        if pair.is_some() {
            ops.next();
        }
    }
}

/// A map and the reduction of what it made, under one guard: one pass does both.
fn map_and_reduce<'f>(map: &'f TileOp, reduce: &TileOp) -> Option<(Tile, &'f Expr, (Tile, Red))> {
    match (map, reduce) {
        (
            TileOp {
                guard: one,
                kind: OpKind::Map { dst, expr },
            },
            TileOp {
                guard: other,
                kind: OpKind::Reduce {
                    dst: row, op, src, ..
                },
            },
        ) if src == dst && one == other => Some((*dst, expr, (*row, *op))),
        (_, _) => None,
    }
}

/// The value that a reduction begins with.
fn start_of(fx: &mut Fx<'_>, op: Red) -> Value {
    fx.splat(match op {
        Red::Max => f32::NEG_INFINITY,
        Red::Sum => 0.0,
    })
}

/// One more element of a reduction; a maximum passes over NaN.
fn join(fx: &mut Fx<'_>, op: Red, acc: Value, x: Value) -> Value {
    match op {
        Red::Max => fx.larger(x, acc),
        Red::Sum => fx.b.ins().fadd(acc, x),
    }
}

impl Body<'_> {
    fn ty(&self, t: Tile) -> TileTy {
        let i = t.0 as usize;
        self.f.tiles.iter().chain(&self.f.temps).nth(i).map_or(
            TileTy {
                elem: Elem::F32,
                rows: Axis::One,
                cols: Axis::One,
                layout: Layout::Row,
            },
            |x| x.1,
        )
    }

    fn ptr(&self, t: Tile) -> Value {
        self.tiles[t.0 as usize]
    }

    /// Live rows of an axis.
    fn live(&self, fx: &mut Fx<'_>, a: Axis) -> Value {
        match a {
            Axis::One => fx.int(1),
            Axis::Query => self.live_q,
            Axis::Key { .. } => self.live_k,
            Axis::Dim => fx.int(i64::from(self.f.head_dim)),
        }
    }

    /// Bytes from one row of a [_, Query] tile to the next.
    fn pitch(&self) -> i64 {
        i64::from(self.f.mq) * 4
    }

    /// For each group of two lane vectors: the byte offset of the first.
    fn each_group(&self, fx: &mut Fx<'_>, body: impl FnOnce(&mut Fx<'_>, Value)) {
        let zero = fx.int(0);
        let end = fx.mulc(self.groups, 32);
        fx.each(zero, end, 32, body);
    }

    fn op(&self, fx: &mut Fx<'_>, op: &OpKind) {
        match op {
            OpKind::DotKeys { dst, a, b } => self.dot_keys(fx, *dst, *a, *b),
            OpKind::DotValues {
                dst,
                a,
                b,
                only: None,
            } => self.dot_values(fx, *dst, *a, *b),
            OpKind::DotValues {
                dst,
                a,
                b,
                only: Some(only),
            } => self.dot_visible(fx, *dst, *a, *b, *only),
            OpKind::Map { dst, expr } => self.map(fx, *dst, expr, None),
            OpKind::Reduce { dst, op, src } => self.reduce(fx, *dst, *op, *src),
            OpKind::Visible {
                dst,
                weight,
                causal,
            } => self.visible(fx, *dst, *weight, *causal),
            OpKind::Mask { dst, causal, only } => {
                if let Some(only) = only {
                    self.mask_only(fx, *dst, *only);
                }
                if let Some((kpos, qpos)) = causal {
                    self.mask_causal(fx, *dst, *kpos, *qpos);
                }
            }
        }
    }

    fn put(&self, fx: &mut Fx<'_>, p: Value, acc: &[Value]) {
        for (i, pair) in acc.chunks(2).enumerate() {
            let off = i as i64 * self.pitch();
            fx.store(pair[0], p, off as i32);
            fx.store(pair[1], p, off as i32 + 16);
        }
    }

    fn dot(&self, fx: &mut Fx<'_>, dot: Dot, a: Value, b: Value, dst: Value) {
        let end = fx.mulc(self.groups, 32);
        if let Some((_, f)) = self.dots.iter().find(|(x, _)| *x == dot) {
            fx.b.ins().call(*f, &[a, b, dst, end, self.live_k]);
        }
    }

    fn dot_keys(&self, fx: &mut Fx<'_>, dst: Tile, a: Tile, b: Tile) {
        let dot = Dot::of_keys(self.core, self.f, a);
        let Dot::Keys { rows, panel, .. } = dot else {
            return;
        };
        let blocks = fx.groups(self.live_k, i64::from(rows));
        fx.upto(blocks, |fx, kb| {
            let from = fx.mulc(kb, i64::from(rows) * panel.key);
            let from = fx.add(self.ptr(a), from);
            let to = fx.mulc(kb, i64::from(rows) * self.pitch());
            let to = fx.add(self.ptr(dst), to);
            self.dot(fx, dot, from, self.ptr(b), to);
        });
    }

    fn dot_values(&self, fx: &mut Fx<'_>, dst: Tile, a: Tile, b: Tile) {
        let mut first = 0;
        for dot in Dot::of_values(self.core, self.f, a) {
            let Dot::Values {
                rows, dim, panel, ..
            } = dot
            else {
                continue;
            };
            let end = if rows == MR { dim / MR * MR } else { dim };
            let (lo, hi) = (fx.int(i64::from(first)), fx.int(i64::from(end)));
            fx.each(lo, hi, i64::from(rows), |fx, row| {
                let column = fx.mulc(row, panel.d);
                let column = fx.add(self.ptr(a), column);
                let to = fx.mulc(row, self.pitch());
                let to = fx.add(self.ptr(dst), to);
                self.dot(fx, dot, column, self.ptr(b), to);
            });
            first = end;
        }
    }

    /// `dot_values` without the products that `only` hides: one row and two vectors at a time, selection after the product.
    fn dot_visible(&self, fx: &mut Fx<'_>, dst: Tile, a: Tile, b: Tile, only: Tile) {
        let panel = Panel::of(self.core, self.f, a);
        let n = fx.int(i64::from(self.f.head_dim));
        fx.upto(n, |fx, x| {
            self.each_group(fx, |fx, j| {
                let zero = fx.splat(0.0);
                let (lo, one) = (fx.int(0), fx.int(1));
                let acc = fx.carry([lo, self.live_k, one], &[zero, zero], |fx, k, acc| {
                    let row = fx.mulc(k, panel.key);
                    let col = fx.mulc(x, panel.d);
                    let at = fx.add(row, col);
                    let at = fx.add(self.ptr(a), at);
                    let v = panel.splat(fx, at, 0);
                    let off = fx.mulc(k, self.pitch());
                    let off = fx.add(off, j);
                    let (pb, po) = (fx.add(self.ptr(b), off), fx.add(self.ptr(only), off));
                    (0..2)
                        .map(|h| {
                            let w = fx.load(F4, pb, h * 16);
                            let o = fx.load(F4, po, h * 16);
                            let seen = fx.compare(FloatCC::NotEqual, o, zero);
                            let p = fx.b.ins().fmul(v, w);
                            let p = fx.pick(seen, p, zero);
                            fx.b.ins().fadd(acc[h as usize], p)
                        })
                        .collect()
                });
                let off = fx.mulc(x, self.pitch());
                let off = fx.add(off, j);
                let to = fx.add(self.ptr(dst), off);
                self.put(fx, to, &acc);
            });
        });
    }

    /// `dst` = `expr`, and, with `then`, a reduction of it over the rows in the same pass.
    fn map(&self, fx: &mut Fx<'_>, dst: Tile, expr: &Expr, then: Option<(Tile, Red)>) {
        let rows = self.live(fx, self.ty(dst).rows);
        let end = fx.mulc(rows, self.pitch());
        self.each_group(fx, |fx, j| {
            // What depends on the lane only is loaded once.
            let mut lanes = Vec::new();
            self.lane_tiles(fx, expr, j, &mut lanes);
            let start: Vec<Value> = then
                .iter()
                .flat_map(|(_, op)| [start_of(fx, *op); 2])
                .collect();
            let (lo, step) = (fx.int(0), fx.int(self.pitch()));
            let sums = fx.carry([lo, end, step], &start, |fx, row, acc| {
                let at = fx.add(row, j);
                let x = self.eval(fx, expr, at, &lanes);
                let to = fx.add(self.ptr(dst), at);
                self.put(fx, to, &x);
                match then {
                    Some((_, op)) => vec![join(fx, op, acc[0], x[0]), join(fx, op, acc[1], x[1])],
                    None => Vec::new(),
                }
            });
            if let Some((dst, _)) = then {
                let to = fx.add(self.ptr(dst), j);
                self.put(fx, to, &sums);
            }
        });
    }

    /// Loads the row vectors of an expression at lane offset `j`.
    fn lane_tiles(&self, fx: &mut Fx<'_>, e: &Expr, j: Value, out: &mut Vec<(Tile, Pair)>) {
        match e {
            Expr::Tile(t) => {
                if self.ty(*t).rows == Axis::One && out.iter().all(|(x, _)| x != t) {
                    let p = fx.add(self.ptr(*t), j);
                    out.push((*t, [0, 16].map(|h| fx.load(F4, p, h))));
                }
            }
            Expr::Const(_) => {}
            Expr::Exp2(a, _) | Expr::Exp(a, _) | Expr::Log2(a) | Expr::Ln(a) | Expr::Data(a) => {
                self.lane_tiles(fx, a, j, out);
            }
            Expr::Add(a, b)
            | Expr::Sub(a, b)
            | Expr::Mul(a, b)
            | Expr::Div(a, b)
            | Expr::Max(a, b) => [a, b]
                .into_iter()
                .for_each(|e| self.lane_tiles(fx, e, j, out)),
            Expr::Fma(a, b, c) => [a, b, c]
                .into_iter()
                .for_each(|e| self.lane_tiles(fx, e, j, out)),
            Expr::IfEq(a, b, c, d) | Expr::IfLt(a, b, c, d) => [a, b, c, d]
                .into_iter()
                .for_each(|e| self.lane_tiles(fx, e, j, out)),
        }
    }

    /// The value of an expression in two vectors: those at byte offset `at` of full tiles, and `lanes` of row vectors.
    fn eval(&self, fx: &mut Fx<'_>, e: &Expr, at: Value, lanes: &[(Tile, Pair)]) -> Pair {
        let x = |fx: &mut Fx<'_>, e: &Expr| self.eval(fx, e, at, lanes);
        match e {
            Expr::Tile(t) => match lanes.iter().find(|(x, _)| x == t) {
                Some((_, pair)) => *pair,
                None => {
                    let p = fx.add(self.ptr(*t), at);
                    [0, 16].map(|h| fx.load(F4, p, h))
                }
            },
            Expr::Const(c) => [fx.splat(*c); 2],
            Expr::Add(a, b) => {
                let (a, b) = (x(fx, a), x(fx, b));
                both(a, b, |a, b| fx.b.ins().fadd(a, b))
            }
            Expr::Sub(a, b) => {
                let (a, b) = (x(fx, a), x(fx, b));
                both(a, b, |a, b| fx.b.ins().fsub(a, b))
            }
            Expr::Mul(a, b) => {
                let (a, b) = (x(fx, a), x(fx, b));
                both(a, b, |a, b| fx.b.ins().fmul(a, b))
            }
            Expr::Div(a, b) => {
                let (a, b) = (x(fx, a), x(fx, b));
                both(a, b, |a, b| fx.b.ins().fdiv(a, b))
            }
            Expr::Fma(a, b, c) => {
                let (a, b, c) = (x(fx, a), x(fx, b), x(fx, c));
                [0, 1].map(|h| fx.mul_add(a[h], b[h], c[h]))
            }
            Expr::Max(a, b) => {
                let (a, b) = (x(fx, a), x(fx, b));
                both(a, b, |a, b| fx.larger(a, b))
            }
            Expr::Exp2(a, accuracy) => {
                let a = x(fx, a);
                fx.exp2(a, *accuracy)
            }
            Expr::Exp(a, accuracy) => {
                let a = x(fx, a);
                let c = fx.splat(std::f32::consts::LOG2_E);
                let a = a.map(|a| fx.b.ins().fmul(a, c));
                fx.exp2(a, *accuracy)
            }
            Expr::Log2(a) => x(fx, a).map(|a| fx.log2(a)),
            Expr::Ln(a) => x(fx, a).map(|a| {
                let y = fx.log2(a);
                let c = fx.splat(std::f32::consts::LN_2);
                fx.b.ins().fmul(y, c)
            }),
            Expr::Data(a) => x(fx, a).map(|a| {
                let a = fx.bits(a, types::I32X4);
                let a = round(fx, self.core.dtype, Lanes::Four, a);
                fx.bits(a, F4)
            }),
            Expr::IfEq(a, b, c, d) => {
                let (a, b, c, d) = (x(fx, a), x(fx, b), x(fx, c), x(fx, d));
                let mask = both(a, b, |a, b| fx.compare(FloatCC::Equal, a, b));
                [0, 1].map(|h| fx.pick(mask[h], c[h], d[h]))
            }
            Expr::IfLt(a, b, c, d) => {
                let (a, b, c, d) = (x(fx, a), x(fx, b), x(fx, c), x(fx, d));
                let mask = both(a, b, |a, b| fx.compare(FloatCC::LessThan, a, b));
                [0, 1].map(|h| fx.pick(mask[h], c[h], d[h]))
            }
        }
    }

    fn reduce(&self, fx: &mut Fx<'_>, dst: Tile, op: Red, src: Tile) {
        let pitch = self.pitch();
        self.each_group(fx, |fx, j| {
            let start = start_of(fx, op);
            let p = fx.add(self.ptr(src), j);
            let (lo, two, one) = (fx.int(0), fx.int(2), fx.int(1));
            let main = fx.round_down(self.live_k, 2);
            let acc = fx.carry(
                [lo, main, two],
                &[start, start, start, start],
                |fx, k, acc| {
                    let off = fx.mulc(k, pitch);
                    let p = fx.add(p, off);
                    (0..4)
                        .map(|i| {
                            let x = fx.load(F4, p, ((i / 2) * pitch + (i % 2) * 16) as i32);
                            join(fx, op, acc[i as usize], x)
                        })
                        .collect()
                },
            );
            let (a, b) = (join(fx, op, acc[0], acc[2]), join(fx, op, acc[1], acc[3]));
            let acc = fx.carry([main, self.live_k, one], &[a, b], |fx, k, acc| {
                let off = fx.mulc(k, pitch);
                let p = fx.add(p, off);
                (0..2)
                    .map(|i| {
                        let x = fx.load(F4, p, i * 16);
                        join(fx, op, acc[i as usize], x)
                    })
                    .collect()
            });
            let to = fx.add(self.ptr(dst), j);
            self.put(fx, to, &acc);
        });
    }

    /// For each key and pair of lane vectors: their byte offset in a score tile, that of the lanes, and the lanes whose query the key is
    /// behind.
    fn each_score(
        &self,
        fx: &mut Fx<'_>,
        causal: Option<(Tile, Tile)>,
        body: impl Fn(&mut Fx<'_>, Value, Value, Option<Pair>),
    ) {
        self.each_group(fx, |fx, j| {
            let queries = causal.map(|(kpos, qpos)| {
                let at = fx.mulc(j, 2);
                let at = fx.add(self.ptr(qpos), at);
                (kpos, [0, 16, 32, 48].map(|h| fx.load(types::I64X2, at, h)))
            });
            fx.upto(self.live_k, |fx, k| {
                let behind = queries.map(|(kpos, q)| {
                    let at = fx.mulc(k, 8);
                    let at = fx.add(self.ptr(kpos), at);
                    let key = fx.load(types::I64, at, 0);
                    let key = fx.b.ins().splat(types::I64X2, key);
                    let over = q.map(|q| fx.b.ins().icmp(IntCC::SignedGreaterThan, key, q));
                    [fx.halves(over[0], over[1]), fx.halves(over[2], over[3])]
                });
                let row = fx.mulc(k, self.pitch());
                let at = fx.add(row, j);
                body(fx, at, j, behind);
            });
        });
    }

    fn visible(&self, fx: &mut Fx<'_>, dst: Tile, weight: Tile, causal: Option<(Tile, Tile)>) {
        self.each_score(fx, causal, |fx, at, lane, behind| {
            let (from, to) = (fx.add(self.ptr(weight), lane), fx.add(self.ptr(dst), at));
            let low = fx.splat(f32::NEG_INFINITY);
            let (one, zero) = (fx.splat(1.0), fx.splat(0.0));
            for h in 0..2 {
                let w = fx.load(F4, from, h * 16);
                let counts = fx.compare(FloatCC::GreaterThan, w, low);
                let mut x = fx.pick(counts, one, zero);
                if let Some(behind) = behind {
                    x = fx.pick(behind[h as usize], zero, x);
                }
                fx.store(x, to, h * 16);
            }
        });
    }

    fn mask_causal(&self, fx: &mut Fx<'_>, dst: Tile, kpos: Tile, qpos: Tile) {
        self.each_score(fx, Some((kpos, qpos)), |fx, at, _, behind| {
            let Some(behind) = behind else { return };
            let to = fx.add(self.ptr(dst), at);
            let low = fx.splat(f32::NEG_INFINITY);
            for h in 0..2 {
                let s = fx.load(F4, to, h * 16);
                let s = fx.pick(behind[h as usize], low, s);
                fx.store(s, to, h * 16);
            }
        });
    }

    fn mask_only(&self, fx: &mut Fx<'_>, dst: Tile, only: Tile) {
        fx.upto(self.live_k, |fx, k| {
            let row = fx.mulc(k, self.pitch());
            self.each_group(fx, |fx, j| {
                let at = fx.add(row, j);
                let (po, pd) = (fx.add(self.ptr(only), at), fx.add(self.ptr(dst), at));
                for h in 0..2 {
                    let o = fx.load(F4, po, h * 16);
                    let zero = fx.splat(0.0);
                    let hidden = fx.compare(FloatCC::Equal, o, zero);
                    let s = fx.load(F4, pd, h * 16);
                    let low = fx.splat(f32::NEG_INFINITY);
                    let s = fx.pick(hidden, low, s);
                    fx.store(s, pd, h * 16);
                }
            });
        });
    }
}
