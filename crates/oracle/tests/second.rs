// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A second evaluation of the operator, written another way, against the oracle on random small operators.
//!
//! The oracle asks for each row which progression of keys it sees. Here each branch is laid out as the original code does it: the sequence is cut into
//! segments, every segment filled to g places with zero rows, rows of one phase attend to each other, the results are put back place by place and cut at N.
//! From that come c\[h,n,m\] and z\[n\], and the result by the one formula over all m of the section "One softmax over a bag of keys".
//! Gradients are compared with central differences of this evaluation, with frozen mixing weights for `gradient = detached`.

mod random;

use attnc_oracle::{Inputs, forward, gradients};
use attnc_spec::{Gradient, Offsets, Operator, Ragged, Rows, Segment, ZeroLse};
use attnc_tensor::Tensor;
use random::{Case, Rng, case};

/// What one branch shows one row: the query's position (none for a padding query), for each m whether it is seen, and how many zero keys.
struct Shown {
    query: Option<usize>,
    keys: Vec<bool>,
    zeros: usize,
}

/// For every row of head `h`, what branch `i` shows it; laid out by segments and places.
fn lay_out(op: &Operator, i: usize, h: usize, n: usize) -> Vec<Option<Shown>> {
    let branch = op.branches[i];
    let r = branch.dilation as usize;
    let w = match branch.segment {
        Segment::Finite(w) => (w as usize).min(n),
        Segment::Whole => n,
    };
    let o = match op.profile.offsets {
        Offsets::Modulo => h % r,
        Offsets::Blocked => h / (op.heads as usize).div_ceil(r),
    };
    let zero_keys = op.profile.ragged == Ragged::ZeroKeys;
    let mut g = w;
    while g % r != 0 {
        g += 1;
    }
    let mut rows: Vec<Option<Shown>> = (0..n).map(|_| None).collect();
    for s in 0..n.div_ceil(w) {
        // Place p of the filled segment holds this position, or a zero row.
        let holds: Vec<Option<usize>> = (0..g)
            .map(|p| (p < w && s * w + p < n).then_some(s * w + p))
            .collect();
        for p in (0..g).filter(|p| p % r == o) {
            if holds[p].is_none() && !zero_keys {
                continue;
            }
            let row = match op.profile.rows {
                Rows::Aligned if holds[p].is_none() => continue,
                Rows::Aligned => s * w + p,
                Rows::Displaced => s * g + p,
            };
            if row >= n {
                continue;
            }
            let mut shown = Shown {
                query: holds[p],
                keys: vec![false; n],
                zeros: 0,
            };
            for t in (0..g).filter(|t| t % r == o && (!op.causal || *t <= p)) {
                match holds[t] {
                    Some(m) => shown.keys[m] = true,
                    None => shown.zeros += usize::from(zero_keys),
                }
            }
            assert!(rows[row].is_none(), "two results for one row");
            rows[row] = Some(shown);
        }
    }
    rows
}

/// Row-wise result of the second evaluation.
struct Second {
    /// `[B, N, H, D]`
    out: Vec<f64>,
    /// `[B, H, N]`
    lse: Vec<f64>,
    /// `[B, H, N]`, mixing weights by branch.
    alphas: Vec<Vec<f64>>,
}

struct Data<'a> {
    op: &'a Operator,
    b: usize,
    n: usize,
    q: &'a [f64],
    k: &'a [f64],
    v: &'a [f64],
}

impl Data<'_> {
    fn q_at(&self, b: usize, n: usize, h: usize) -> &[f64] {
        let (hs, d) = (self.op.heads as usize, self.op.head_dim as usize);
        &self.q[((b * self.n + n) * hs + h) * d..][..d]
    }
    fn kv_at<'b>(&self, t: &'b [f64], b: usize, m: usize, h: usize) -> &'b [f64] {
        let (hs, d) = (self.op.kv_heads as usize, self.op.head_dim as usize);
        let kv = h * hs / self.op.heads as usize;
        &t[((b * self.n + m) * hs + kv) * d..][..d]
    }
    fn score(&self, b: usize, h: usize, query: Option<usize>, m: usize) -> f64 {
        let Some(n) = query else { return 0.0 };
        let (q, k) = (self.q_at(b, n, h), self.kv_at(self.k, b, m, h));
        self.op.scale * q.iter().zip(k).map(|(a, b)| a * b).sum::<f64>()
    }
}

/// `frozen`: take these mixing weights instead of the true ones (for the derivative of `gradient = detached`).
fn second(x: &Data<'_>, frozen: Option<&[Vec<f64>]>) -> Second {
    let (op, n, dim) = (x.op, x.n, x.op.head_dim as usize);
    let heads = op.heads as usize;
    let mut y = Second {
        out: vec![0.0; x.b * n * heads * dim],
        lse: vec![f64::NEG_INFINITY; x.b * heads * n],
        alphas: vec![Vec::new(); x.b * heads * n],
    };
    for h in 0..heads {
        let shown: Vec<Vec<Option<Shown>>> = (0..op.branches.len())
            .map(|i| lay_out(op, i, h, n))
            .collect();
        for b in 0..x.b {
            for row in 0..n {
                let here: Vec<Option<&Shown>> = shown.iter().map(|s| s[row].as_ref()).collect();
                one_row(x, (b, h, row), &here, frozen, &mut y);
            }
        }
    }
    y
}

