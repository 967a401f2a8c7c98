// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What is known of scalars: intervals, and differences to other scalars, to N and to B.
//!
//! In: definitions, loop headers, conditions. Out: bounds of a value, and whether x <= y + c. Values equal by construction share one
//! number (local value numbering), so that facts about one are facts about all. Three shapes of code are known by name, because
//! their bounds relate three values: `a / b * b`, its rounding up, and `base + i` with i below `end - base`.

mod tasks;

use std::collections::HashMap;

use crate::core::{Arg, Bin, Bound, Range, Val};

/// Most of N and of B.
const MOST: i64 = 1 << 47;
/// How many differences a proof chains.
const DEPTH: u32 = 5;
/// Most differences kept a value.
const KEEP: usize = 12;

/// What is known of one value.
#[derive(Clone, Debug)]
struct Known {
    lo: i64,
    hi: i64,
    /// It is at most (value + c).
    ub: Vec<(u32, i64)>,
    /// It is at least (value + c).
    lb: Vec<(u32, i64)>,
}

impl Known {
    fn any() -> Known {
        Known {
            lo: i64::MIN,
            hi: i64::MAX,
            ub: Vec::new(),
            lb: Vec::new(),
        }
    }
    fn between(lo: i64, hi: i64) -> Known {
        Known {
            lo,
            hi,
            ..Known::any()
        }
    }
}

/// A pure definition.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Const(i64),
    Task,
    Bin(Bin, u32, u32),
}

/// The facts in force.
pub(super) struct Facts {
    /// Value numbers.
    number: Vec<u32>,
    known: Vec<Known>,
    defs: Vec<Option<(Bin, u32, u32)>>,
    /// The same as it is written, also where the result may leave 64 bits.
    written: Vec<Option<(Bin, u32, u32)>>,
    keys: HashMap<Key, u32>,
    added: Vec<Key>,
    undo: Vec<(u32, Known)>,
    n: u32,
    b: u32,
}

/// A place to rewind to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    added: usize,
    undo: usize,
}

/// a + b where neither end is open.
fn plus(a: i64, b: i64) -> i64 {
    a.saturating_add(b)
}

