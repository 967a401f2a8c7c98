// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A result against the oracle, under the tolerances of the semantics.
//!
//! In: operator, inputs, the result of some engine, how many rows. Out: [`Verified`]: the verdict, how many rows were compared, the worst of them.

use attnc_oracle::{Inputs as OracleInputs, OracleError, RowId, forward_rows, madds_formula};
use attnc_spec::{Operator, Precision};
use attnc_tensor::measure::{Comparison, Flaw, Row, Verdict};
use attnc_tensor::{Bounds, Exactness, Place, View};

use crate::engine::EngineError;
use crate::execute::Progress;
use crate::inputs::Inputs;
use crate::oracle_engine::pool;
use crate::rows::{RowIds, sample};

/// Multiply-adds up to which every row is compared.
pub const ALL_ROWS_UP_TO: u128 = 1 << 30;

/// How many rows to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Every row, whatever it takes.
    All,
    /// Every row if that takes at most 2^30 multiply-adds (by formula), else so many.
    Rows(u64),
}

/// What a verification is about besides the tensors.
#[derive(Clone, Copy, Debug)]
pub struct VerifyOptions<'a> {
    /// How many rows.
    pub amount: Amount,
    /// Seed of the sample.
    pub seed: u64,
    /// Positions where the engine's tiles or chunks start.
    pub boundaries: &'a [u64],
    /// Which column of the tolerance table applies.
    pub place: Place,
    /// Worker threads.
    pub threads: usize,
}

/// The worst row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorstRow {
    /// Which row.
    pub row: RowId,
    /// In what respect.
    pub flaw: Flaw,
    /// Its error as a multiple of what is allowed.
    pub ratio: f64,
}

/// What a verification found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verified {
    /// Errors, bounds and judgement.
    pub verdict: Verdict,
    /// Rows compared.
    pub rows_checked: u64,
    /// Whether those were all.
    pub all: bool,
    /// The worst row; none where there are no rows.
    pub worst: Option<WorstRow>,
}

/// The rows that a verification of this size compares.
enum Chosen {
    All(RowIds),
    Some(Vec<RowId>),
}

impl Chosen {
    fn len(&self) -> u64 {
        match self {
            Chosen::All(rows) => rows.len(),
            Chosen::Some(rows) => rows.len() as u64,
        }
    }

    fn get(&self, i: u64) -> RowId {
        match self {
            Chosen::All(rows) => rows.get(i),
            Chosen::Some(rows) => rows[i as usize],
        }
    }
}

fn choose(op: &Operator, x: &Inputs, o: &VerifyOptions<'_>) -> Chosen {
    let all = RowIds::new(x.batch, op.heads, x.seq_len);
    let work = madds_formula(op, x.batch as u64, x.seq_len as u64);
    match o.amount {
        Amount::All => Chosen::All(all),
        Amount::Rows(n) if work <= ALL_ROWS_UP_TO || n >= all.len() => Chosen::All(all),
        Amount::Rows(n) => Chosen::Some(sample(op, x.batch, x.seq_len, n, o.boundaries, o.seed)),
    }
}

/// How many rows [`verify`] will compare; for a progress bar.
pub fn rows_to_check(op: &Operator, x: &Inputs, options: &VerifyOptions<'_>) -> u64 {
    choose(op, x, options).len()
}

/// Compares `out` `[B, N, H, D]` and `lse` `[B, H, N]` with the oracle.
///
/// # Errors
/// Shapes that do not belong to the operator; threads that cannot be had.
pub fn verify(
    op: &Operator,
    x: &Inputs,
    out: &View<'_>,
    lse: &View<'_>,
    options: &VerifyOptions<'_>,
    progress: Progress<'_>,
) -> Result<Verified, EngineError> {
    const AT_A_TIME: u64 = 1 << 13;
    let inputs = OracleInputs::new(op, &x.q.view(), &x.k.view(), &x.v.view())?;
    let (heads, dim) = (op.heads as usize, op.head_dim as usize);
    for (tensor, view, want) in [
        ("out", out, vec![x.batch, x.seq_len, heads, dim]),
        ("lse", lse, vec![x.batch, heads, x.seq_len]),
    ] {
        if view.shape() != want {
            return Err(EngineError::Oracle(OracleError::WrongShape {
                tensor,
                want,
                found: view.shape().to_vec(),
            }));
        }
    }
    let chosen = choose(op, x, options);
    let pool = pool(options.threads)?;
    let mut comparison = Comparison::new();
    let (mut max_abs_score, mut keys) = (0.0f64, 0);
    let mut got = vec![0.0; dim];
    let mut start = 0;
    while start < chosen.len() {
        let end = chosen.len().min(start + AT_A_TIME);
        let ids: Vec<RowId> = (start..end).map(|i| chosen.get(i)).collect();
        let rows = pool.install(|| forward_rows(op, &inputs, &ids, progress))?;
        for (id, want) in ids.iter().zip(&rows) {
            let h = id.head as usize;
            for (d, g) in got.iter_mut().enumerate() {
                *g = out.get(&[id.batch, id.position, h, d]);
            }
            comparison.push(Row {
                got: &got,
                want: &want.out,
                got_lse: lse.get(&[id.batch, h, id.position]),
                want_lse: want.lse,
                covered: want.covered(),
            });
            max_abs_score = max_abs_score.max(want.max_abs_score);
            keys = keys.max(want.keys);
        }
        start = end;
    }
    let exactness = match op.precision {
        Precision::Standard => Exactness::Standard,
        Precision::Fast => Exactness::Fast,
        Precision::Tf32 => Exactness::Tf32,
    };
    let bounds = Bounds::new(op.dtype, exactness, options.place, max_abs_score, keys);
    let verdict = comparison.finish(bounds);
    Ok(Verified {
        verdict,
        rows_checked: chosen.len(),
        all: matches!(chosen, Chosen::All(_)),
        worst: verdict.worst.map(|w| WorstRow {
            row: chosen.get(w.index as u64),
            flaw: w.flaw,
            ratio: w.ratio,
        }),
    })
}