fn one_row(
    x: &Data<'_>,
    (b, h, row): (usize, usize, usize),
    here: &[Option<&Shown>],
    frozen: Option<&[Vec<f64>]>,
    y: &mut Second,
) {
    let (op, n, dim) = (x.op, x.n, x.op.head_dim as usize);
    let at = (b * op.heads as usize + h) * n + row;
    let out = &mut y.out[((b * n + row) * op.heads as usize + h) * dim..][..dim];
    let counts = |s: &&Shown| {
        let seen = s.keys.iter().filter(|&&k| k).count() + s.zeros;
        let only = (0..n)
            .find(|&m| s.keys[m])
            .map_or(0.0, |m| x.score(b, h, s.query, m));
        op.profile.zero_lse == ZeroLse::Covered || seen != 1 || only != 0.0
    };
    if here.iter().flatten().count() == 0 {
        y.alphas[at] = vec![0.0; here.len()];
        return;
    }
    let counted: Vec<Option<&Shown>> = here.iter().map(|s| s.filter(counts)).collect();
    let fallback = counted.iter().flatten().count() == 0;
    // Unnormalised weight of branch i on key m, as a matrix; a common shift keeps the exponentials in range.
    let scores = |s: &Shown| -> Vec<f64> { (0..n).map(|m| x.score(b, h, s.query, m)).collect() };
    let all: Vec<Option<Vec<f64>>> = here.iter().map(|s| s.map(scores)).collect();
    let mut shift = f64::NEG_INFINITY;
    for (s, sc) in here.iter().zip(&all) {
        if let (Some(s), Some(sc)) = (s, sc) {
            (0..n)
                .filter(|&m| s.keys[m])
                .for_each(|m| shift = shift.max(sc[m]));
            if s.zeros > 0 {
                shift = shift.max(0.0);
            }
        }
    }
    let sum_of = |i: usize| -> f64 {
        let (Some(s), Some(sc)) = (here[i], &all[i]) else {
            return 0.0;
        };
        let keys: f64 = (0..n)
            .filter(|&m| s.keys[m])
            .map(|m| (sc[m] - shift).exp())
            .sum();
        keys + s.zeros as f64 * (-shift).exp()
    };
    let total: f64 = (0..here.len())
        .filter(|&i| counted[i].is_some())
        .map(sum_of)
        .sum();
    let alpha_of = |i: usize| match (fallback, counted[i]) {
        (true, _) => 1.0 / here.len() as f64,
        (false, Some(_)) => sum_of(i) / total,
        (false, None) => 0.0,
    };
    y.alphas[at] = (0..here.len()).map(alpha_of).collect();
    if !fallback {
        y.lse[at] = total.ln() + shift;
    }
    let same_query = counted.windows(2).all(|w| match (w[0], w[1]) {
        (Some(a), Some(b)) => a.query == b.query,
        _ => true,
    });
    if !fallback && frozen.is_none() && same_query && op.profile.rows == Rows::Aligned {
        // The one formula: c counts the branches, z the zero keys.
        let mut sum = 0.0;
        for m in 0..n {
            let c = counted.iter().flatten().filter(|s| s.keys[m]).count() as f64;
            if c > 0.0 {
                let e = c * (x.score(b, h, Some(row), m) - shift).exp();
                sum += e;
                let v = x.kv_at(x.v, b, m, h);
                out.iter_mut().zip(v).for_each(|(o, v)| *o += e * v);
            }
        }
        let z: usize = counted.iter().flatten().map(|s| s.zeros).sum();
        sum += z as f64 * (-shift).exp();
        out.iter_mut().for_each(|o| *o /= sum);
        return;
    }
    let alphas = frozen.map_or(&y.alphas[at], |f| &f[at]);
    for i in 0..here.len() {
        let (Some(s), Some(sc)) = (here[i], &all[i]) else {
            continue;
        };
        let sum = sum_of(i);
        for m in (0..n).filter(|&m| s.keys[m] && alphas[i] != 0.0) {
            let p = alphas[i] * (sc[m] - shift).exp() / sum;
            let v = x.kv_at(x.v, b, m, h);
            out.iter_mut().zip(v).for_each(|(o, v)| *o += p * v);
        }
    }
}

fn data<'a>(c: &'a Case) -> Data<'a> {
    Data {
        op: &c.op,
        b: c.b,
        n: c.n,
        q: &c.q,
        k: &c.k,
        v: &c.v,
    }
}

