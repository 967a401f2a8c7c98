// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What moves, and the calls that move it.
//!
//! In: programs of one level. Out: a guest with their calls, and every byte as it follows from the meaning of the move.

use attnc_tests::bochs::{Arg, Buffer, Image};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::made::{CAREFUL, KEYS, LANES, Made, OLD};

/// A row that is not there: -1 in a list.
const MISSING: usize = usize::MAX;

/// Rows of a tensor, `gap` elements behind each but the last.
pub(crate) struct Rows {
    pub(crate) elements: Vec<Vec<u32>>,
    pub(crate) gap: usize,
}

impl Rows {
    /// Either anything, or numbers below [`CAREFUL`], or those and one that is not.
    pub(crate) fn draw(m: Made, d: usize, kind: u32, random: &mut ChaCha8Rng) -> Rows {
        let number = |random: &mut ChaCha8Rng| {
            let x: f32 = random.random_range(-990.0..990.0);
            m.narrowed(x.to_bits())
        };
        let any = |random: &mut ChaCha8Rng| m.narrowed_any(random.random());
        let mut elements: Vec<Vec<u32>> = (0..40)
            .map(|_| {
                let draw = |_| {
                    if kind == 0 {
                        any(random)
                    } else {
                        number(random)
                    }
                };
                (0..d).map(draw).collect()
            })
            .collect();
        if kind == 2 {
            let at = random.random_range(0..d);
            // Several rows have it: not all of them are asked for.
            for row in elements.iter_mut().step_by(7) {
                row[at] = m.narrowed((-CAREFUL).to_bits());
            }
        }
        Rows {
            elements,
            gap: d % 3,
        }
    }

    pub(crate) fn row_bytes(&self, m: Made) -> i64 {
        let row = self.elements[0].len() + self.gap;
        (row * m.dtype.bytes()) as i64
    }

    /// What lies behind a row is [`OLD`].
    pub(crate) fn bytes(&self, m: Made) -> Vec<u8> {
        let d = self.elements[0].len();
        let count = self.elements.len() * (d + self.gap) - self.gap;
        let mut bytes = vec![OLD; count * m.dtype.bytes()];
        for (i, row) in self.elements.iter().enumerate() {
            for (e, x) in row.iter().enumerate() {
                m.put(&mut bytes, i * (d + self.gap) + e, *x);
            }
        }
        bytes
    }
}

/// A float of which rounding has to think: near what halves can be, halfway between them, tiny, or anything.
pub(crate) fn float(m: Made, random: &mut ChaCha8Rng) -> u32 {
    let some = m.widened(m.narrowed_any(random.random()));
    match random.random_range(0..4) {
        0 => random.random(),
        1 => some.wrapping_add(
            [1, 0xfff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001][random.random_range(0..7)],
        ),
        2 => random.random_range(-3.0..3.0f32).to_bits(),
        _ => {
            (random.random_range(-1.0..1.0f32) * 2f32.powi(-random.random_range(10..30))).to_bits()
        }
    }
}

/// What calls are to leave.
pub(crate) struct Guest {
    pub(crate) image: Image,
    pub(crate) wanted: Vec<(String, Buffer, Vec<u8>)>,
}

impl Guest {
    pub(crate) fn list(&mut self, numbers: &[usize]) -> Arg {
        let bytes: Vec<u8> = numbers
            .iter()
            .flat_map(|x| (*x as i64).to_le_bytes())
            .collect();
        Arg::At(self.image.constant(&bytes, 8))
    }

    /// A buffer of `before` that is to become `after`.
    pub(crate) fn expect(
        &mut self,
        what: &str,
        before: &[u8],
        after: Vec<u8>,
        align: usize,
    ) -> Arg {
        let buffer = self.image.buffer(before, align);
        self.wanted.push((what.to_string(), buffer, after));
        Arg::At(buffer)
    }

    /// A flag that is to be raised where one of `seen` needs care; none for some.
    pub(crate) fn flag(&mut self, what: &str, m: Made, mut seen: impl Iterator<Item = u32>) -> Arg {
        let care = |x: u32| {
            let x = f32::from_bits(m.widened(x)).abs();
            x.is_nan() || x >= CAREFUL
        };
        let raised = i64::from(seen.any(care));
        self.expect(
            &format!("flag of {what}"),
            &[0; 8],
            raised.to_le_bytes().to_vec(),
            8,
        )
    }

