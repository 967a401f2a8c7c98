// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Attends: over the gathered rows of one branch, and over a bag of keys of the whole sequence.
//!
//! In: q, k, v and a bag. Out: the state of every row. A bag counts each key: c[h,n,m] = sum of the weights of the terms in which row n
//! sees key m (semantics.md, "Which keys a query sees").

use attnc_graph::{Branch, Exponential, Once, RowMap};

use super::state::State;
use super::unfused::dot;
use super::{Bag, Dense, Sizes};

/// The factor of q.k with the exponential in base e.
fn natural(e: Exponential) -> f64 {
    if e.base2 {
        e.scale * std::f64::consts::LN_2
    } else {
        e.scale
    }
}

/// The states of a branch's rows over the rows of their segments.
pub(crate) fn local(
    z: &Sizes<'_>,
    branch: Branch,
    e: Exponential,
    [q, k, v]: [&Vec<Vec<f64>>; 3],
) -> Vec<State> {
    let scale = natural(e);
    let mut out = Vec::with_capacity(q.len());
    for (b, h, s) in z.segments(branch) {
        let grid = z.grid(branch, h);
        let at = z.segment_at(&grid, b, h, s);
        for i in 0..grid.rows() {
            let mut state = State::empty(z.head_dim());
            for j in (0..grid.rows()).filter(|j| grid.sees(s as u64, i, *j)) {
                let key = at + j as usize;
                state.take(scale * dot(&q[at + i as usize], &k[key]), 1, &v[key]);
            }
            out.push(state);
        }
    }
    out
}

/// The states of all rows over a bag.
pub(crate) fn attend(
    z: &Sizes<'_>,
    e: Exponential,
    [q, k, v]: [&Dense; 3],
    bags: &[Bag],
) -> Vec<State> {
    let scale = natural(e);
    let mut out = Vec::with_capacity(z.batch * z.heads() * z.seq_len);
    for b in 0..z.batch {
        for h in 0..z.heads() {
            for n in 0..z.seq_len {
                let row = Row {
                    z,
                    b,
                    h,
                    n,
                    scale,
                    x: [q, k, v],
                };
                let mut state = State::empty(z.head_dim());
                for bag in bags {
                    match bag {
                        Bag::Dense(w) => row.keys(&mut state, |_| u64::from(*w)),
                        Bag::Once(o) if o.map == RowMap::Aligned => row.once(&mut state, o),
                        Bag::Once(o) => row.displaced(&mut state, o),
                    }
                }
                out.push(state);
            }
        }
    }
    out
}

/// One row of the sequence.
struct Row<'a> {
    z: &'a Sizes<'a>,
    b: usize,
    h: usize,
    n: usize,
    scale: f64,
    x: [&'a Dense; 3],
}

impl Row<'_> {
    fn read(&self, x: usize, n: usize) -> &[f64] {
        self.z.read(self.x[x], self.b, self.h, n)
    }

    /// Takes in every key that the row may see, as often as `count` says.
    fn keys(&self, state: &mut State, count: impl Fn(usize) -> u64) {
        let end = if self.z.header.causal {
            self.n + 1
        } else {
            self.z.seq_len
        };
        for m in 0..end {
            let count = count(m);
            if count > 0 {
                let score = self.scale * dot(self.read(0, self.n), self.read(1, m));
                state.take(score, count, self.read(2, m));
            }
        }
    }

    /// Each distinct key once, with its count; zero keys by their number.
    fn once(&self, state: &mut State, o: &Once) {
        let zero = vec![0.0; self.z.head_dim()];
        let mut covering = Vec::new();
        for t in &o.terms {
            let grid = self.z.grid(t.branch, self.h);
            let Some((s, i)) = grid.row_of(self.n as u64) else {
                continue;
            };
            covering.push((grid, s, u64::from(t.weight)));
            let filled = |j: &u64| grid.position(s, *j).is_none() && grid.sees(s, i, *j);
            let zeros = (0..grid.rows()).filter(filled).count() as u64;
            state.take(0.0, zeros * u64::from(t.weight), &zero);
        }
        self.keys(state, |m| {
            let shown = covering
                .iter()
                .filter(|(grid, s, _)| grid.row_of(m as u64).is_some_and(|(t, _)| t == *s));
            shown.map(|(_, _, w)| w).sum()
        });
    }

    /// Terms one by one: each brings its own query.
    fn displaced(&self, state: &mut State, o: &Once) {
        let zero = vec![0.0; self.z.head_dim()];
        for t in &o.terms {
            let grid = self.z.grid(t.branch, self.h);
            let Some((s, i)) = grid.returns_to(self.n as u64) else {
                continue;
            };
            let at = |x, j| match grid.position(s, j) {
                Some(m) => self.read(x, m as usize),
                None => &zero[..],
            };
            for j in (0..grid.rows()).filter(|j| grid.sees(s, i, *j)) {
                let score = self.scale * dot(at(0, i), at(1, j));
                state.take(score, u64::from(t.weight), at(2, j));
            }
        }
    }
}
