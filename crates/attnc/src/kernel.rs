// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compiled operators in this process.
//!
//! In: a tile program, then calls. Out: results in the caller's memory.

use attnc_codegen_cpu::{CpuTarget, Jit, Level};
use attnc_runtime::Launch;
use attnc_tensor::{DType, Storage, Tensor};
use attnc_tile::core::Core;

use crate::cache::CacheError;
use crate::cache::entry::Artifact;
use crate::call::Call;
use crate::engine::{CacheUse, Engine, EngineError, Executed, Worker};
use crate::signature::Signature;
use crate::tune::Tuning;

/// An operator as machine code: one for every batch, length, layout and number of threads, to be called from any thread.
///
/// ```
/// use attnc::{Attention, Call, Target, View, ViewMut};
///
/// let attention = Attention::parse(
///     "attention two { heads = 2, head_dim = 4, branch { segment = 2 }, branch { segment = 4, dilation = 2 } }",
/// )?;
/// let kernel = attention.compile(&Target::native()?)?;
///
/// // q, k, v and out are [B, N, H, D]; lse is [B, H, N].
/// let (batch, n) = (1, 8);
/// let shape = [batch, n, 2, 4];
/// let q: Vec<f32> = (0..64).map(|i| (i as f32 * 0.7).sin()).collect();
/// let (k, v) = (q.clone(), q.clone());
/// let (mut out, mut lse) = (vec![0.0f32; 64], vec![0.0f32; 16]);
/// kernel.forward(
///     Call::new(
///         View::dense(&q, &shape)?,
///         View::dense(&k, &shape)?,
///         View::dense(&v, &shape)?,
///         ViewMut::dense(&mut out, &shape)?,
///     )
///     .lse(ViewMut::dense(&mut lse, &[batch, 2, n])?)
///     .threads(2),
/// )?;
/// assert!(out.iter().all(|x| x.is_finite()));
///
/// fn shared_between_threads<T: Send + Sync>(_: &T) {}
/// shared_between_threads(&kernel);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Kernel {
    signature: Signature,
    target: CpuTarget,
    notes: Vec<String>,
    /// Rows of a task.
    chunk: u64,
    cache: CacheUse,
    trouble: Option<CacheError>,
    tuning: Tuning,
    code: Jit,
}

impl Kernel {
    /// Puts a program into memory.
    pub(crate) fn new(
        signature: Signature,
        artifact: &Artifact,
        cache: CacheUse,
        trouble: Option<CacheError>,
    ) -> Result<Kernel, EngineError> {
        Ok(Kernel {
            signature,
            notes: artifact.notes.clone(),
            chunk: artifact.chunk,
            cache,
            trouble,
            tuning: Tuning::Off,
            target: artifact.program.target(),
            code: Jit::link(&artifact.program)?,
        })
    }

    pub(crate) fn tuned(self, tuning: Tuning) -> Kernel {
        Kernel { tuning, ..self }
    }

