// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Gathers of rows of tensors as they are, 16 bits an element, into panels: in rows, padded or transposed.
//!
//! In: the kind. Out: its body. Nothing is converted, so eight elements move at a time. Rows that stay rows are copied and filled up with
//! zeros; a panel that is transposed takes eight rows at a time through an 8 x 8 transposition in registers, so that every store is eight
//! keys. What is looked at on the way are magnitudes, whose bits are ordered as they are.

use attnc_tensor::DType;
use attnc_tile::core::{Core, Elem, Inst, Layout, Lie, Place};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};

use crate::fx::Fx;
use crate::moves::{mix, row};

/// Elements that move at a time, and rows that are transposed at a time.
pub(crate) const GROUP: u32 = 8;
/// Bytes of an element.
const SIZE: i64 = 2;
/// Vectors of a round of a loop over a row.
const UNROLL: i64 = 4;

/// The first use of unconverted elements for which there is no code.
pub(crate) fn unknown(core: &Core) -> Option<String> {
    fn inside(core: &Core, code: &[Inst]) -> Option<String> {
        let data = |p: &Place| {
            let b = core.bufs.get(p.buf.0 as usize);
            b.filter(|b| b.elem == Elem::Data)
        };
        code.iter().find_map(|inst| match inst {
            Inst::Gather { dst, lie, .. } => match lie {
                Lie::Rows => None,
                Lie::Cols { .. } => {
                    data(dst).map(|b| format!("unconverted columns in `{}`", b.name))
                }
            },
            Inst::Call { f, tiles, .. } => {
                let f = core.fns.get(f.0 as usize)?;
                let floats = f
                    .tiles
                    .iter()
                    .zip(tiles)
                    .find_map(|((_, ty), p)| data(p).filter(|_| ty.elem != Elem::Data));
                floats.map(|b| format!("unconverted floats in `{}`", b.name))
            }
            inst => inst
                .blocks()
                .into_iter()
                .find_map(|code| inside(core, code)),
        })
    }
    let b = core.bufs.iter().find(|b| b.elem == Elem::Data)?;
    if core.dtype == DType::F32 {
        return Some(format!("`{}` of unconverted f32", b.name));
    }
    if !core.key_step.is_multiple_of(GROUP) {
        return Some(format!("`{}` in steps of {} keys", b.name, core.key_step));
    }
    inside(core, &core.body)
}

/// The largest magnitudes so far: in eight lanes, and of single elements.
type Seen = [Value; 2];

/// Elements of rows from `first + plus` on: a group of them, or one.
#[derive(Clone, Copy)]
struct Span {
    first: Value,
    plus: i64,
    one: bool,
}

impl Span {
    /// Address of its first element, `step` bytes an element, as a value and a constant.
    fn at(self, fx: &mut Fx<'_>, base: Value, step: i64) -> (Value, i32) {
        let off = fx.mulc(self.first, step);
        (fx.add(base, off), (self.plus * step) as i32)
    }
}

/// Fills the function at the builder's entry; the parameters are those of every gather.
pub(crate) fn gather(
    fx: &mut Fx<'_>,
    dtype: DType,
    layout: Layout,
    width: u32,
    a: &[Value],
    core: &Core,
) {
    let [dst, base, bytes, idx, live, flag] = [a[0], a[1], a[2], a[3], a[4], a[5]];
    let g = Gather {
        dst,
        rows: [base, bytes, idx],
        live,
        width: i64::from(width),
    };
    let end = fx.groups(live, i64::from(core.key_step));
    let end = fx.mulc(end, i64::from(core.key_step));
    let seen = match layout {
        Layout::Row | Layout::St | Layout::Swz128 => g.in_rows(fx, i64::from(width), end),
        Layout::Padded { pitch } => g.in_rows(fx, i64::from(pitch), end),
        Layout::Transposed { stride } => g.transposed(fx, i64::from(stride), end),
    };
    fx.when(flag, |fx| {
        let most = (0..GROUP as u8).fold(seen[1], |most, j| {
            let x = fx.b.ins().extractlane(seen[0], j);
            let x = fx.b.ins().uextend(types::I32, x);
            fx.b.ins().umax(most, x)
        });
        let limit = fx.int32(careful_from(dtype, core.careful_above));
        let over =
            fx.b.ins()
                .icmp(IntCC::UnsignedGreaterThanOrEqual, most, limit);
        fx.when(over, |fx| {
            let one = fx.int(1);
            fx.store(one, flag, 0);
        });
    });
}

/// The magnitude's bits from which on an element needs care.
pub(crate) fn careful_from(dtype: DType, above: f32) -> u32 {
    let needs = |bits: &u16| {
        let x = dtype.of_bits(*bits);
        x.is_nan() || x >= above
    };
    (0..=0x7fff).find(needs).map_or(0x8000, u32::from)
}

