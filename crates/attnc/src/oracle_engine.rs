// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The oracle as a backend: float64 inside, `out` rounded once to the operator's dtype, `lse` to f32.
//!
//! In: a call. Out: its out and lse. Works through the rows in batches, so that beyond the tensors only one batch of results is held.

use std::mem::size_of;

use attnc_oracle::{Inputs, RowId, RowResult, forward_rows};
use attnc_runtime::MAX_THREADS;
use attnc_spec::Operator;

use crate::call::Call;
use crate::engine::{Engine, EngineError, Executed};
use crate::rows::RowIds;
use crate::signature::Signature;

/// Rows evaluated at a time.
const ROWS: usize = 1 << 13;

/// The oracle for one operator.
#[derive(Clone, Debug)]
pub struct OracleEngine {
    op: Operator,
}

impl OracleEngine {
    /// Nothing is compiled.
    pub fn new(op: Operator) -> OracleEngine {
        OracleEngine { op }
    }
}

impl Engine for OracleEngine {
    fn target(&self) -> &str {
        "none"
    }

    fn kernel(&self) -> &str {
        "oracle"
    }

    fn forward(&self, mut call: Call<'_>) -> Result<Executed, EngineError> {
        call.check(&Signature::from(&self.op))?;
        let x = Inputs::new(&self.op, &call.q, &call.k, &call.v)?;
        let threads = call.workers.width();
        let pool = pool(threads)?;
        let mut done = Executed::default();
        let rows = RowIds::new(x.batch(), self.op.heads, x.seq_len());
        let mut ids: Vec<RowId> = Vec::with_capacity(ROWS);
        let per_row = size_of::<RowId>() + size_of::<RowResult>();
        for start in (0..rows.len()).step_by(ROWS) {
            ids.clear();
            ids.extend((start..rows.len().min(start + ROWS as u64)).map(|i| rows.get(i)));
            let results = pool.install(|| forward_rows(&self.op, &x, &ids, &|_| ()))?;
            let mut bytes = ids.capacity() * per_row;
            let mut most_keys = 0;
            for (id, r) in ids.iter().zip(&results) {
                let h = id.head as usize;
                for (d, &o) in r.out.iter().enumerate() {
                    call.out.set(&[id.batch, id.position, h, d], o);
                }
                if let Some(lse) = &mut call.lse {
                    lse.set(&[id.batch, h, id.position], r.lse);
                }
                done.madds += 2 * u128::from(r.keys) * r.out.len() as u128;
                bytes += r.out.capacity() * size_of::<f64>();
                most_keys = most_keys.max(r.keys);
            }
            // Every thread holds the weights of the row it works on.
            let weights = most_keys * size_of::<f64>() as u64 * threads as u64;
            done.peak_extra_bytes = done.peak_extra_bytes.max(bytes as u64 + weights);
            let finished = start + ids.len() as u64;
            if !call.tell(finished) && finished < rows.len() {
                return Err(EngineError::Cancelled);
            }
        }
        Ok(done)
    }
}

/// A pool of `threads` workers.
pub(crate) fn pool(threads: usize) -> Result<rayon::ThreadPool, EngineError> {
    if threads > MAX_THREADS {
        return Err(EngineError::Threads {
            threads,
            reason: format!("at most {MAX_THREADS}"),
        });
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|e| EngineError::Threads {
            threads,
            reason: e.to_string(),
        })
}
