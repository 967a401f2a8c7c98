// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a query must not see never reaches its row: keys and values that hold NaN or infinity, of the causal future, other segments and
//! other phases. Rows that see one follow the oracle. So do subnormal numbers and scores that are steep in places.

use std::ops::RangeBounds;

use attnc::pipeline::Plan;
use attnc::{Backend, Inputs, Signature};
use attnc_spec::{Precision, Ragged, Rows, ZeroLse};
use attnc_tensor::{DType, Tensor, View};
use attnc_tests::engines::Engine;
use attnc_tests::random::{Case, cases};

/// Changes every element of some tokens of `t` `[B, N, H, D]`.
fn change(t: &mut Tensor, tokens: impl RangeBounds<usize>, to: impl Fn(f64) -> f64) {
    let shape = t.shape().to_vec();
    let old = t.clone();
    let mut view = t.view_mut();
    for n in (0..shape[1]).filter(|n| tokens.contains(n)) {
        for b in 0..shape[0] {
            for h in 0..shape[2] {
                for d in 0..shape[3] {
                    let at = [b, n, h, d];
                    view.set(&at, to(old.view().get(&at)));
                }
            }
        }
    }
}

/// Puts `what` into every element of some token.
fn damage(t: &mut Tensor, token: usize, what: f32) {
    change(t, token..=token, |_| f64::from(what));
}

/// Multiplies all elements of some tokens.
fn scale(t: &mut Tensor, tokens: impl RangeBounds<usize>, by: f64) {
    change(t, tokens, |x| x * by);
}

/// Judges every row of every engine under both plans.
fn judge(c: &Case, x: &Inputs, what: &str) -> Result<(), String> {
    for plan in [Plan::Each, Plan::Share] {
        let mut engines = Engine::machine_code(Some(plan), 2);
        engines.push(Engine::new(Backend::InterpTile, Some(plan), 2));
        for engine in engines {
            let got = engine.run(c, x)?;
            let judged = engine.judge(c, x, &got);
            judged.map_err(|e| format!("{what}: {e}"))?;
        }
    }
    Ok(())
}

/// Runs the case with one damaged token at a time.
fn check(c: &Case) -> Result<(), String> {
    let s = Signature::from(&c.op);
    let token = c.seed as usize * 7 % c.seq_len;
    for what in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for value in [false, true] {
            let mut x = Inputs::generate(&s, c.batch as u64, c.seq_len as u64, c.seed)
                .map_err(|e| e.to_string())?;
            damage(if value { &mut x.v } else { &mut x.k }, token, what);
            judge(c, &x, &format!("{what} at {token}, value {value}"))?;
        }
    }
    Ok(())
}

#[test]
fn hidden_nan_and_infinity_never_reach_a_row() {
    cases(30, 150, check);
}

/// A row is linear in the values, down to where f32 has but a few bits left. Subnormal queries and keys count as what they are, next to
/// nothing, and never slow a row into NaN.
#[test]
fn subnormal_numbers_are_kept() {
    // Steps of 2^-149: the sum of a few hundred rounded products, divided by weights of at least 1.
    let (small, step) = (2f64.powi(-132), 2f64.powi(-149));
    cases(20, 100, |c| {
        let mut c = c.clone();
        c.op.dtype = DType::F32;
        c.op.precision = Precision::Standard;
        // Products of subnormals are 0 in f32 and not in float64, and `uncovered` asks whether a log-sum-exp is 0.
        c.op.profile.zero_lse = ZeroLse::Covered;
        let s = Signature::from(&c.op);
        let x = Inputs::generate(&s, c.batch as u64, c.seq_len as u64, c.seed)
            .map_err(|e| e.to_string())?;
        let mut tiny = x.clone();
        scale(&mut tiny.v, .., small);
        let mut flat = x.clone();
        scale(&mut flat.q, .., small);
        scale(&mut flat.k, .., small);
        for engine in Engine::machine_code(Some(Plan::Share), 1) {
            let (want, got) = (engine.run(&c, &x)?, engine.run(&c, &tiny)?);
            let (want, got) = (want.out.view(), got.out.view());
            for n in 0..c.seq_len {
                for h in 0..want.shape()[2] {
                    let (a, b) = (want.get(&[0, n, h, 0]) * small, got.get(&[0, n, h, 0]));
                    if (a - b).abs() > 200.0 * step {
                        return Err(format!("{engine:?}: row {n}, head {h}: {b:e} for {a:e}"));
                    }
                }
            }
            let got = engine.run(&c, &flat)?;
            engine.judge(&c, &flat, &got)?;
        }
        Ok(())
    });
}

/// Scores in the hundreds in a few neighbouring rows, next to ordinary ones: whatever a kernel assumes of a tile's scores
/// fails in one row tile and holds in the others. And for one key in all rows: it raises the reference of whatever came before it.
#[test]
fn steep_scores_of_a_few_rows_or_one_key_leave_the_rest_right() {
    cases(20, 120, |c| {
        let s = Signature::from(&c.op);
        let (n, seed) = (c.seq_len, c.seed as usize);
        let x =
            Inputs::generate(&s, c.batch as u64, n as u64, c.seed).map_err(|e| e.to_string())?;
        for by in [30.0, 300.0] {
            let (mut rows, mut key) = (x.clone(), x.clone());
            let first = seed * 13 % n;
            scale(&mut rows.q, first..first + 1 + seed % 20, by);
            scale(&mut key.k, seed * 7 % n..=seed * 7 % n, by);
            judge(c, &rows, &format!("rows times {by}"))?;
            judge(c, &key, &format!("a key times {by}"))?;
        }
        Ok(())
    });
}

/// The first test can fail: causal rows before a damaged token are clean, later ones of its segment are not.
#[test]
fn visible_nan_reaches_the_rows_that_see_it() {
    let text = "attention a { heads = 1, head_dim = 3, causal = true, branch { segment = 8 } }";
    let found = attnc_spec::resolve(
        vec![Ok(attnc_spec::Loaded::text("a.attn", text))],
        &mut attnc_spec::NoFiles,
    );
    let op = (*found.files[0].own[0]).clone();
    let p = op.profile;
    assert!(
        p.ragged == Ragged::Masked && p.rows == Rows::Aligned && p.zero_lse == ZeroLse::Covered
    );
    let c = Case {
        op,
        batch: 1,
        seq_len: 20,
        seed: 3,
    };
    let mut x = Inputs::generate(&Signature::from(&c.op), 1, 20, 3).expect("small");
    damage(&mut x.v, 11, f32::NAN);
    for plan in [Plan::Each, Plan::Share] {
        for engine in Engine::machine_code(Some(plan), 1) {
            let got = engine.run(&c, &x).expect("runs");
            let nan = |v: &View<'_>, n: usize| (0..3).any(|d| v.get(&[0, n, 0, d]).is_nan());
            let rows: Vec<usize> = (0..20).filter(|&n| nan(&got.out.view(), n)).collect();
            assert_eq!(rows, [11, 12, 13, 14, 15], "{engine:?}");
        }
    }
}
