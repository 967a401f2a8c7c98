// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Moves between rows of tensors and tiles, with the conversion of dtypes: each kind of move is one internal function.
//!
//! In: the kind. Out: its body. Elements move four at a time, and four rows at a time where the tile lies in columns: a 4 x 4 transposition
//! in registers. Several rows are then under way at once, which hides the latency of memory at large strides.

use attnc_tensor::DType;
use attnc_tile::core::{Core, CountFn, Layout, Lie, QUERY_STEP};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{ConstantData, InstBuilder, Value, types};

use crate::convert::{Lanes, narrow, widen};
use crate::fx::{F4, Fx};
use crate::panels;

/// A kind of move: everything about it that is known at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Move {
    /// (dst, base, row bytes, idx, live, flag or 0).
    Gather { dtype: DType, lie: Lie, width: u32 },
    /// The same in rows, of 16-bit elements as they are, laid out as the buffer is.
    Keep {
        dtype: DType,
        layout: Layout,
        width: u32,
    },
    /// (base, row bytes, idx, live, src).
    Scatter { dtype: DType, lie: Lie, width: u32 },
    /// (base, row bytes, idx, live, bits of the value).
    Fill { dtype: DType, width: u32 },
    /// (dst, src, count).
    Floats(CountFn),
}

impl Move {
    /// Number of 64-bit parameters.
    pub(crate) fn params(self) -> usize {
        match self {
            Move::Gather { .. } | Move::Keep { .. } => 6,
            Move::Scatter { .. } | Move::Fill { .. } => 5,
            Move::Floats(_) => 3,
        }
    }

    /// Name of its function.
    pub(crate) fn name(self) -> String {
        let lies = |l: Lie| match l {
            Lie::Cols { stride } => format!("cols{stride}"),
            Lie::Rows => "rows".to_string(),
        };
        match self {
            Move::Gather { dtype, lie, width } => format!("gather_{dtype}_{}_{width}", lies(lie)),
            Move::Keep {
                dtype,
                layout,
                width,
            } => {
                let layout = match layout {
                    Layout::Row | Layout::St | Layout::Swz128 => "rows".to_string(),
                    Layout::Padded { pitch } => format!("padded{pitch}"),
                    Layout::Transposed { stride } => format!("transposed{stride}"),
                };
                format!("keep_{dtype}_{layout}_{width}")
            }
            Move::Scatter { dtype, lie, width } => format!("scatter_{dtype}_{}_{width}", lies(lie)),
            Move::Fill { dtype, width } => format!("fill_{dtype}_{width}"),
            Move::Floats(f) => format!("floats_{f:?}").to_lowercase(),
        }
    }
}

/// Fills the function of a move of `core` at the builder's entry.
pub(crate) fn lower(fx: &mut Fx<'_>, m: Move, a: &[Value], core: &Core) {
    match m {
        Move::Gather { dtype, lie, width } => gather(fx, dtype, lie, width, a, core),
        Move::Keep {
            dtype,
            layout,
            width,
        } => panels::gather(fx, dtype, layout, width, a, core),
        Move::Scatter { dtype, lie, width } => scatter(fx, dtype, lie, width, a),
        Move::Fill { dtype, width } => {
            let x = fx.b.ins().ireduce(types::I32, a[4]);
            let four = fx.b.ins().splat(types::I32X4, x);
            fx.upto(a[3], |fx, i| {
                let to = row(fx, a[0], a[1], a[2], i).0;
                dims(fx, width, &[], |fx, d, _| {
                    let x = match d.lanes {
                        Lanes::One => x,
                        Lanes::Four => four,
                    };
                    let (to, off) = d.at(fx, to, dtype.bytes() as i64);
                    narrow(fx, dtype, d.lanes, x, to, off);
                    Vec::new()
                });
            });
        }
        Move::Floats(f) => floats(fx, f, a),
    }
}