fn clamp(x: i128) -> i64 {
    x.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

impl Facts {
    pub(super) fn new(vals: u32) -> Facts {
        let total = vals as usize + 2;
        let mut known = vec![Known::any(); total];
        for length in &mut known[vals as usize..] {
            *length = Known::between(1, MOST);
        }
        Facts {
            number: (0..total as u32).collect(),
            known,
            defs: vec![None; total],
            written: vec![None; total],
            keys: HashMap::new(),
            added: Vec::new(),
            undo: Vec::new(),
            n: vals,
            b: vals + 1,
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            added: self.added.len(),
            undo: self.undo.len(),
        }
    }

    /// Forgets what was learnt since `mark`.
    pub(super) fn rewind(&mut self, mark: Mark) {
        for key in self.added.drain(mark.added..) {
            self.keys.remove(&key);
        }
        while self.undo.len() > mark.undo {
            if let Some((v, old)) = self.undo.pop() {
                self.known[v as usize] = old;
            }
        }
    }

    fn num(&self, v: Val) -> u32 {
        self.number[v.0 as usize]
    }

    fn k(&self, v: u32) -> &Known {
        &self.known[v as usize]
    }

    /// Makes `v` the value of `key`; false when an equal value is known, whose number it then shares.
    fn fresh(&mut self, v: Val, key: Key) -> bool {
        if let Some(&same) = self.keys.get(&key) {
            self.number[v.0 as usize] = same;
            return false;
        }
        self.keys.insert(key, v.0);
        self.added.push(key);
        true
    }

    /// Enters what is known of a new value, tightened by its differences.
    fn enter(&mut self, v: u32, mut known: Known) {
        for (x, c) in &known.ub {
            let hi = self.k(*x).hi;
            if hi < i64::MAX {
                known.hi = known.hi.min(plus(hi, *c));
            }
        }
        for (x, c) in &known.lb {
            let lo = self.k(*x).lo;
            if lo > i64::MIN {
                known.lo = known.lo.max(plus(lo, *c));
            }
        }
        known.ub.truncate(KEEP);
        known.lb.truncate(KEEP);
        self.known[v as usize] = known;
    }

    /// Lower and upper bound; the ends of i64 where nothing is known.
    pub(super) fn bounds(&self, v: Val) -> (i64, i64) {
        let k = self.k(self.num(v));
        (k.lo, k.hi)
    }

    /// The least provable c with x <= y + c.
    fn above(&self, x: u32, y: u32, depth: u32) -> Option<i64> {
        if x == y {
            return Some(0);
        }
        let (kx, ky) = (self.k(x), self.k(y));
        let mut best = (kx.hi < i64::MAX && ky.lo > i64::MIN).then(|| kx.hi.saturating_sub(ky.lo));
        if depth == 0 {
            return best;
        }
        let mut take = |c: Option<i64>| {
            if let Some(c) = c {
                best = Some(best.map_or(c, |b| b.min(c)));
            }
        };
        for (z, c) in &kx.ub {
            take(self.above(*z, y, depth - 1).map(|d| plus(d, *c)));
        }
        for (z, c) in &ky.lb {
            take(self.above(x, *z, depth - 1).map(|d| d.saturating_sub(*c)));
        }
        best
    }

    /// Whether x <= y + c.
    pub(super) fn at_most(&self, x: Val, y: Val, c: i64) -> bool {
        self.above(self.num(x), self.num(y), DEPTH)
            .is_some_and(|d| d <= c)
    }

    /// Whether v lies in `range`.
    pub(super) fn within(&self, v: Val, range: Range) -> bool {
        let (lo, hi) = self.bounds(v);
        let below = |length: u32, c: i64| {
            self.above(self.num(v), length, DEPTH)
                .is_some_and(|d| d <= c)
        };
        lo >= range.lo
            && match range.hi {
                Bound::Const(c) => hi <= c,
                Bound::SeqLen(c) => below(self.n, c),
                Bound::Batch(c) => below(self.b, c),
            }
    }

    /// Whether v <= B + c.
    pub(super) fn below_batch(&self, v: Val, c: i64) -> bool {
        let range = Range {
            lo: i64::MIN,
            hi: Bound::Batch(c),
        };
        self.within(v, range)
    }

    pub(super) fn constant(&mut self, v: Val, x: i64) {
        if self.fresh(v, Key::Const(x)) {
            self.enter(v.0, Known::between(x, x));
        }
    }

    pub(super) fn arg(&mut self, v: Val, a: Arg) {
        match a {
            Arg::SeqLen => self.number[v.0 as usize] = self.n,
            Arg::Batch => self.number[v.0 as usize] = self.b,
            Arg::Task => {
                if self.fresh(v, Key::Task) {
                    self.enter(v.0, Known::between(0, i64::MAX));
                }
            }
        }
    }

    pub(super) fn interval(&mut self, v: Val, lo: i64, hi: i64) {
        self.enter(v.0, Known::between(lo, hi));
    }

    /// A value read from something with a promised range.
    pub(super) fn ranged(&mut self, v: Val, range: Option<Range>) {
        let mut known = Known::any();
        if let Some(r) = range {
            known.lo = r.lo;
            match r.hi {
                Bound::Const(c) => known.hi = c,
                Bound::SeqLen(c) => known.ub.push((self.n, c)),
                Bound::Batch(c) => known.ub.push((self.b, c)),
            }
        }
        self.enter(v.0, known);
    }

    /// The variable of a loop from lo to hi: `step` of a `for`, none for a walk.
    pub(super) fn loop_value(&mut self, v: Val, lo: Val, hi: Val, step: Option<Val>) {
        let (l, h) = (self.num(lo), self.num(hi));
        let (first, end) = (self.k(l).clone(), self.k(h).clone());
        let mut known = Known::between(first.lo, end.hi.saturating_sub(1));
        known.lb.push((l, 0));
        known.ub.push((h, -1));
        if let Some(step) = step {
            let (s, s_hi) = self.bounds(step);
            // With constant start and step the last value is a whole number of steps away.
            if s == s_hi
                && s >= 1
                && first.lo == first.hi
                && known.hi >= first.lo
                && end.hi < i64::MAX
            {
                known.hi = first.lo + (known.hi - first.lo) / s * s;
            }
        }
        self.enter(v.0, known);
        // The body runs only while there is such a value, so the end lies behind it.
        self.order(v.0, h, -1);
    }

    pub(super) fn select(&mut self, v: Val, a: Val, b: Val) {
        let (a, b) = (self.num(a), self.num(b));
        let known = self.hull(a, b);
        self.enter(v.0, known);
    }

    /// What holds of both a and b.
    fn hull(&self, a: u32, b: u32) -> Known {
        let (ka, kb) = (self.k(a), self.k(b));
        let mut known = Known::between(ka.lo.min(kb.lo), ka.hi.max(kb.hi));
        known.ub = self.common_ub(a, b);
        known.lb = self.common_lb(a, b);
        known
    }

    /// Differences that bound both from above.
    fn common_ub(&self, a: u32, b: u32) -> Vec<(u32, i64)> {
        let bases = self.k(a).ub.iter().chain(&self.k(b).ub).map(|(x, _)| *x);
        let bases = bases.chain([a, b, self.n]);
        let mut out: Vec<(u32, i64)> = Vec::new();
        for x in bases {
            if out.iter().all(|(y, _)| *y != x)
                && let (Some(c), Some(d)) = (self.above(a, x, 3), self.above(b, x, 3))
            {
                out.push((x, c.max(d)));
            }
        }
        out
    }

    /// Differences that bound both from below.
    fn common_lb(&self, a: u32, b: u32) -> Vec<(u32, i64)> {
        let bases = self.k(a).lb.iter().chain(&self.k(b).lb).map(|(x, _)| *x);
        let mut out: Vec<(u32, i64)> = Vec::new();
        for x in bases.chain([a, b]) {
            if out.iter().all(|(y, _)| *y != x)
                && let (Some(c), Some(d)) = (self.above(x, a, 3), self.above(x, b, 3))
            {
                out.push((x, c.max(d).saturating_neg()));
            }
        }
        out
    }

    pub(super) fn bin(&mut self, v: Val, op: Bin, a: Val, b: Val) {
        let (a, b) = (self.num(a), self.num(b));
        if !self.fresh(v, Key::Bin(op, a, b)) {
            return;
        }
        self.written[v.0 as usize] = Some((op, a, b));
        let (ka, kb) = (self.k(a).clone(), self.k(b).clone());
        let any = Known::any;
        let mut known = match op {
            Bin::Add => self.sum(a, b),
            Bin::Sub => {
                let mut k = any();
                if ka.hi < i64::MAX && kb.lo > i64::MIN {
                    k.hi = ka.hi.saturating_sub(kb.lo);
                }
                if ka.lo > i64::MIN && kb.hi < i64::MAX {
                    k.lo = ka.lo.saturating_sub(kb.hi);
                }
                if let Some(c) = self.above(a, b, DEPTH) {
                    k.hi = k.hi.min(c);
                }
                if let Some(c) = self.above(b, a, DEPTH) {
                    k.lo = k.lo.max(c.saturating_neg());
                }
                if kb.lo > i64::MIN {
                    k.ub.push((a, kb.lo.saturating_neg()));
                }
                if kb.hi < i64::MAX {
                    k.lb.push((a, kb.hi.saturating_neg()));
                }
                k
            }
            Bin::Mul => self.product(a, b),
            Bin::Div if ka.lo >= 0 && kb.lo >= 1 => {
                let mut k = Known::between(ka.lo / kb.hi, ka.hi / kb.lo);
                k.ub.push((a, 0));
                if self.rounded_up(a, b).is_some_and(|x| self.k(x).lo >= 1) {
                    k.lo = k.lo.max(1);
                }
                k
            }
            Bin::Rem if ka.lo >= 0 && kb.lo >= 1 => {
                let mut k = Known::between(0, ka.hi.min(kb.hi - 1));
                k.ub.extend([(b, -1), (a, 0)]);
                k
            }
            Bin::Div | Bin::Rem => any(),
            Bin::Min => {
                let mut k = Known::between(ka.lo.min(kb.lo), ka.hi.min(kb.hi));
                k.ub.extend([(a, 0), (b, 0)]);
                k.lb = self.common_lb(a, b);
                k
            }
            Bin::Max => {
                let mut k = Known::between(ka.lo.max(kb.lo), ka.hi.max(kb.hi));
                k.lb.extend([(a, 0), (b, 0)]);
                k.ub = self.common_ub(a, b);
                k
            }
            Bin::And => match (ka.lo >= 0, kb.lo >= 0) {
                (true, true) => Known::between(0, ka.hi.min(kb.hi)),
                (true, false) => Known::between(0, ka.hi),
                (false, true) => Known::between(0, kb.hi),
                (false, false) => any(),
            },
            Bin::Or if ka.lo >= 0 && kb.lo >= 0 => {
                // No bit above the highest of either.
                let bits = 64 - ka.hi.max(kb.hi).leading_zeros();
                let most = (1i128 << bits) - 1;
                Known::between(ka.lo.max(kb.lo), clamp(most))
            }
            Bin::Shl if ka.lo >= 0 && (0..=62).contains(&kb.hi) && kb.lo >= 0 => {
                let most = i128::from(ka.hi) << kb.hi;
                if most <= i128::from(i64::MAX) {
                    Known::between(ka.lo << kb.lo, most as i64)
                } else {
                    any()
                }
            }
            Bin::Shr if ka.lo >= 0 && (0..=63).contains(&kb.lo) => {
                Known::between(0, ka.hi >> kb.lo)
            }
            Bin::Or | Bin::Shl | Bin::Shr => any(),
            Bin::Eq | Bin::Lt | Bin::Le => Known::between(0, 1),
        };
        // The shapes known by name and every difference are about numbers that have not wrapped around.
        if self.may_wrap(op, &ka, &kb, &known) {
            known = any();
        } else {
            self.defs[v.0 as usize] = Some((op, a, b));
        }
        self.enter(v.0, known);
    }

    /// Whether a sum, difference or product of `a` and `b`, of which `known` would hold, may leave 64 bits.
    fn may_wrap(&self, op: Bin, a: &Known, b: &Known, known: &Known) -> bool {
        let [al, ah, bl, bh] = [a.lo, a.hi, b.lo, b.hi].map(i128::from);
        let (mut lo, mut hi) = match op {
            Bin::Add => (al + bl, ah + bh),
            Bin::Sub => (al - bh, ah - bl),
            Bin::Mul => {
                let corners = [al * bl, al * bh, ah * bl, ah * bh];
                corners
                    .iter()
                    .fold((i128::MAX, i128::MIN), |(l, h), x| (l.min(*x), h.max(*x)))
            }
            Bin::Div
            | Bin::Rem
            | Bin::Min
            | Bin::Max
            | Bin::And
            | Bin::Or
            | Bin::Shl
            | Bin::Shr
            | Bin::Eq
            | Bin::Lt
            | Bin::Le => return false,
        };
        for (x, c) in &known.ub {
            hi = hi.min(i128::from(self.k(*x).hi) + i128::from(*c));
        }
        for (x, c) in &known.lb {
            lo = lo.max(i128::from(self.k(*x).lo) + i128::from(*c));
        }
        lo < i128::from(i64::MIN) || hi > i128::from(i64::MAX)
    }

    /// Values that x is at most, with their differences, up to `depth` steps away.
    fn reach(&self, x: u32, c: i64, depth: u32, out: &mut Vec<(u32, i64)>) {
        out.push((x, c));
        if depth > 0 {
            for (y, d) in &self.k(x).ub {
                self.reach(*y, plus(c, *d), depth - 1, out);
            }
        }
    }

    fn sum(&self, a: u32, b: u32) -> Known {
        let (ka, kb) = (self.k(a), self.k(b));
        let mut k = Known::any();
        for (x, y) in [(a, kb), (b, ka)] {
            if y.hi < i64::MAX {
                k.ub.push((x, y.hi));
            }
            if y.lo > i64::MIN {
                k.lb.push((x, y.lo));
            }
        }
        // base + i where i <= (end - base) + c.
        for (base, i) in [(a, b), (b, a)] {
            let mut reached = Vec::new();
            self.reach(i, 0, 3, &mut reached);
            for (z, c) in reached {
                if let Some((Bin::Sub, end, from)) = self.defs[z as usize]
                    && from == base
                {
                    k.ub.insert(0, (end, c));
                }
            }
        }
        k
    }

    /// x when `a` is (x + b) - 1 or b + x - 1, that is when a / b is x / b rounded up.
    fn rounded_up(&self, a: u32, b: u32) -> Option<u32> {
        let (Bin::Add, s, minus) = self.defs[a as usize]? else {
            return None;
        };
        let k = self.k(minus);
        let (Bin::Add, x, y) = self.defs[s as usize]? else {
            return None;
        };
        if (k.lo, k.hi) != (-1, -1) {
            None
        } else if y == b {
            Some(x)
        } else {
            (x == b).then_some(y)
        }
    }

    fn product(&self, a: u32, b: u32) -> Known {
        let (ka, kb) = (self.k(a), self.k(b));
        let corner = |x: i64, y: i64| i128::from(x) * i128::from(y);
        let corners = [
            corner(ka.lo, kb.lo),
            corner(ka.lo, kb.hi),
            corner(ka.hi, kb.lo),
            corner(ka.hi, kb.hi),
        ];
        let least = corners.iter().copied().fold(i128::MAX, i128::min);
        let most = corners.iter().copied().fold(i128::MIN, i128::max);
        let mut k = Known::between(clamp(least), clamp(most));
        if ka.lo < 0 || kb.lo < 1 {
            return k;
        }
        k.lb.push((a, 0));
        let mut reached = Vec::new();
        self.reach(a, 0, 4, &mut reached);
        for (z, c) in reached {
            let Some((Bin::Div, num, den)) = self.defs[z as usize] else {
                continue;
            };
            let fits = den == b || self.above(b, den, 3).is_some_and(|d| d <= 0);
            // a <= num / den and b <= den, so a * b <= num.
            if c <= 0 && fits && self.k(num).lo >= 0 {
                k.ub.insert(0, (num, 0));
            }
            if den == b
                && let Some(x) = self.rounded_up(num, b)
            {
                if z == a {
                    // ceil(x / b) * b >= x.
                    k.lb.push((x, 0));
                }
                if c <= -1 {
                    // a <= ceil(x / b) - 1, so a * b <= x - 1.
                    k.ub.insert(0, (x, -1));
                }
            }
        }
        k
    }

    /// Takes for granted that `cond` is not 0 (or is 0).
    pub(super) fn assume(&mut self, cond: Val, when: bool) {
        self.assume_number(self.num(cond), when);
    }

    fn assume_number(&mut self, cond: u32, when: bool) {
        let Some((op, a, b)) = self.defs[cond as usize] else {
            return;
        };
        match (op, when) {
            (Bin::Lt, true) => self.order(a, b, -1),
            (Bin::Lt, false) => self.order(b, a, 0),
            (Bin::Le, true) => self.order(a, b, 0),
            (Bin::Le, false) => self.order(b, a, -1),
            (Bin::Eq, true) => {
                self.order(a, b, 0);
                self.order(b, a, 0);
                // x == 0 says that the condition x does not hold.
                if (self.k(b).lo, self.k(b).hi) == (0, 0) {
                    self.assume_number(a, false);
                }
            }
            (Bin::Eq, false) => {
                if (self.k(b).lo, self.k(b).hi) == (0, 0) {
                    self.assume_number(a, true);
                }
            }
            (Bin::And, true) => {
                self.assume_number(a, true);
                self.assume_number(b, true);
            }
            (
                Bin::Add
                | Bin::Sub
                | Bin::Mul
                | Bin::Div
                | Bin::Rem
                | Bin::Min
                | Bin::Max
                | Bin::And
                | Bin::Or
                | Bin::Shl
                | Bin::Shr,
                _,
            ) => {}
        }
    }

    /// Learns x <= y + c.
    fn order(&mut self, x: u32, y: u32, c: i64) {
        if x == y {
            return;
        }
        for v in [x, y] {
            self.undo.push((v, self.k(v).clone()));
        }
        let (hi, lo) = (self.k(y).hi, self.k(x).lo);
        let kx = &mut self.known[x as usize];
        kx.ub.insert(0, (y, c));
        if hi < i64::MAX {
            kx.hi = kx.hi.min(plus(hi, c));
        }
        let ky = &mut self.known[y as usize];
        ky.lb.insert(0, (x, c.saturating_neg()));
        if lo > i64::MIN {
            ky.lo = ky.lo.max(lo.saturating_sub(c));
        }
    }
}