struct Gather {
    dst: Value,
    /// Address of the view's row 0, bytes from one row to the next, the row numbers.
    rows: [Value; 3],
    live: Value,
    width: i64,
}

impl Gather {
    fn none(fx: &mut Fx<'_>) -> Seen {
        let zero = fx.splat_int(0);
        [fx.bits(zero, types::I16X8), fx.int32(0)]
    }

    /// All elements of a row in groups, and those that are left one by one.
    fn spans(
        &self,
        fx: &mut Fx<'_>,
        seen: &[Value],
        body: impl Fn(&mut Fx<'_>, Span, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let group = i64::from(GROUP);
        let round = group * UNROLL;
        let (rounds, groups) = (self.width / round * round, self.width / group * group);
        let zero = fx.int(0);
        let mut seen = seen.to_vec();
        let span = |first, plus, one| Span { first, plus, one };
        if rounds > 0 {
            let (hi, step) = (fx.int(rounds), fx.int(round));
            seen = fx.carry([zero, hi, step], &seen, |fx, first, seen| {
                (0..UNROLL).fold(seen.to_vec(), |seen, i| {
                    body(fx, span(first, i * group, false), &seen)
                })
            });
        }
        for at in (rounds..groups).step_by(GROUP as usize) {
            seen = body(fx, span(zero, at, false), &seen);
        }
        for at in groups..self.width {
            seen = body(fx, span(zero, at, true), &seen);
        }
        seen
    }

    /// Row i becomes row i, `pitch` elements behind the last one.
    fn in_rows(&self, fx: &mut Fx<'_>, pitch: i64, end: Value) -> Vec<Value> {
        let none = Gather::none(fx);
        let (zero, one) = (fx.int(0), fx.int(1));
        let seen = fx.carry([zero, self.live, one], &none, |fx, i, seen| {
            let [base, bytes, idx] = self.rows;
            let from = row(fx, base, bytes, idx, i).0;
            let to = fx.mulc(i, pitch * SIZE);
            let to = fx.add(self.dst, to);
            let seen = self.spans(fx, seen, |fx, s, seen| {
                let ty = if s.one { types::I16 } else { types::I16X8 };
                let (p, off) = s.at(fx, from, SIZE);
                let x = fx.load(ty, p, off);
                let (p, off) = s.at(fx, to, SIZE);
                fx.store(x, p, off);
                watch(fx, s.one, x, seen)
            });
            clear(fx, to, self.width, pitch);
            seen
        });
        fx.each(self.live, end, 1, |fx, i| {
            let to = fx.mulc(i, pitch * SIZE);
            let to = fx.add(self.dst, to);
            clear(fx, to, 0, pitch);
        });
        seen
    }

    /// Row i becomes column i of rows of `stride` elements.
    fn transposed(&self, fx: &mut Fx<'_>, stride: i64, end: Value) -> Vec<Value> {
        let none = Gather::none(fx);
        let group = i64::from(GROUP);
        let main = fx.round_down(self.live, group);
        let (zero, step) = (fx.int(0), fx.int(group));
        let seen = fx.carry([zero, main, step], &none, |fx, i, seen| {
            let sources: Vec<Value> = (0..group)
                .map(|k| {
                    let [base, bytes, idx] = self.rows;
                    let i = fx.addc(i, k);
                    row(fx, base, bytes, idx, i).0
                })
                .collect();
            self.columns(fx, stride, i, &sources, None, seen)
        });
        // The last rows: others of the group are read from the last one and cleared.
        let last = fx.carry([main, self.live, step], &seen, |fx, i, seen| {
            let most = fx.addc(self.live, -1);
            let (mut sources, mut keep) = (Vec::new(), Vec::new());
            for k in 0..group {
                let [base, bytes, idx] = self.rows;
                let number = fx.addc(i, k);
                let there = fx.b.ins().icmp(IntCC::SignedLessThan, number, self.live);
                let there = fx.b.ins().uextend(types::I32, there);
                keep.push(fx.b.ins().ineg(there));
                let number = fx.b.ins().smin(number, most);
                sources.push(row(fx, base, bytes, idx, number).0);
            }
            self.columns(fx, stride, i, &sources, Some(&keep), seen)
        });
        let filled = fx.groups(self.live, group);
        let filled = fx.mulc(filled, group);
        let width = fx.int(self.width);
        fx.upto(width, |fx, d| {
            let to = fx.mulc(d, stride * SIZE);
            let to = fx.add(self.dst, to);
            fx.each(filled, end, group, |fx, i| {
                let off = fx.mulc(i, SIZE);
                let to = fx.add(to, off);
                let zero = fx.splat_int(0);
                fx.store(zero, to, 0);
            });
        });
        last
    }

    /// Eight rows as the columns from `i` on; `keep`: all ones or zeros for each row.
    fn columns(
        &self,
        fx: &mut Fx<'_>,
        stride: i64,
        i: Value,
        sources: &[Value],
        keep: Option<&[Value]>,
        seen: &[Value],
    ) -> Vec<Value> {
        let off = fx.mulc(i, SIZE);
        let start = fx.add(self.dst, off);
        self.spans(fx, seen, |fx, s, seen| {
            let mut seen = seen.to_vec();
            let mut x = Vec::new();
            for (k, from) in sources.iter().enumerate() {
                let (p, off) = s.at(fx, *from, SIZE);
                let y = if s.one {
                    let y = fx.load(types::I16, p, off);
                    match keep {
                        Some(keep) => {
                            let keep = fx.b.ins().ireduce(types::I16, keep[k]);
                            fx.b.ins().band(y, keep)
                        }
                        None => y,
                    }
                } else {
                    let y = fx.load(types::I32X4, p, off);
                    let y = match keep {
                        Some(keep) => {
                            let keep = fx.b.ins().splat(types::I32X4, keep[k]);
                            fx.b.ins().band(y, keep)
                        }
                        None => y,
                    };
                    fx.bits(y, types::I16X8)
                };
                seen = watch(fx, s.one, y, &seen);
                x.push(y);
            }
            let (to, off) = s.at(fx, start, stride * SIZE);
            if s.one {
                for (k, y) in x.iter().enumerate() {
                    fx.store(*y, to, off + k as i32 * SIZE as i32);
                }
            } else {
                for (j, y) in transpose(fx, &x).into_iter().enumerate() {
                    fx.store(y, to, off + (j as i64 * stride * SIZE) as i32);
                }
            }
            seen
        })
    }
}

/// Keeps the largest magnitude.
fn watch(fx: &mut Fx<'_>, one: bool, x: Value, seen: &[Value]) -> Vec<Value> {
    if one {
        let x = fx.b.ins().uextend(types::I32, x);
        let mask = fx.int32(0x7fff);
        let x = fx.b.ins().band(x, mask);
        return vec![seen[0], fx.b.ins().umax(seen[1], x)];
    }
    let mask = fx.splat_int(0x7fff_7fff);
    let mask = fx.bits(mask, types::I16X8);
    let x = fx.b.ins().band(x, mask);
    // Magnitudes have no sign, and every processor has the signed maximum.
    vec![fx.b.ins().smax(seen[0], x), seen[1]]
}

/// Zeros in elements `lo..hi` of the row at `to`.
fn clear(fx: &mut Fx<'_>, to: Value, lo: i64, hi: i64) {
    let group = i64::from(GROUP);
    let (first, last) = ((lo + group - 1) / group * group, hi / group * group);
    let singles = (lo..first.min(hi)).chain(last.max(first).min(hi)..hi);
    for at in singles {
        let zero = fx.b.ins().iconst(types::I16, 0);
        fx.store(zero, to, (at * SIZE) as i32);
    }
    let (first, last) = (fx.int(first), fx.int(last));
    fx.each(first, last, group, |fx, at| {
        let off = fx.mulc(at, SIZE);
        let to = fx.add(to, off);
        let zero = fx.splat_int(0);
        fx.store(zero, to, 0);
    });
}

/// Turns eight rows of eight into eight columns.
fn transpose(fx: &mut Fx<'_>, x: &[Value]) -> Vec<Value> {
    // Units of 2, 4 and 8 bytes, of neighbours at distance 1, 2 and 4.
    let pairs: Vec<[Value; 2]> = (x.chunks(2))
        .map(|x| [false, true].map(|high| mix(fx, x[0], x[1], SIZE, high)))
        .collect();
    let quads: Vec<[Value; 4]> = (pairs.chunks(2))
        .map(|x| {
            [(0, false), (0, true), (1, false), (1, true)]
                .map(|(half, high)| mix(fx, x[0][half], x[1][half], 2 * SIZE, high))
        })
        .collect();
    (0..8)
        .map(|j| mix(fx, quads[0][j / 2], quads[1][j / 2], 4 * SIZE, j % 2 == 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::careful_from;
    use attnc_tensor::DType;

    #[test]
    fn care_begins_at_the_first_magnitude_that_needs_it() {
        assert_eq!(careful_from(DType::Bf16, 256.0), 0x4380);
        // The next number above 256 is 258.
        assert_eq!(careful_from(DType::Bf16, 256.5), 0x4381);
        assert_eq!(careful_from(DType::F16, 256.0), 0x5c00);
        // Infinity, then what is no number.
        assert_eq!(careful_from(DType::Bf16, f32::INFINITY), 0x7f80);
        assert_eq!(careful_from(DType::F16, f32::NAN), 0x7c01);
    }
}