    /// A gather that makes `count` elements of `size` bytes, of which `place` knows those that it writes.
    pub(crate) fn gather(
        &mut self,
        (m, d, kind): (Made, usize, &str),
        rows: &Rows,
        order: &[usize],
        (count, size): (usize, usize),
        place: impl Fn(usize) -> Option<u32>,
    ) {
        let what = format!("{} of {} rows", m.name(d, kind), order.len());
        let before = vec![OLD; count * size];
        let mut after = before.clone();
        for i in 0..count {
            if let Some(bits) = place(i) {
                after[i * size..][..size].copy_from_slice(&bits.to_le_bytes()[..size]);
            }
        }
        let dst = self.expect(&what, &before, after, 64);
        let base = self.image.constant(&rows.bytes(m), m.dtype.bytes());
        let idx = self.list(order);
        let there = order.iter().filter(|i| **i != MISSING);
        let seen = there.flat_map(|i| rows.elements[*i].iter().copied());
        let flag = self.flag(&what, m, seen);
        let live = Arg::Int(order.len() as i64);
        let bytes = Arg::Int(rows.row_bytes(m));
        self.image.call(
            &m.name(d, kind),
            &[dst, Arg::At(base), bytes, idx, live, flag],
        );
        // The same without a flag.
        self.image.call(
            &m.name(d, kind),
            &[dst, Arg::At(base), bytes, idx, live, Arg::Int(0)],
        );
    }

    /// Rows that become `value` of (row among those asked for, element), by a move with the last argument `last`.
    pub(crate) fn write(
        &mut self,
        (m, d, kind): (Made, usize, &str),
        rows: &Rows,
        order: &[usize],
        last: Arg,
        value: impl Fn(usize, usize) -> u32,
    ) {
        let what = format!("{} of {} rows", m.name(d, kind), order.len());
        let before = rows.bytes(m);
        let mut after = before.clone();
        for (i, row) in order.iter().enumerate() {
            for e in 0..d {
                m.put(&mut after, row * (d + rows.gap) + e, value(i, e));
            }
        }
        let base = self.expect(&what, &before, after, m.dtype.bytes());
        let idx = self.list(order);
        let live = Arg::Int(order.len() as i64);
        let bytes = Arg::Int(rows.row_bytes(m));
        self.image
            .call(&m.name(d, kind), &[base, bytes, idx, live, last]);
    }

    pub(crate) fn halves(&mut self, m: Made, d: usize, rows: &Rows, order: &[usize]) {
        let live = order.len();
        let end = live.next_multiple_of(32);
        let element = |key: usize, e: usize| {
            let there = key < live && e < d;
            if there {
                rows.elements[order[key]][e]
            } else {
                0
            }
        };
        let pitch = Made::pitch(d);
        let kind = format!("keep_{}_padded{pitch}_{d}", m.dtype);
        self.gather((m, d, &kind), rows, order, (KEYS * pitch, 2), |i| {
            (i / pitch < end).then(|| element(i / pitch, i % pitch))
        });
        let kind = format!("keep_{}_transposed{KEYS}_{d}", m.dtype);
        self.gather((m, d, &kind), rows, order, (KEYS * d, 2), |i| {
            (i % KEYS < end).then(|| element(i % KEYS, i / KEYS))
        });
    }

    pub(crate) fn floats(
        &mut self,
        m: Made,
        d: usize,
        rows: &Rows,
        order: &[usize],
        random: &mut ChaCha8Rng,
    ) {
        let live = order.len();
        let end = live.next_multiple_of(8);
        let element = |order: &[usize], i: usize, e: usize| match order.get(i) {
            None | Some(&MISSING) => 0,
            Some(row) => m.widened(rows.elements[*row][e]),
        };
        let kind = format!("gather_{}_rows_{d}", m.dtype);
        self.gather((m, d, &kind), rows, order, (KEYS * d, 4), |i| {
            (i / d < end).then(|| element(order, i / d, i % d))
        });
        let order = &order[..live.min(LANES)];
        let end = end.min(LANES);
        // Queries can be missing.
        let mut some = order.to_vec();
        some.iter_mut()
            .skip(d % 5)
            .step_by(5)
            .for_each(|i| *i = MISSING);
        let kind = format!("gather_{}_cols{LANES}_{d}", m.dtype);
        self.gather((m, d, &kind), rows, &some, (LANES * d, 4), |i| {
            (i % LANES < end).then(|| element(&some, i % LANES, i / LANES))
        });
        // Written rows are different ones.
        let mut order: Vec<usize> = order.to_vec();
        order.sort_unstable_by_key(|i| i * 17 % 40);
        order.dedup();
        let tile: Vec<u32> = (0..LANES * d).map(|_| float(m, random)).collect();
        let bytes: Vec<u8> = tile.iter().flat_map(|x| x.to_le_bytes()).collect();
        let src = Arg::At(self.image.constant(&bytes, 64));
        let kind = format!("scatter_{}_cols{LANES}_{d}", m.dtype);
        self.write((m, d, &kind), rows, &order, src, |i, e| {
            m.narrowed(tile[e * LANES + i])
        });
        let value = float(m, random);
        let kind = format!("fill_{}_{d}", m.dtype);
        let last = Arg::Int(i64::from(value));
        self.write((m, d, &kind), rows, &order, last, |_, _| m.narrowed(value));
    }
}
