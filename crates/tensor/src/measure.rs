// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The error measure: a result against the float64 reference, over all and row by row.
//!
//! In: rows of a result with their reference (`out` of D elements, lse, whether any branch covers the row). Out: a [`Verdict`].
//! Rules (section "Accuracy that counts as right" of the semantics):
//! * error = ||x - ref|| / ||ref|| (Frobenius; ||x|| if ref = 0); a NaN where the reference has none fails;
//! * every covered row: ||x_row - ref_row|| <= 10 * bound * max(||ref_row||, ||ref|| / sqrt(rows));
//! * |lse - ref| <= bound * max(1, |ref|), -inf exactly;
//! * uncovered rows are exactly 0 with lse = -inf;
//! * where the reference itself is NaN by the rule of special values, the row must hold a NaN (and the lse be NaN where the reference's is); where an element
//!   is infinite, the result's must not be finite. Such rows enter no norm.

use crate::tolerance::{Bounds, ROW_FACTOR};

/// One row to compare.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The result, D elements.
    pub got: &'a [f64],
    /// The reference, D elements.
    pub want: &'a [f64],
    /// The result's log-sum-exp.
    pub got_lse: f64,
    /// The reference's log-sum-exp.
    pub want_lse: f64,
    /// Whether some branch covers the row.
    pub covered: bool,
}

/// In what respect a row is the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// `out` is off.
    Out,
    /// `lse` is off.
    Lse,
    /// A NaN or infinity where the reference has a number, or the other way round.
    NonFinite,
    /// A row that nothing covers is not exactly 0 with lse = -inf.
    Uncovered,
}

impl Flaw {
    /// A word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Flaw::Out => "out",
            Flaw::Lse => "lse",
            Flaw::NonFinite => "not finite",
            Flaw::Uncovered => "uncovered row not zero",
        }
    }
}

/// The row nearest to, or farthest beyond, its bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worst {
    /// Index in the order the rows were given.
    pub index: usize,
    /// What is worst about it.
    pub flaw: Flaw,
    /// Its error as a multiple of what is allowed; infinite for the flaws that are not measured.
    pub ratio: f64,
}

/// What a comparison found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Whether everything is within its bound.
    pub passed: bool,
    /// Relative Frobenius error over the covered rows; NaN or infinite when something is not finite that should be.
    pub error: f64,
    /// Largest |lse - ref| / max(1, |ref|); infinite when a -inf or NaN does not match.
    pub lse_error: f64,
    /// Rows compared.
    pub rows: usize,
    /// Rows beyond a bound.
    pub bad_rows: usize,
    /// The bounds used.
    pub bounds: Bounds,
    /// The worst row; none where there are no rows.
    pub worst: Option<Worst>,
}

/// What is kept of a row until the whole norm is known.
#[derive(Clone, Copy, Debug)]
struct Kept {
    diff2: f64,
    want2: f64,
    got2: f64,
    lse: f64,
    /// A flaw that needs no bound.
    flat: Option<Flaw>,
    counts: bool,
}

/// Collects rows. The bounds may depend on all rows, so they are given at the end.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    rows: Vec<Kept>,
}

impl Comparison {
    /// No rows yet.
    pub fn new() -> Comparison {
        Comparison::default()
    }

    /// Adds a row.
    pub fn push(&mut self, row: Row<'_>) {
        self.rows.push(keep(row));
    }

