// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The host half of a run with the oracle as the engine: right results pass, each kind of wrong one is found and named.

use attnc::{
    Amount, Backend, Compiler, EngineError, Inputs, Outcome, Place, Signature, Verified,
    VerifyOptions, execute, rows_to_check, verify,
};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use attnc_tensor::measure::Flaw;

fn op(dtype: DType) -> Operator {
    let b = |w, dilation| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    Operator {
        name: "t".into(),
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        dtype,
        precision: Precision::Standard,
        causal: true,
        scale: 0.35,
        profile: Profile::PAPER,
        branches: vec![b(16, 2), b(48, 4)],
    }
}

fn compiler() -> Compiler {
    Compiler::with(attnc::pipeline::Choices::new("x86_64"))
}

fn run(op: &Operator, x: &Inputs, threads: usize) -> Outcome {
    let engine = compiler().engine(&op.into(), Backend::Oracle).unwrap();
    execute(&*engine, &Signature::from(op), x, threads, 2, &|_| ()).unwrap()
}

const OPTIONS: VerifyOptions<'static> = VerifyOptions {
    amount: Amount::Rows(64),
    seed: 0,
    boundaries: &[],
    place: Place::Host,
    threads: 2,
};

fn judge(op: &Operator, x: &Inputs, y: &Outcome) -> Verified {
    verify(op, x, &y.out.view(), &y.lse.view(), &OPTIONS, &|_| ()).unwrap()
}

#[test]
fn right_results_pass_in_every_dtype_with_any_number_of_threads() {
    for dtype in DType::ALL {
        let op = op(dtype);
        let x = Inputs::generate(&Signature::from(&op), 2, 101, 3).unwrap();
        let y = run(&op, &x, 1);
        assert_eq!(y.run_ms.len(), 2);
        let v = judge(&op, &x, &y);
        assert!(v.verdict.passed && v.all, "{v:?}");
        assert_eq!(v.rows_checked, 2 * 101 * 4);
        // One rounding, so well below the bound but not nothing.
        assert!(v.verdict.error > 0.0 && v.verdict.error < v.verdict.bounds.out);
        assert_eq!(run(&op, &x, 3).out, y.out);
    }
}

#[test]
fn one_wrong_element_is_found_and_named() {
    let op = op(DType::F32);
    let x = Inputs::generate(&Signature::from(&op), 2, 101, 3).unwrap();
    let good = run(&op, &x, 2);
    // Batch 1, position 60, head 2 (offset 0 of r = 2, place 12 of its segment: covered).
    let at = ((101 + 60) * 4 + 2) * 8 + 5;
    for (bad, flaw) in [
        (good.out.get(at) + 0.01, Flaw::Out),
        (f64::NAN, Flaw::NonFinite),
    ] {
        let mut y = good.clone();
        y.out.set(at, bad);
        let v = judge(&op, &x, &y);
        assert!(!v.verdict.passed);
        let w = v.worst.unwrap();
        assert_eq!(
            (w.row.batch, w.row.position, w.row.head, w.flaw),
            (1, 60, 2, flaw)
        );
        assert_eq!(v.verdict.bad_rows, 1);
    }
    let mut y = good.clone();
    let at = (4 + 2) * 101 + 60;
    y.lse.set(at, y.lse.get(at) + 0.01);
    let v = judge(&op, &x, &y);
    assert_eq!(
        (v.verdict.passed, v.worst.unwrap().flaw),
        (false, Flaw::Lse)
    );
    // Head 1 has offset 1 in both branches: position 60 is covered by nothing.
    let mut y = good;
    y.out.set((60 * 4 + 1) * 8, 1e-30);
    let v = judge(&op, &x, &y);
    assert_eq!(
        (v.verdict.passed, v.worst.unwrap().flaw),
        (false, Flaw::Uncovered)
    );
}

#[test]
fn large_runs_are_sampled_and_all_can_be_forced() {
    let mut op = op(DType::F32);
    op.branches[0] = Branch {
        segment: Segment::Whole,
        dilation: 1,
    };
    // 2 * 4 * 8 * (8192^2 + ...) / 2 is more than 2^30.
    let x = Inputs::generate(&Signature::from(&op), 1, 8192, 0).unwrap();
    assert_eq!(rows_to_check(&op, &x, &OPTIONS), 64);
    let all = VerifyOptions {
        amount: Amount::All,
        ..OPTIONS
    };
    assert_eq!(rows_to_check(&op, &x, &all), 4 * 8192);
    let small = Inputs::generate(&Signature::from(&op), 1, 512, 0).unwrap();
    assert_eq!(rows_to_check(&op, &small, &OPTIONS), 4 * 512);
}

#[test]
fn what_is_not_there_yet_says_so() {
    let op = op(DType::F32);
    for backend in [Backend::PtxEmulator, Backend::Cuda] {
        assert!(matches!(
            compiler().engine(&(&op).into(), backend),
            Err(EngineError::NotBuiltYet(b)) if b == backend
        ));
    }
}
