// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Calls an engine and measures it.
//!
//! In: an engine, inputs, threads, repeats. Out: out and lse of the last call and the time of each. The clock runs over the whole call from the caller's
//! tensors, every repeat anew; making room for the results is outside.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use attnc_tensor::{Storage, Tensor, TensorError};

use crate::call::Call;
use crate::engine::{Engine, EngineError, Executed};
use crate::inputs::Inputs;
use crate::signature::Signature;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// The engine refused or failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// No memory for the results.
    #[error(transparent)]
    Memory(#[from] TensorError),
}

/// What a run gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `[B, N, H, D]` in the operator's dtype.
    pub out: Tensor,
    /// `[B, H, N]`, f32.
    pub lse: Tensor,
    /// Milliseconds of every repeat.
    pub run_ms: Vec<f64>,
    /// What one call did.
    pub executed: Executed,
}

/// Hears how many rows (b, h, n) were finished since it was last told; may be called from any thread.
pub type Progress<'a> = &'a (dyn Fn(u64) + Sync);

/// Calls `engine` `repeat` times (at least once). Empty inputs give empty results without a call.
///
/// # Errors
/// See [`ExecuteError`].
pub fn execute(
    engine: &dyn Engine,
    s: &Signature,
    x: &Inputs,
    threads: usize,
    repeat: u64,
    progress: Progress<'_>,
) -> Result<Outcome, ExecuteError> {
    let mut y = Outcome {
        out: Tensor::zeros(s.dtype, &s.query_shape(x.batch, x.seq_len))?,
        lse: Tensor::zeros(Storage::F32, &s.lse_shape(x.batch, x.seq_len))?,
        run_ms: Vec::new(),
        executed: Executed::default(),
    };
    for _ in 0..repeat.max(1) {
        let start = Instant::now();
        if !x.is_empty() {
            let told = AtomicU64::new(0);
            let watch = |done: u64, _: u64| {
                // Another thread may have told more already.
                let before = told.fetch_max(done, Ordering::Relaxed);
                progress(done.saturating_sub(before));
                ControlFlow::Continue(())
            };
            let call = Call::new(x.q.view(), x.k.view(), x.v.view(), y.out.view_mut())
                .lse(y.lse.view_mut())
                .threads(threads)
                .watch(&watch);
            y.executed = engine.forward(call)?;
        }
        y.run_ms.push(start.elapsed().as_secs_f64() * 1e3);
    }
    Ok(y)
}

/// How often a measurement is repeated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Repeats {
    /// Timed calls at most, at least 1.
    pub most: u64,
    /// Fewer where so many calls would take more seconds than this.
    pub seconds: f64,
}

/// Measures `engine`: one call to warm up (pages touched, clocks raised), then the timed ones. A first call that takes all the time
/// there is stands for itself.
///
/// # Errors
/// See [`ExecuteError`].
pub fn measure(
    engine: &dyn Engine,
    s: &Signature,
    x: &Inputs,
    threads: usize,
    repeats: Repeats,
    progress: Progress<'_>,
) -> Result<Outcome, ExecuteError> {
    let warm = execute(engine, s, x, threads, 1, progress)?;
    let seconds = warm.run_ms.iter().sum::<f64>() / 1e3;
    if seconds >= repeats.seconds {
        return Ok(warm);
    }
    drop(warm.out);
    // At most what there is room for; the quotient is infinite where the call took no time.
    let fit = (repeats.seconds / seconds).min(repeats.most as f64) as u64;
    execute(engine, s, x, threads, fit.max(1), progress)
}

/// The median of measured times; the mean of the middle two where their number is even, 0 of none.
pub fn median(times: &[f64]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[n / 2],
        n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }
}