fn tensors(c: &Case) -> [Tensor; 3] {
    let (h, kv, d) = (
        c.op.heads as usize,
        c.op.kv_heads as usize,
        c.op.head_dim as usize,
    );
    [
        Tensor::from_vec(c.q.clone(), &[c.b, c.n, h, d]).unwrap(),
        Tensor::from_vec(c.k.clone(), &[c.b, c.n, kv, d]).unwrap(),
        Tensor::from_vec(c.v.clone(), &[c.b, c.n, kv, d]).unwrap(),
    ]
}

fn close(a: f64, b: f64, tolerance: f64) -> bool {
    a == b || (a - b).abs() <= tolerance * b.abs().max(1.0)
}

#[test]
fn a_thousand_random_operators_agree() {
    let mut rng = Rng::new(1);
    let mut met = random::Met::default();
    for i in 0..1000 {
        let c = case(&mut rng);
        met.count(&c);
        let [q, k, v] = tensors(&c);
        let x = Inputs::new(&c.op, &q.view(), &k.view(), &v.view()).unwrap();
        let got = forward(&c.op, &x, &|_| ()).unwrap();
        let want = second(&data(&c), None);
        for (g, w) in got.lse.to_f64().iter().zip(&want.lse) {
            assert!(
                close(*g, *w, 1e-12),
                "case {i}: lse {g} {w}\n{:?} N={}",
                c.op,
                c.n
            );
        }
        for (g, w) in got.out.to_f64().iter().zip(&want.out) {
            assert!(
                close(*g, *w, 1e-12),
                "case {i}: out {g} {w}\n{:?} N={}",
                c.op,
                c.n
            );
        }
    }
    met.assert_rich(1000);
}

/// The loss whose derivative is compared: <dout, out> + <dlse, lse>.
fn loss(c: &Case, x: &Data<'_>, dout: &[f64], dlse: &[f64], frozen: Option<&[Vec<f64>]>) -> f64 {
    let y = second(x, frozen);
    let out: f64 = y.out.iter().zip(dout).map(|(a, b)| a * b).sum();
    assert_eq!(y.lse.len(), c.b * c.n * c.op.heads as usize);
    let lse = y
        .lse
        .iter()
        .zip(dlse)
        .filter(|(l, _)| **l != f64::NEG_INFINITY);
    out + lse.map(|(a, b)| a * b).sum::<f64>()
}

#[test]
fn gradients_are_the_derivatives() {
    let mut rng = Rng::new(2);
    let (mut exact, mut detached, mut different) = (0, 0, 0);
    for i in 0..120 {
        let mut c = case(&mut rng);
        // Zero rows make branches appear and vanish, where nothing has a derivative; the golden data covers them.
        c.refill(&mut rng, false);
        let [q, k, v] = tensors(&c);
        let dout: Vec<f64> = c.q.iter().map(|_| rng.normal()).collect();
        let dlse: Vec<f64> = (0..c.b * c.n * c.op.heads as usize)
            .map(|_| rng.normal())
            .collect();
        let x = Inputs::new(&c.op, &q.view(), &k.view(), &v.view()).unwrap();
        let dout_t = Tensor::from_vec(dout.clone(), q.shape()).unwrap();
        let dlse_t = Tensor::from_vec(dlse.clone(), &[c.b, c.op.heads as usize, c.n]).unwrap();
        let g = gradients(&c.op, &x, &dout_t.view(), Some(&dlse_t.view())).unwrap();
        let alphas = second(&data(&c), None).alphas;
        let frozen = match c.op.profile.gradient {
            Gradient::Exact => {
                exact += 1;
                None
            }
            Gradient::Detached => {
                detached += 1;
                Some(&alphas[..])
            }
        };
        for (name, grad) in [("dq", &g.dq), ("dk", &g.dk), ("dv", &g.dv)] {
            for _ in 0..6 {
                let at = rng.below(grad.len() as u64) as usize;
                let step = 1e-5;
                let side = |sign: f64, frozen| {
                    let mut m = c.clone();
                    let t = match name {
                        "dq" => &mut m.q,
                        "dk" => &mut m.k,
                        _ => &mut m.v,
                    };
                    t[at] += sign * step;
                    loss(&m, &data(&m), &dout, &dlse, frozen)
                };
                let want = (side(1.0, frozen) - side(-1.0, frozen)) / (2.0 * step);
                let got = grad.get(at);
                assert!(
                    close(got, want, 1e-6),
                    "case {i}: {name}[{at}] {got} {want}\n{:?} N={}",
                    c.op,
                    c.n
                );
                if frozen.is_some() {
                    let true_one = (side(1.0, None) - side(-1.0, None)) / (2.0 * step);
                    different += usize::from(!close(got, true_one, 1e-4));
                }
            }
        }
    }
    assert!(exact > 30 && detached > 30, "{exact} {detached}");
    // The two gradients really are two.
    assert!(different > 50, "{different}");
}
