// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Special values, empty sizes, strided inputs, chosen rows: what the oracle does at the edges.

use attnc_oracle::{Inputs, OracleError, RowId, forward, forward_rows, gradients};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment, ZeroLse};
use attnc_tensor::{DType, Slice, Storage, Tensor, View, normal_tensor};

fn op(branches: &[(u64, u64)], heads: u32, causal: bool) -> Operator {
    let branch = |&(w, dilation): &(u64, u64)| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    Operator {
        name: "t".into(),
        heads,
        kv_heads: heads,
        head_dim: 4,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal,
        scale: 0.5,
        profile: Profile::PAPER,
        branches: branches.iter().map(branch).collect(),
    }
}

struct Run {
    q: Tensor,
    k: Tensor,
    v: Tensor,
}

impl Run {
    fn new(op: &Operator, b: usize, n: usize) -> Run {
        let (h, kv, d) = (
            op.heads as usize,
            op.kv_heads as usize,
            op.head_dim as usize,
        );
        let make = |heads, stream| normal_tensor(DType::F32, &[b, n, heads, d], 5, stream).unwrap();
        Run {
            q: make(h, 0),
            k: make(kv, 1),
            v: make(kv, 2),
        }
    }

    /// out (D per row) and lse of head 0, batch 0.
    fn rows(&self, op: &Operator) -> Vec<(Vec<f64>, f64)> {
        let x = Inputs::new(op, &self.q.view(), &self.k.view(), &self.v.view()).unwrap();
        let ids: Vec<RowId> = (0..x.seq_len())
            .map(|position| RowId {
                batch: 0,
                head: 0,
                position,
            })
            .collect();
        let rows = forward_rows(op, &x, &ids, &|_| ()).unwrap();
        rows.into_iter().map(|r| (r.out, r.lse)).collect()
    }

    /// Sets dimension `d` of position `n` (one head, one batch entry).
    fn set(t: &mut Tensor, n: usize, d: usize, x: f64) {
        t.set(n * 4 + d, x);
    }
}

/// Two segments of 4, every second position, one head: rows 0 2 | 4 6 are covered.
fn local() -> (Operator, Run) {
    let op = op(&[(4, 2)], 1, false);
    let run = Run::new(&op, 1, 8);
    (op, run)
}

#[test]
fn unseen_keys_never_matter_whatever_they_hold() {
    let (op, mut run) = local();
    let clean = run.rows(&op);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e38] {
        for n in [1, 3, 5, 7] {
            for t in [&mut run.q, &mut run.k, &mut run.v] {
                Run::set(t, n, 1, bad);
            }
        }
        for n in [4, 6] {
            for t in [&mut run.q, &mut run.k, &mut run.v] {
                Run::set(t, n, 1, bad);
            }
        }
        // Rows of the first segment see nothing of all that; odd rows are covered by nothing.
        let rows = run.rows(&op);
        for n in [0, 2] {
            assert_eq!(rows[n], clean[n]);
        }
        for n in [1, 3, 5, 7] {
            assert_eq!(rows[n], (vec![0.0; 4], f64::NEG_INFINITY));
        }
    }
}

#[test]
fn a_visible_nan_makes_the_row_nan() {
    let (op, run) = local();
    let clean = run.rows(&op);
    let (mut a, mut b) = (
        Run {
            q: run.q.clone(),
            k: run.k.clone(),
            v: run.v.clone(),
        },
        run,
    );
    Run::set(&mut a.v, 2, 1, f64::NAN);
    let rows = a.rows(&op);
    for n in [0, 2] {
        assert!(rows[n].0.iter().all(|x| x.is_nan()));
        assert_eq!(rows[n].1, clean[n].1);
    }
    assert_eq!(rows[4], clean[4]);
    Run::set(&mut b.k, 2, 1, f64::NAN);
    let rows = b.rows(&op);
    for n in [0, 2] {
        assert!(rows[n].0.iter().all(|x| x.is_nan()) && rows[n].1.is_nan());
    }
}