    /// Names, sizes and types of the tensors.
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The target that this is code for.
    pub fn target(&self) -> &'static str {
        self.target.name()
    }

    /// Remarks of the compiler, such as branches that could not be shared.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How it came from the cache.
    pub fn cache(&self) -> CacheUse {
        self.cache
    }

    /// Why the cache was not used as it should.
    pub fn cache_trouble(&self) -> Option<&CacheError> {
        self.trouble.as_ref()
    }

    /// What a tune file had to do with it.
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }

    /// Computes `out` and, if wanted, `lse` for one batch of sequences. Everything about the call is checked before anything runs. Where
    /// lse is not wanted, memory for it is taken all the same, 4 bytes a row.
    ///
    /// Memory may lie in any order, for that is only a matter of strides:
    ///
    /// ```
    /// use attnc::half::bf16;
    /// use attnc::{Attention, Call, Order, Target, View, ViewMut};
    ///
    /// let kernel = Attention::parse(
    ///     "attention a { heads = 4, kv_heads = 2, head_dim = 8, dtype = bf16, causal = true, branch { segment = 16 } }",
    /// )?
    /// .compile(&Target::native()?)?;
    ///
    /// // Tensors that a host keeps as [B, H, N, D].
    /// let s = kernel.signature();
    /// let (rows, keys) = (s.query_shape(2, 33), s.key_shape(2, 33));
    /// let q = vec![bf16::ONE; rows.iter().product()];
    /// let k = vec![bf16::ONE; keys.iter().product()];
    /// let v = vec![bf16::ONE; keys.iter().product()];
    /// let mut out = vec![bf16::ZERO; rows.iter().product()];
    /// let order = Order::HeadsFirst;
    /// kernel.forward(Call::new(
    ///     View::strided(&q, &rows, &order.strides(rows))?,
    ///     View::strided(&k, &keys, &order.strides(keys))?,
    ///     View::strided(&v, &keys, &order.strides(keys))?,
    ///     ViewMut::strided(&mut out, &rows, &order.strides(rows))?,
    /// ))?;
    /// assert!(out.iter().all(|x| *x == bf16::ONE));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Long calls can be watched and stopped:
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use std::sync::atomic::{AtomicBool, Ordering};
    /// # use attnc::{Attention, Call, EngineError, Target, View, ViewMut};
    /// # let kernel = Attention::parse("attention a { heads = 2, head_dim = 4, branch { segment = 8 } }")?
    /// #     .compile(&Target::native()?)?;
    /// # let (shape, q) = ([1, 50_000, 2, 4], vec![0.5f32; 400_000]);
    /// # let (k, v, mut out) = (q.clone(), q.clone(), q.clone());
    /// # let call = Call::new(
    /// #     View::dense(&q, &shape)?,
    /// #     View::dense(&k, &shape)?,
    /// #     View::dense(&v, &shape)?,
    /// #     ViewMut::dense(&mut out, &shape)?,
    /// # );
    /// // Whoever has had enough sets it: another thread, a signal.
    /// let enough = AtomicBool::new(true);
    /// let watch = |done: u64, all: u64| {
    ///     println!("{done} of {all} rows");
    ///     if enough.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// };
    /// let stopped = kernel.forward(call.threads(1).watch(&watch));
    /// assert!(matches!(stopped, Err(EngineError::Cancelled)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`EngineError::Launch`] for tensors of another shape, type or stride than the kernel takes, and for outputs that share memory with
    /// another tensor; [`EngineError::Cancelled`]; [`EngineError::Memory`].
    pub fn forward(&self, call: Call<'_>) -> Result<Executed, EngineError> {
        let rows = call.rows();
        let mut own;
        let mut own_bytes = 0;
        let lse = match call.lse {
            Some(lse) => lse,
            None => {
                let (batch, seq_len) = match *call.q.shape() {
                    [batch, seq_len, _, _] => (batch, seq_len),
                    _ => (0, 0),
                };
                own = Tensor::zeros(Storage::F32, &self.signature.lse_shape(batch, seq_len))?;
                own_bytes = own.bytes().len() as u64;
                own.view_mut()
            }
        };
        let launch = Launch {
            q: call.q,
            k: call.k,
            v: call.v,
            out: call.out,
            lse,
            workers: call.workers,
        };
        let stats = attnc_runtime::launch(&self.code, launch, &|done, all| match call.watch {
            // Tasks as rows.
            Some(watch) => {
                let done = u128::from(rows) * done as u128 / all.max(1) as u128;
                watch(done as u64, rows)
            }
            None => std::ops::ControlFlow::Continue(()),
        })?;
        Ok(Executed {
            madds: u128::from(stats.madds),
            peak_extra_bytes: stats.extra_bytes + own_bytes,
            workers: stats.workers.iter().map(worker).collect(),
        })
    }
}

impl Engine for Kernel {
    fn target(&self) -> &str {
        self.target.name()
    }
    fn notes(&self) -> &[String] {
        &self.notes
    }
    fn kernel(&self) -> &str {
        // bf16 goes through what multiplies pairs where there is such.
        let pairs = self.signature.dtype == DType::Bf16;
        match self.target {
            CpuTarget::X86_64V3 => "avx2",
            CpuTarget::X86_64V4 if pairs && Level::V4Bf16.here() => "avx512-bf16",
            CpuTarget::X86_64Amx if pairs => "amx",
            CpuTarget::X86_64V4 | CpuTarget::X86_64Amx => "avx512",
            CpuTarget::X86_64 | CpuTarget::Aarch64 => "portable",
        }
    }
    fn boundaries(&self, seq_len: u64) -> Vec<u64> {
        chunk_starts(self.chunk, seq_len)
    }
    fn cache(&self) -> CacheUse {
        self.cache
    }
    fn cache_trouble(&self) -> Option<&CacheError> {
        self.trouble.as_ref()
    }
    fn tuning(&self) -> &Tuning {
        &self.tuning
    }
    fn forward(&self, call: Call<'_>) -> Result<Executed, EngineError> {
        Kernel::forward(self, call)
    }
}

fn worker(w: &attnc_runtime::WorkerStats) -> Worker {
    Worker {
        tasks: w.tasks.unsigned_abs(),
        madds: w.madds,
        busy_ms: w.busy.as_secs_f64() * 1e3,
    }
}

/// Chunk starts: where rows are worth verifying.
pub(crate) fn chunk_starts(chunk: u64, seq_len: u64) -> Vec<u64> {
    (0..seq_len)
        .step_by(chunk.max(1) as usize)
        .take(256)
        .collect()
}

/// Rows of a task of these programs.
pub(crate) fn chunk(core: &Core) -> u64 {
    core.bufs
        .iter()
        .find(|b| b.name == "covered")
        .map_or(1, |b| b.len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_and_their_compilers_go_between_threads() {
        fn both<T: Send + Sync>() {}
        both::<Kernel>();
        both::<crate::Compiler>();
        both::<crate::Attention>();
        both::<EngineError>();
    }
}