    /// Judges all rows.
    pub fn finish(&self, bounds: Bounds) -> Verdict {
        let counted = self.rows.iter().filter(|r| r.counts);
        let (mut diff2, mut want2, mut got2, mut n) = (0.0, 0.0, 0.0, 0u64);
        for r in counted {
            diff2 += r.diff2;
            want2 += r.want2;
            got2 += r.got2;
            n += 1;
        }
        let mut error = relative(diff2, want2, got2);
        let floor = want2.sqrt() / (n.max(1) as f64).sqrt();
        let mut lse_error = 0.0f64;
        let mut worst: Option<Worst> = None;
        let mut bad_rows = 0;
        for (index, r) in self.rows.iter().enumerate() {
            let allowed = ROW_FACTOR * bounds.out * r.want2.sqrt().max(floor);
            let out = ratio(r.diff2.sqrt(), allowed);
            let lse = ratio(r.lse, bounds.lse);
            if r.lse.is_nan() || r.lse > lse_error {
                lse_error = if r.lse.is_nan() { f64::INFINITY } else { r.lse };
            }
            let here = match r.flat {
                Some(flaw) => (flaw, f64::INFINITY),
                None if lse > out => (Flaw::Lse, lse),
                None => (Flaw::Out, out),
            };
            if r.flat.is_some() {
                error = if error.is_nan() { error } else { f64::INFINITY };
            }
            if here.1 > 1.0 {
                bad_rows += 1;
            }
            if worst.is_none_or(|w| here.1 > w.ratio) {
                worst = Some(Worst {
                    index,
                    flaw: here.0,
                    ratio: here.1,
                });
            }
        }
        Verdict {
            // Written so that a NaN error fails.
            passed: bad_rows == 0 && error <= bounds.out,
            error,
            lse_error,
            rows: self.rows.len(),
            bad_rows,
            bounds,
            worst,
        }
    }
}

/// Relative norm of a difference; of the result itself where the reference is 0.
fn relative(diff2: f64, want2: f64, got2: f64) -> f64 {
    if want2 == 0.0 {
        got2.sqrt()
    } else {
        (diff2 / want2).sqrt()
    }
}

fn ratio(x: f64, allowed: f64) -> f64 {
    if x == 0.0 {
        0.0
    } else if x.is_nan() {
        f64::INFINITY
    } else {
        x / allowed
    }
}

fn keep(row: Row<'_>) -> Kept {
    let mut kept = Kept {
        diff2: 0.0,
        want2: 0.0,
        got2: 0.0,
        lse: lse_distance(row.got_lse, row.want_lse),
        flat: None,
        counts: row.covered,
    };
    if !row.covered {
        let zero = row.got.iter().all(|&x| x == 0.0) && row.got_lse == f64::NEG_INFINITY;
        kept.flat = (!zero).then_some(Flaw::Uncovered);
        return kept;
    }
    if row.want.iter().any(|x| !x.is_finite()) {
        kept.counts = false;
        let nan_wanted = row.want.iter().any(|x| x.is_nan());
        let nan_got = row.got.iter().any(|x| x.is_nan());
        let infinities =
            (row.want.iter().zip(row.got)).all(|(w, g)| !w.is_infinite() || g.is_nan() || g == w);
        let good = infinities && (!nan_wanted || nan_got) && kept.lse.is_finite();
        kept.flat = (!good).then_some(Flaw::NonFinite);
        return kept;
    }
    for (&x, &r) in row.got.iter().zip(row.want) {
        kept.diff2 += (x - r) * (x - r);
        kept.want2 += r * r;
        kept.got2 += x * x;
    }
    if !kept.diff2.is_finite() || !kept.lse.is_finite() {
        kept.flat = Some(Flaw::NonFinite);
    }
    kept
}

/// |got - want| / max(1, |want|); 0 where both are NaN or the same infinity, infinite where only one is.
fn lse_distance(got: f64, want: f64) -> f64 {
    if got == want || (got.is_nan() && want.is_nan()) {
        0.0
    } else if got.is_finite() && want.is_finite() {
        (got - want).abs() / want.abs().max(1.0)
    } else {
        f64::INFINITY
    }
}