#[test]
fn infinite_scores_follow_the_rule() {
    // Scores are 0.5 * q[0] * k[0]: one component carries the sign.
    let (op, mut run) = local();
    run.q = Tensor::zeros(DType::F32, &[1, 8, 1, 4]).unwrap();
    run.k = run.q.clone();
    for n in 0..8 {
        Run::set(&mut run.q, n, 0, 1.0);
        Run::set(&mut run.k, n, 0, 1.0);
    }
    // One -inf beside a finite score: weight 0, the row is the other value.
    Run::set(&mut run.k, 0, 0, f64::NEG_INFINITY);
    // One +inf: NaN.
    Run::set(&mut run.k, 6, 0, f64::INFINITY);
    let rows = run.rows(&op);
    let v2: Vec<f64> = (0..4).map(|d| run.v.get(2 * 4 + d)).collect();
    assert_eq!(rows[0], (v2, 0.5));
    assert!(rows[4].0.iter().all(|x| x.is_nan()) && rows[4].1.is_nan());
    // All -inf: NaN.
    Run::set(&mut run.k, 2, 0, f64::NEG_INFINITY);
    let rows = run.rows(&op);
    assert!(rows[0].0.iter().all(|x| x.is_nan()) && rows[0].1.is_nan());
    // All -inf in one branch, finite in another: the other alone counts.
    let mut two = op.clone();
    two.branches.push(Branch {
        segment: Segment::Whole,
        dilation: 1,
    });
    Run::set(&mut run.k, 6, 0, 1.0);
    let rows = run.rows(&two);
    assert!(rows[0].0.iter().all(|x| x.is_finite()));
    assert!((rows[0].1 - (0.5 + 6f64.ln())).abs() < 1e-12);
}

#[test]
fn duplicates_double_and_dense_is_dense() {
    let one = op(&[(8, 1)], 1, true);
    let two = op(&[(8, 1), (8, 1)], 1, true);
    let run = Run::new(&one, 1, 8);
    for (a, b) in run.rows(&one).iter().zip(run.rows(&two)) {
        assert!((a.1 + 2f64.ln() - b.1).abs() < 1e-14);
        assert!(a.0.iter().zip(&b.0).all(|(x, y)| (x - y).abs() < 1e-15));
    }
    let wide = op(&[(1 << 40, 1)], 1, true);
    assert_eq!(run.rows(&one), run.rows(&wide));
    let far = op(&[(1 << 40, 1 << 40)], 1, true);
    let rows = run.rows(&far);
    assert!(rows[0].1.is_finite() && rows[1..].iter().all(|r| r.1 == f64::NEG_INFINITY));
}

#[test]
fn an_exact_zero_lse_is_uncovered_only_by_its_switch() {
    let mut o = op(&[(8, 1), (4, 1)], 1, true);
    let mut run = Run::new(&o, 1, 8);
    (0..4).for_each(|d| Run::set(&mut run.q, 0, d, 0.0));
    let v0: Vec<f64> = (0..4).map(|d| run.v.get(d)).collect();
    assert_eq!(run.rows(&o)[0], (v0.clone(), 2f64.ln()));
    o.profile.zero_lse = ZeroLse::Uncovered;
    // No branch is left: equal weights, lse = -inf.
    assert_eq!(run.rows(&o)[0], (v0, f64::NEG_INFINITY));
    // A branch that truly does not cover the row brings an output of 0.
    o.branches[1].dilation = 1 << 20;
    o.heads = 2;
    o.kv_heads = 2;
    let mut two = Run::new(&o, 1, 8);
    (4..8).for_each(|d| two.q.set(d, 0.0));
    let x = Inputs::new(&o, &two.q.view(), &two.k.view(), &two.v.view()).unwrap();
    let id = RowId {
        batch: 0,
        head: 1,
        position: 0,
    };
    let row = &forward_rows(&o, &x, &[id], &|_| ()).unwrap()[0];
    let half: Vec<f64> = (4..8).map(|d| two.v.get(d) / 2.0).collect();
    assert_eq!((&row.out, row.lse, row.keys), (&half, f64::NEG_INFINITY, 1));
}

#[test]
fn a_gradient_of_lse_counts_only_where_lse_is_finite() {
    let mut o = op(&[(8, 1), (4, 1)], 1, true);
    o.profile.zero_lse = ZeroLse::Uncovered;
    let mut r = Run::new(&o, 1, 8);
    (0..4).for_each(|d| Run::set(&mut r.q, 0, d, 0.0));
    let x = Inputs::new(&o, &r.q.view(), &r.k.view(), &r.v.view()).unwrap();
    let with = |at: usize| {
        let mut dlse = Tensor::zeros(Storage::F64, &[1, 1, 8]).unwrap();
        dlse.set(at, 1.0);
        gradients(&o, &x, &r.v.view(), Some(&dlse.view())).unwrap()
    };
    let without = gradients(&o, &x, &r.v.view(), None).unwrap();
    // Row 0 has no branch left, so its lse is -inf and does not move.
    assert_eq!(with(0), without);
    assert_ne!(with(1).dq, without.dq);
}

