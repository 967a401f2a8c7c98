// SPDX-License-Identifier: Apache-2.0 OR MIT
//! One row: the state of a softmax in float64, the pair it finishes as, and how pairs are mixed.
//!
//! In: scores, weights and values, one key at a time. Out: (out, lse), with what `zero_lse = uncovered` asks of a branch. Exponents are
//! natural whatever the graph's base is.

/// (m, l, o) of one row, with what it has seen.
#[derive(Clone, Debug)]
pub(crate) struct State {
    m: f64,
    l: f64,
    o: Vec<f64>,
    /// Keys by weight, zero keys included.
    keys: u64,
    /// The score of the last key.
    score: f64,
}

/// (out, lse) of one row.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) out: Vec<f64>,
    pub(crate) lse: f64,
    /// Whether any key was seen.
    pub(crate) covered: bool,
    /// Whether it was one key of score exactly 0.
    pub(crate) lone_zero: bool,
}

impl State {
    /// Nothing seen; m is finite so that a score of -inf has weight 0.
    pub(crate) fn empty(head_dim: usize) -> State {
        State {
            m: f64::MIN,
            l: 0.0,
            o: vec![0.0; head_dim],
            keys: 0,
            score: f64::NAN,
        }
    }

    /// Takes in a key that counts `weight` times.
    pub(crate) fn take(&mut self, score: f64, weight: u64, value: &[f64]) {
        if weight == 0 {
            return;
        }
        self.rescale(score);
        let e = weight as f64 * (score - self.m).exp();
        self.l += e;
        for (o, v) in self.o.iter_mut().zip(value) {
            *o += e * v;
        }
        self.keys = self.keys.saturating_add(weight);
        self.score = score;
    }

    fn rescale(&mut self, m: f64) {
        let m = m.max(self.m);
        let a = (self.m - m).exp();
        self.l *= a;
        self.o.iter_mut().for_each(|o| *o *= a);
        self.m = m;
    }

    /// The sum of two states.
    pub(crate) fn join(mut self, mut other: State) -> State {
        let m = self.m.max(other.m);
        self.rescale(m);
        other.rescale(m);
        self.l += other.l;
        for (a, b) in self.o.iter_mut().zip(other.o) {
            *a += b;
        }
        if other.keys > 0 {
            self.score = other.score;
        }
        self.keys = self.keys.saturating_add(other.keys);
        self
    }

    /// o / l and m + ln l. Scores that are all -inf leave l = 0: NaN in both.
    pub(crate) fn finish(self) -> Pair {
        if self.keys == 0 {
            return Pair::uncovered(self.o.len());
        }
        let lse = if self.l == 0.0 {
            f64::NAN
        } else {
            self.m + self.l.ln()
        };
        Pair {
            out: self.o.iter().map(|o| o / self.l).collect(),
            lse,
            covered: true,
            lone_zero: self.keys == 1 && self.score == 0.0,
        }
    }
}

impl Pair {
    /// 0 and -inf.
    pub(crate) fn uncovered(head_dim: usize) -> Pair {
        Pair {
            out: vec![0.0; head_dim],
            lse: f64::NEG_INFINITY,
            covered: false,
            lone_zero: false,
        }
    }

    /// The pairs that cover the row, weighted by exp(lse) (semantics, "One softmax over a bag of keys").
    pub(crate) fn merge(pairs: &[&Pair], head_dim: usize) -> Pair {
        let covering: Vec<&&Pair> = pairs.iter().filter(|p| p.covered).collect();
        if covering.is_empty() {
            return Pair::uncovered(head_dim);
        }
        let m = covering.iter().map(|p| p.lse).fold(f64::MIN, f64::max);
        let mut sum = 0.0;
        let mut out = vec![0.0; head_dim];
        for p in covering {
            let alpha = (p.lse - m).exp();
            sum += alpha;
            for (o, x) in out.iter_mut().zip(&p.out) {
                *o += alpha * x;
            }
        }
        out.iter_mut().for_each(|o| *o /= sum);
        Pair {
            out,
            lse: m + sum.ln(),
            covered: true,
            lone_zero: false,
        }
    }

    /// `merge` under zero_lse = uncovered: branches of one key of score 0 count only where no other covers the row; then every branch
    /// weighs 1/branches and lse = -inf.
    pub(crate) fn mix(pairs: &[&Pair], head_dim: usize) -> Pair {
        let left: Vec<&Pair> = pairs.iter().filter(|p| !p.lone_zero).copied().collect();
        if left.iter().any(|p| p.covered) {
            return Pair::merge(&left, head_dim);
        }
        let mut out = vec![0.0; head_dim];
        for p in pairs {
            for (o, x) in out.iter_mut().zip(&p.out) {
                *o += x / pairs.len() as f64;
            }
        }
        Pair {
            out,
            covered: pairs.iter().any(|p| p.covered),
            ..Pair::uncovered(head_dim)
        }
    }
}