fn floats(fx: &mut Fx<'_>, f: CountFn, a: &[Value]) {
    fx.upto(a[2], |fx, i| {
        let at = fx.mulc(i, 8);
        let from = fx.add(a[1], at);
        let x = fx.load(types::I64, from, 0);
        let x = fx.b.ins().fcvt_from_sint(types::F32, x);
        let x = fx.b.ins().splat(F4, x);
        let y = match f {
            CountFn::Float => x,
            CountFn::Log2 => fx.log2(x),
            CountFn::Ln => {
                let y = fx.log2(x);
                let c = fx.splat(std::f32::consts::LN_2);
                fx.b.ins().fmul(y, c)
            }
        };
        let y = fx.b.ins().extractlane(y, 0);
        let at = fx.mulc(i, 4);
        let to = fx.add(a[0], at);
        fx.store(y, to, 0);
    });
}

/// Address of row idx[i], and the index.
pub(crate) fn row(
    fx: &mut Fx<'_>,
    base: Value,
    bytes: Value,
    idx: Value,
    i: Value,
) -> (Value, Value) {
    let at = fx.mulc(i, 8);
    let at = fx.add(idx, at);
    let n = fx.load(types::I64, at, 0);
    let off = fx.b.ins().imul(n, bytes);
    (fx.add(base, off), n)
}

/// One or four elements of a row: `first + plus` onwards.
#[derive(Clone, Copy)]
struct Dims {
    first: Value,
    plus: i64,
    lanes: Lanes,
}

impl Dims {
    /// Address of the first, `step` bytes an element, as a value and a constant.
    fn at(self, fx: &mut Fx<'_>, base: Value, step: i64) -> (Value, i64) {
        let off = fx.mulc(self.first, step);
        (fx.add(base, off), self.plus * step)
    }
}

/// The elements of a row in fours, sixteen a round, and those that are left one by one, with values carried along.
fn dims(
    fx: &mut Fx<'_>,
    width: u32,
    init: &[Value],
    body: impl Fn(&mut Fx<'_>, Dims, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let width = i64::from(width);
    let (rounds, fours) = (width / 16 * 16, width / 4 * 4);
    let some = |fx: &mut Fx<'_>, first: Value, pluses: &[i64], lanes: Lanes, state: Vec<Value>| {
        pluses.iter().fold(state, |state, plus| {
            let d = Dims {
                first,
                plus: *plus,
                lanes,
            };
            body(fx, d, &state)
        })
    };
    let mut state = init.to_vec();
    let zero = fx.int(0);
    if rounds > 0 {
        let (hi, step) = (fx.int(rounds), fx.int(16));
        state = fx.carry([zero, hi, step], &state, |fx, first, state| {
            some(fx, first, &[0, 4, 8, 12], Lanes::Four, state.to_vec())
        });
    }
    let left: Vec<i64> = (rounds..fours).step_by(4).collect();
    state = some(fx, zero, &left, Lanes::Four, state);
    let left: Vec<i64> = (fours..width).collect();
    some(fx, zero, &left, Lanes::One, state)
}

/// Units of `bytes` bytes, alternately from `a` and `b`, of the low or the high half of both.
pub(crate) fn mix(fx: &mut Fx<'_>, a: Value, b: Value, bytes: i64, high: bool) -> Value {
    let (a, b) = (fx.bits(a, types::I8X16), fx.bits(b, types::I8X16));
    let start = if high { 8 } else { 0 };
    let mask: Vec<u8> = (0..8 / bytes)
        .flat_map(|i| {
            [0, 16]
                .into_iter()
                .flat_map(move |side| (0..bytes).map(move |j| (side + start + i * bytes + j) as u8))
        })
        .collect();
    let mask = fx.b.func.dfg.immediates.push(ConstantData::from(&mask[..]));
    let y = fx.b.ins().shuffle(a, b, mask);
    fx.bits(y, types::I32X4)
}

/// Turns four rows of four into four columns, and back.
fn transpose(fx: &mut Fx<'_>, x: [Value; 4]) -> [Value; 4] {
    let mut mix = |a, b, bytes, high| mix(fx, a, b, bytes, high);
    let (a, b) = (mix(x[0], x[1], 4, false), mix(x[2], x[3], 4, false));
    let (c, d) = (mix(x[0], x[1], 4, true), mix(x[2], x[3], 4, true));
    [
        mix(a, b, 8, false),
        mix(a, b, 8, true),
        mix(c, d, 8, false),
        mix(c, d, 8, true),
    ]
}