#[test]
fn empty_sizes_give_empty_results() {
    let o = op(&[(4, 2)], 2, true);
    for (b, n) in [(0, 5), (3, 0), (0, 0)] {
        let r = Run::new(&o, b, n);
        let x = Inputs::new(&o, &r.q.view(), &r.k.view(), &r.v.view()).unwrap();
        let f = forward(&o, &x, &|_| ()).unwrap();
        assert_eq!(f.out.shape(), [b, n, 2, 4]);
        assert_eq!(f.lse.shape(), [b, 2, n]);
        let g = gradients(&o, &x, &r.q.view(), None).unwrap();
        assert_eq!(g.dk.shape(), [b, n, 2, 4]);
    }
}

#[test]
fn strided_inputs_with_poisoned_gaps_give_the_same_rows() {
    let o = op(&[(4, 2), (8, 1)], 2, true);
    let r = Run::new(&o, 2, 9);
    let whole = {
        let x = Inputs::new(&o, &r.q.view(), &r.k.view(), &r.v.view()).unwrap();
        forward(&o, &x, &|_| ()).unwrap()
    };
    // Axes reordered (H, B, N, D) and gaps of NaN after every element.
    let strides = [18 * 5, 10, 2 * 18 * 5, 2];
    let spread = |t: &Tensor| -> Vec<f32> {
        let mut x = vec![f32::NAN; 2 * 2 * 18 * 5 + 9];
        let v = t.view();
        for b in 0..2 {
            for n in 0..9 {
                for h in 0..2 {
                    for d in 0..4 {
                        let at = b * strides[0] + n * strides[1] + h * strides[2] + d * strides[3];
                        x[at] = v.get(&[b, n, h, d]) as f32;
                    }
                }
            }
        }
        x
    };
    let [q, k, v] = [&r.q, &r.k, &r.v].map(spread);
    let view = |x| View::new(Slice::F32(x), &[2, 9, 2, 4], &strides).unwrap();
    let x = Inputs::new(&o, &view(&q), &view(&k), &view(&v)).unwrap();
    assert_eq!(forward(&o, &x, &|_| ()).unwrap(), whole);
}

#[test]
fn chosen_rows_equal_those_of_the_whole() {
    let mut o = op(&[(4, 2), (8, 3)], 4, false);
    o.kv_heads = 2;
    o.profile = Profile::TORCHSCALE;
    let r = Run::new(&o, 2, 21);
    let x = Inputs::new(&o, &r.q.view(), &r.k.view(), &r.v.view()).unwrap();
    let all = forward(&o, &x, &|_| ()).unwrap();
    let ids = [(1, 3, 20), (0, 0, 0), (1, 2, 7), (1, 2, 7)].map(|(batch, head, position)| RowId {
        batch,
        head,
        position,
    });
    for (id, row) in ids.iter().zip(forward_rows(&o, &x, &ids, &|_| ()).unwrap()) {
        let (h, n) = (id.head as usize, id.position);
        let want: Vec<f64> = (0..4)
            .map(|d| all.out.view().get(&[id.batch, n, h, d]))
            .collect();
        assert_eq!(row.out, want);
        assert_eq!(row.lse, all.lse.view().get(&[id.batch, h, n]));
        assert!(row.keys <= all.keys && row.max_abs_score <= all.max_abs_score);
    }
    let bad = RowId {
        batch: 0,
        head: 4,
        position: 0,
    };
    assert!(matches!(
        forward_rows(&o, &x, &[bad], &|_| ()),
        Err(OracleError::NoSuchRow { .. })
    ));
}

#[test]
fn wrong_shapes_are_named() {
    let o = op(&[(4, 2)], 2, false);
    let r = Run::new(&o, 1, 5);
    let short = Tensor::zeros(Storage::F32, &[1, 4, 2, 4]).unwrap();
    let flat = Tensor::zeros(Storage::F32, &[40]).unwrap();
    let e = Inputs::new(&o, &r.q.view(), &short.view(), &r.v.view()).unwrap_err();
    assert!(matches!(e, OracleError::WrongShape { tensor: "k", .. }));
    assert!(matches!(
        Inputs::new(&o, &flat.view(), &r.k.view(), &r.v.view()),
        Err(OracleError::WrongQuery { .. })
    ));
}