/// ||x - ref|| / ||ref|| over whole tensors (||x|| if ref = 0); NaN if either holds one. Shapes are the caller's concern; the shorter length counts.
pub fn frobenius(got: impl IntoIterator<Item = f64>, want: impl IntoIterator<Item = f64>) -> f64 {
    let (mut diff2, mut want2, mut got2) = (0.0, 0.0, 0.0);
    for (x, r) in got.into_iter().zip(want) {
        diff2 += (x - r) * (x - r);
        want2 += r * r;
        got2 += x * x;
    }
    relative(diff2, want2, got2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const B: Bounds = Bounds {
        out: 1e-3,
        lse: 1e-4,
    };

    fn row<'a>(got: &'a [f64], want: &'a [f64]) -> Row<'a> {
        Row {
            got,
            want,
            got_lse: 1.0,
            want_lse: 1.0,
            covered: true,
        }
    }

    fn judge(rows: &[Row<'_>]) -> Verdict {
        let mut c = Comparison::new();
        rows.iter().for_each(|&r| c.push(r));
        c.finish(B)
    }

    #[test]
    fn one_wrong_row_among_many_is_found() {
        let (good, off) = ([1.0, 1.0], [1.0, 1.02]);
        let mut rows = vec![row(&good, &good); 1000];
        rows[417] = row(&off, &good);
        let v = judge(&rows);
        // The norm over all rows is within its bound; the row is not.
        assert!(v.error < B.out);
        assert!(!v.passed);
        assert_eq!((v.bad_rows, v.rows), (1, 1000));
        assert_eq!(v.worst.unwrap().index, 417);
        assert_eq!(v.worst.unwrap().flaw, Flaw::Out);
    }

    #[test]
    fn nan_fails_unless_the_reference_is_nan() {
        let (nan, one) = ([f64::NAN, 0.0], [1.0, 0.0]);
        assert!(!judge(&[row(&nan, &one)]).passed);
        assert!(!judge(&[row(&one, &nan)]).passed);
        assert!(judge(&[row(&nan, &nan), row(&one, &one)]).passed);
        let mut lost = row(&nan, &nan);
        lost.want_lse = f64::NAN;
        assert!(!judge(&[lost]).passed);
        let (inf, neg) = ([f64::INFINITY, 0.0], [f64::NEG_INFINITY, 0.0]);
        assert!(judge(&[row(&inf, &inf), row(&nan, &inf)]).passed);
        assert!(!judge(&[row(&neg, &inf)]).passed);
        assert!(!judge(&[row(&inf, &one)]).passed);
    }

    #[test]
    fn uncovered_rows_must_be_exactly_zero() {
        let zero = [0.0, -0.0];
        let mut r = row(&zero, &zero);
        r.covered = false;
        (r.got_lse, r.want_lse) = (f64::NEG_INFINITY, f64::NEG_INFINITY);
        assert!(judge(&[r]).passed);
        let tiny = [0.0, 1e-300];
        r.got = &tiny;
        assert_eq!(judge(&[r]).worst.unwrap().flaw, Flaw::Uncovered);
        r.got = &zero;
        r.got_lse = -1e8;
        assert!(!judge(&[r]).passed);
    }

    #[test]
    fn lse_is_judged_relative_to_its_size_and_minus_infinity_exactly() {
        let x = [1.0];
        let with = |got, want| {
            let mut r = row(&x, &x);
            (r.got_lse, r.want_lse) = (got, want);
            judge(&[r])
        };
        assert!(with(0.5 + 0.9e-4, 0.5).passed);
        assert!(!with(0.5 + 1.1e-4, 0.5).passed);
        assert!(with(300.0 + 0.02, 300.0).passed);
        assert!(!with(-1e30, f64::NEG_INFINITY).passed);
        assert!(with(f64::NEG_INFINITY, f64::NEG_INFINITY).passed);
        assert_eq!(with(0.0, f64::NEG_INFINITY).lse_error, f64::INFINITY);
    }

    #[test]
    fn a_zero_reference_measures_the_result_itself() {
        let (zero, small) = ([0.0], [1e-4]);
        let v = judge(&[row(&small, &zero)]);
        assert_eq!(v.error, 1e-4);
        // No row has any size, so none may be off at all.
        assert!(!v.passed);
        assert_eq!(frobenius([3.0, 4.0], [0.0, 0.0]), 5.0);
        assert!(frobenius([f64::NAN], [1.0]).is_nan());
    }

    #[test]
    fn nothing_to_compare_passes() {
        let v = judge(&[]);
        assert!(v.passed && v.worst.is_none());
        assert_eq!((v.error, v.lse_error), (0.0, 0.0));
    }
}