/// Row `i` of a tile: its address, and the bytes from one of its elements to the next.
fn lane(fx: &mut Fx<'_>, tile: Value, lie: Lie, width: u32, i: Value) -> (Value, i64) {
    let (by, step) = match lie {
        Lie::Cols { stride } => (4, i64::from(stride) * 4),
        Lie::Rows => (i64::from(width) * 4, 4),
    };
    let off = fx.mulc(i, by);
    (fx.add(tile, off), step)
}

/// `body` for rows 0..live: groups of four for a tile that lies in columns, then one by one; with values carried along.
fn each_row(
    fx: &mut Fx<'_>,
    lie: Lie,
    live: Value,
    init: &[Value],
    body: impl Fn(&mut Fx<'_>, Value, usize, &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let (zero, one) = (fx.int(0), fx.int(1));
    let (main, state) = match lie {
        Lie::Rows => (zero, init.to_vec()),
        Lie::Cols { .. } => {
            let (main, four) = (fx.round_down(live, 4), fx.int(4));
            let state = fx.carry([zero, main, four], init, |fx, i, s| body(fx, i, 4, s));
            (main, state)
        }
    };
    fx.carry([main, live, one], &state, |fx, i, s| body(fx, i, 1, s))
}

/// Keeps the largest magnitude, in lanes of four (`seen[0]`) and single (`seen[1]`).
fn watch(fx: &mut Fx<'_>, lanes: Lanes, x: Value, seen: &[Value]) -> Vec<Value> {
    let x = lanes.magnitude(fx, x);
    match lanes {
        Lanes::Four => vec![fx.b.ins().umax(seen[0], x), seen[1]],
        Lanes::One => vec![seen[0], fx.b.ins().umax(seen[1], x)],
    }
}

fn gather(fx: &mut Fx<'_>, dtype: DType, lie: Lie, width: u32, a: &[Value], core: &Core) {
    let [dst, base, bytes, idx, live, flag] = [a[0], a[1], a[2], a[3], a[4], a[5]];
    let size = dtype.bytes() as i64;
    let none = [fx.splat_int(0), fx.int32(0)];
    let seen = each_row(fx, lie, live, &none, |fx, i, n, seen| {
        let sources: Vec<Source> = (0..n)
            .map(|k| {
                let i = fx.addc(i, k as i64);
                Source::of(fx, lie, [base, bytes, idx], i, dst)
            })
            .collect();
        let (start, step) = lane(fx, dst, lie, width, i);
        dims(fx, width, seen, |fx, d, seen| {
            let mut seen = seen.to_vec();
            let mut x = Vec::new();
            for s in &sources {
                let (from, off) = d.at(fx, s.from, size);
                let y = widen(fx, dtype, d.lanes, from, off);
                let y = s.keep(fx, d.lanes, y);
                seen = watch(fx, d.lanes, y, &seen);
                x.push(y);
            }
            let (to, off) = d.at(fx, start, step);
            match (d.lanes, &x[..]) {
                (Lanes::Four, &[p, q, r, s]) => {
                    for (j, y) in transpose(fx, [p, q, r, s]).into_iter().enumerate() {
                        fx.store(y, to, (off + j as i64 * step) as i32);
                    }
                }
                (Lanes::Four, &[y]) if lie != Lie::Rows => {
                    for j in 0..4 {
                        let z = fx.b.ins().extractlane(y, j);
                        fx.store(z, to, (off + i64::from(j) * step) as i32);
                    }
                }
                (Lanes::Four | Lanes::One, x) => {
                    for (k, y) in x.iter().enumerate() {
                        fx.store(*y, to, (off + k as i64 * 4) as i32);
                    }
                }
            }
            seen
        })
    });
    let group = i64::from(if lie == Lie::Rows {
        core.key_step
    } else {
        QUERY_STEP
    });
    let end = fx.groups(live, group);
    let end = fx.mulc(end, group);
    fx.each(live, end, 1, |fx, i| {
        let (start, step) = lane(fx, dst, lie, width, i);
        let n = fx.int(i64::from(width));
        fx.upto(n, |fx, d| {
            let off = fx.mulc(d, step);
            let to = fx.add(start, off);
            let zero = fx.int32(0);
            fx.store(zero, to, 0);
        });
    });
    fx.when(flag, |fx| {
        let wide = (0..4).fold(seen[1], |most, j| {
            let x = fx.b.ins().extractlane(seen[0], j);
            fx.b.ins().umax(most, x)
        });
        // From this bit pattern on a magnitude raises the flag; 0 would raise it for every element, and thresholds are positive.
        let limit = fx.int32(core.careful_above.to_bits().max(1));
        let over =
            fx.b.ins()
                .icmp(IntCC::UnsignedGreaterThanOrEqual, wide, limit);
        fx.when(over, |fx| {
            let one = fx.int(1);
            fx.store(one, flag, 0);
        });
    });
}

/// Where a gathered row comes from.
struct Source {
    from: Value,
    /// All ones, or zero for a missing row: single, and in four lanes.
    keep: Option<[Value; 2]>,
}

impl Source {
    fn of(
        fx: &mut Fx<'_>,
        lie: Lie,
        [base, bytes, idx]: [Value; 3],
        i: Value,
        tile: Value,
    ) -> Source {
        let (from, number) = row(fx, base, bytes, idx, i);
        if lie == Lie::Rows {
            return Source { from, keep: None };
        }
        // A missing row is read from the tile itself and cleared: no branch in the copy.
        let zero = fx.int(0);
        let here =
            fx.b.ins()
                .icmp(IntCC::SignedGreaterThanOrEqual, number, zero);
        let from = fx.b.ins().select(here, from, tile);
        let keep = fx.b.ins().uextend(types::I32, here);
        let keep = fx.b.ins().ineg(keep);
        let four = fx.b.ins().splat(types::I32X4, keep);
        Source {
            from,
            keep: Some([keep, four]),
        }
    }

    fn keep(&self, fx: &mut Fx<'_>, lanes: Lanes, x: Value) -> Value {
        match (self.keep, lanes) {
            (None, Lanes::One | Lanes::Four) => x,
            (Some([one, _]), Lanes::One) => fx.b.ins().band(x, one),
            (Some([_, four]), Lanes::Four) => fx.b.ins().band(x, four),
        }
    }
}

fn scatter(fx: &mut Fx<'_>, dtype: DType, lie: Lie, width: u32, a: &[Value]) {
    let [base, bytes, idx, live, src] = [a[0], a[1], a[2], a[3], a[4]];
    let size = dtype.bytes() as i64;
    each_row(fx, lie, live, &[], |fx, i, n, _| {
        let targets: Vec<Value> = (0..n)
            .map(|k| {
                let i = fx.addc(i, k as i64);
                row(fx, base, bytes, idx, i).0
            })
            .collect();
        let (start, step) = lane(fx, src, lie, width, i);
        dims(fx, width, &[], |fx, d, _| {
            let (from, off) = d.at(fx, start, step);
            let put = |fx: &mut Fx<'_>, lanes: Lanes, k: usize, x: Value, plus: i64| {
                let (to, off) = d.at(fx, targets[k], size);
                narrow(fx, dtype, lanes, x, to, off + plus * size);
            };
            match (d.lanes, n) {
                (Lanes::Four, 4) => {
                    let x =
                        [0, 1, 2, 3].map(|j| fx.load(types::I32X4, from, (off + j * step) as i32));
                    for (k, y) in transpose(fx, x).into_iter().enumerate() {
                        put(fx, Lanes::Four, k, y, 0);
                    }
                }
                (Lanes::Four, _) if lie == Lie::Rows => {
                    let x = fx.load(types::I32X4, from, off as i32);
                    put(fx, Lanes::Four, 0, x, 0);
                }
                (Lanes::Four, _) => {
                    for j in 0..4 {
                        let x = fx.load(types::I32, from, (off + j * step) as i32);
                        put(fx, Lanes::One, 0, x, j);
                    }
                }
                (Lanes::One, _) => {
                    for k in 0..n {
                        let x = fx.load(types::I32, from, (off + k as i64 * 4) as i32);
                        put(fx, Lanes::One, k, x, 0);
                    }
                }
            }
            Vec::new()
        })
    });
}
