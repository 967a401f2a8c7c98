// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Sums of states: how the states of blocks, groups and branches come together.
//!
//! In: as for the functions beside this file. Out: the tile functions `open`, `settle`, `join`, `mix` and `normalize`. A sum of a few
//! states is plain; a sum of many is compensated, because its roundings would add up.

use super::add as plus;
use super::{Build, EMPTY, Extents, HEAD, ROW, Softmax, c, div, fma, if_eq, max, mul, sub, t};
use crate::core::{Expr, Tile, TileFn, TileTy};

/// The errors of a sum of states: what rounding took from `l` and `o`, to be given back with what comes next.
#[derive(Clone, Copy)]
struct Errors {
    l: Tile,
    o: Tile,
}

/// A state as it is added: the exponent, and `l` and `o` as they come in, already under the weight `d`.
struct Addend {
    m: Expr,
    l: Expr,
    o: Expr,
}

impl Build {
    /// The errors of a sum, as parameters.
    fn errors(&mut self) -> Errors {
        Errors {
            l: self.tile("el", ROW),
            o: self.tile("eo", HEAD),
        }
    }

    /// `c += x`: the commutative monoid of states, and the only statement of it. `x` makes the addend from the row vector
    /// d = exp(x.m - m2). With `errors` the sum is compensated (Knuth's two-sum): however many states are added, their roundings do
    /// not add up.
    fn take_in(
        &mut self,
        softmax: Softmax,
        c: (Tile, Tile, Tile),
        errors: Option<Errors>,
        x: impl FnOnce(Tile) -> Addend,
    ) {
        let (m2, a, d) = (
            self.temp("m2", ROW),
            self.temp("a", ROW),
            self.temp("d", ROW),
        );
        let x = x(d);
        self.map(m2, max(x.m.clone(), t(c.0)));
        self.map(a, softmax.exp(sub(t(c.0), t(m2))));
        self.map(d, softmax.exp(sub(x.m, t(m2))));
        self.add(c.1, a, errors.map(|e| e.l), x.l, ROW);
        self.add(c.2, a, errors.map(|e| e.o), x.o, HEAD);
        self.map(c.0, t(m2));
    }

    /// `sum = sum * a + x`, with `error` exactly but for roundings of `x`'s own size.
    fn add(&mut self, sum: Tile, a: Tile, error: Option<Tile>, x: Expr, ty: TileTy) {
        let Some(error) = error else {
            return self.map(sum, fma(t(sum), t(a), x));
        };
        let (old, new) = (
            self.temp(&format!("old{}", sum.0), ty),
            self.temp(&format!("new{}", sum.0), ty),
        );
        self.map(old, mul(t(sum), t(a)));
        self.map(new, fma(t(error), t(a), x));
        self.map(sum, plus(t(old), t(new)));
        let gain = || sub(t(sum), t(old));
        let lost = plus(sub(t(old), sub(t(sum), gain())), sub(t(new), gain()));
        // A sum that is not finite has no error: it stays infinite.
        let finite = sub(gain(), gain());
        self.map(error, if_eq(finite, c(0.0), lost, c(0.0)));
    }
}

/// `open(cm, cl, co, el, eo, m, l, o; live_q)`: begin a compensated sum with a state, which is left empty under its exponent.
pub fn open(e: Extents) -> TileFn {
    let mut b = Build::new("open", e, false);
    let (cm, cl, co) = b.state("c");
    let errors = b.errors();
    let (m, l, o) = b.state("");
    b.map(cm, t(m));
    b.map(cl, t(l));
    b.map(co, t(o));
    for x in [errors.l, errors.o, l, o] {
        b.map(x, c(0.0));
    }
    b.f
}

/// `settle(cm, cl, co, el, eo, m, l, o; live_q)`: the compensated sum takes in a state, which is left empty under its exponent. One f32
/// chain over thousands of keys loses more than its bound allows; short chains, each settled, do not.
pub fn settle(e: Extents, softmax: Softmax) -> TileFn {
    let mut b = Build::new("settle", e, false);
    let sum = b.state("c");
    let errors = b.errors();
    let (m, l, o) = b.state("");
    b.take_in(softmax, sum, Some(errors), |d| Addend {
        m: t(m),
        l: mul(t(l), t(d)),
        o: mul(t(o), t(d)),
    });
    b.map(l, c(0.0));
    b.map(o, c(0.0));
    b.f
}

/// `join(cm, cl, co, m, l, o; live_q)`: the first state takes in the second.
pub fn join(e: Extents, softmax: Softmax) -> TileFn {
    let mut b = Build::new("join", e, false);
    let sum = b.state("c");
    let (m, l, o) = b.state("");
    b.take_in(softmax, sum, None, |d| Addend {
        m: t(m),
        l: mul(t(l), t(d)),
        o: mul(t(o), t(d)),
    });
    b.f
}

/// `normalize(m, l, o; live_q)`: the state of the pair (out, lse): o / l, sum 1, exponent lse. What an unfused merge works on.
pub fn normalize(e: Extents, softmax: Softmax) -> TileFn {
    let mut b = Build::new("normalize", e, false);
    let (m, l, o) = b.state("");
    b.map(o, if_eq(t(l), c(0.0), t(o), div(t(o), t(l))));
    b.map(m, if_eq(t(l), c(0.0), t(m), plus(t(m), softmax.log(t(l)))));
    b.map(l, if_eq(t(l), c(0.0), c(0.0), c(1.0)));
    b.f
}

/// `mix(cm, cl, co, [el, eo,] fb, seen, m, l, o, one; live_q)`: `join`, or with `errors` `settle`, under zero_lse = uncovered. A branch
/// that shows a row exactly one key (`one` = 1) of score exactly 0 does not cover it: its output goes to the fallback sum `fb` instead;
/// `seen` counts the others.
pub fn mix(e: Extents, softmax: Softmax, errors: bool) -> TileFn {
    let mut b = Build::new("mix", e, false);
    let sum = b.state("c");
    let errors = errors.then(|| b.errors());
    let fb = b.tile("fb", HEAD);
    let seen = b.tile("seen", ROW);
    let (m, l, o) = b.state("");
    let one = b.tile("one", ROW);
    let h = b.temp("h", ROW);
    b.map(
        h,
        if_eq(t(one), c(1.0), if_eq(t(m), c(0.0), c(1.0), c(0.0)), c(0.0)),
    );
    let hidden = |then, els| if_eq(t(h), c(1.0), then, els);
    b.take_in(softmax, sum, errors, |d| Addend {
        m: hidden(c(EMPTY), t(m)),
        l: hidden(c(0.0), mul(t(l), t(d))),
        o: hidden(c(0.0), mul(t(o), t(d))),
    });
    b.map(fb, plus(t(fb), hidden(t(o), c(0.0))));
    b.map(seen, sub(plus(t(seen), c(1.0)), t(h)));
    b.f
}
