// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Launches of compiled kernels: contiguous task ranges over threads of ours or of the caller's.
//!
//! In: a compiled program and borrowed tensors, checked here once, so that generated code never leaves them. Out: results in place, and
//! what the launch took. The bits of the result do not depend on the number of threads: a task's work is the same wherever it runs.

mod check;
pub mod machine;
mod pool;
mod ranges;
mod tasks;

use std::time::Duration;

use attnc_codegen_cpu::{
    ABI, Args, ERROR_ABI, ERROR_MACHINE, ERROR_NULL, ERROR_RANGE, ERROR_SHAPE, ERROR_WORKSPACE, Jit,
};
use attnc_tensor::{Storage, View, ViewMut};

use crate::check::{Wanted, apart, input, output};

pub use pool::{MAX_THREADS, Pool, Workers};
pub use tasks::Watch;

/// Why a launch did not happen, or did not finish.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// A tensor of another shape.
    #[error("{name} has shape {found:?}, the kernel takes {needed:?}")]
    Shape {
        /// Which tensor.
        name: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What fits.
        needed: Vec<usize>,
    },
    /// A tensor of another element type.
    #[error("{name} holds {found}, the kernel was compiled for {needed}; cast it first")]
    Storage {
        /// Which tensor.
        name: &'static str,
        /// What it holds.
        found: Storage,
        /// What fits.
        needed: Storage,
    },
    /// The last dimension is strided.
    #[error(
        "the last dimension of {name} has stride {stride}; copy it into a tensor where that is 1"
    )]
    Stride {
        /// Which tensor.
        name: &'static str,
        /// Its stride, in elements.
        stride: usize,
    },
    /// An output shares memory with another tensor.
    #[error("{out} shares memory with {with}; give {out} memory of its own")]
    Overlap {
        /// Which output.
        out: &'static str,
        /// What stands in the same memory.
        with: &'static str,
    },
    /// The generated plan refused the arguments.
    #[error("the launch plan refused the arguments: {0}")]
    Plan(&'static str),
    /// A number of tasks that no right program has: each writes rows of its own.
    #[error(
        "the program has {tasks} tasks for {rows} rows of output; each task writes at least one row, and no other writes it"
    )]
    Tasks {
        /// Tasks of the program's plan.
        tasks: i64,
        /// B * H * N.
        rows: u64,
    },
    /// Threads could not be started.
    #[error("the thread pool could not be started: {0}")]
    Threads(String),
    /// The caller's [`Watch`] asked to stop. What stands in the outputs is no result.
    #[error("stopped when asked to, before the end")]
    Cancelled,
}

/// What one worker did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WorkerStats {
    /// Tasks that it ran.
    pub tasks: i64,
    /// Multiply-adds that it issued.
    pub madds: u64,
    /// How long it was in generated code: the clock is read once a slice of tasks.
    pub busy: Duration,
}

/// What a launch took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tasks in all.
    pub tasks: i64,
    /// What each worker did.
    pub workers: Vec<WorkerStats>,
    /// Multiply-adds issued for both products, padding included.
    pub madds: u64,
    /// Bytes allocated beyond the tensors.
    pub extra_bytes: u64,
}

/// One launch.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Queries `[B,N,H,D]`.
    pub q: View<'a>,
    /// Keys `[B,N,H_kv,D]`.
    pub k: View<'a>,
    /// Values `[B,N,H_kv,D]`.
    pub v: View<'a>,
    /// Output `[B,N,H,D]`, in the operator's dtype.
    pub out: ViewMut<'a>,
    /// Log-sum-exp `[B,H,N]`, f32.
    pub lse: ViewMut<'a>,
    /// Who runs the tasks.
    pub workers: Workers<'a>,
}

/// Runs a launch to its end.
///
/// # Errors
/// Tensors that do not fit the kernel, before anything runs; a stop by `watch`.
pub fn launch(jit: &Jit, mut l: Launch<'_>, watch: Watch<'_>) -> Result<Stats, LaunchError> {
    let t = jit.layout().tensors;
    let (heads, kv, d) = (t.heads as usize, t.kv_heads as usize, t.head_dim as usize);
    let (batch, seq_len) = match *l.q.shape() {
        [batch, seq_len, _, _] => (batch, seq_len),
        _ => (0, 0),
    };
    let storage = Storage::from(t.dtype);
    let wanted = |name, shape, storage| Wanted {
        name,
        shape,
        storage,
    };
    let (rows, keys) = ([batch, seq_len, heads, d], [batch, seq_len, kv, d]);
    let q = input(&l.q, &wanted("q", &rows, storage))?;
    let k = input(&l.k, &wanted("k", &keys, storage))?;
    let v = input(&l.v, &wanted("v", &keys, storage))?;
    let out = output(&mut l.out, &wanted("out", &rows, storage))?;
    let lse = output(
        &mut l.lse,
        &wanted("lse", &[batch, heads, seq_len], Storage::F32),
    )?;
    let inputs = [("q", &q), ("k", &k), ("v", &v)];
    apart(("out", &out), &inputs)?;
    apart(("out", &out), &[("lse", &lse)])?;
    apart(("lse", &lse), &inputs)?;
    let args = Args {
        size: size_of::<Args>() as u32,
        abi: ABI,
        q: q.pointer,
        k: k.pointer,
        v: v.pointer,
        out: out.pointer,
        lse: lse.pointer.cast(),
        batch: batch as i64,
        seq_len: seq_len as i64,
        q_stride: q.strides,
        k_stride: k.strides,
        v_stride: v.strides,
        out_stride: out.strides,
        lse_stride: [lse.strides[0], lse.strides[1]],
    };
    let mut plan = vec![0u64; jit.layout().plan_bytes.div_ceil(8)];
    let tasks = jit.plan(&args, &mut plan);
    if tasks < 0 {
        return Err(LaunchError::Plan(refusal(tasks)));
    }
    let rows = (batch * seq_len * heads) as u64;
    if rows == 0 {
        return Ok(Stats::default());
    }
    if !(1..=rows).contains(&(tasks as u64)) {
        return Err(LaunchError::Tasks { tasks, rows });
    }
    // SAFETY: the plan was just made by this kernel from tensors that were checked above and stay borrowed to the end of this function,
    // the outputs exclusively.
    #[allow(unsafe_code)]
    unsafe {
        tasks::run(jit, &plan, tasks, l.workers, watch)
    }
}

/// What a negative code of the generated functions says.
fn refusal(code: i64) -> &'static str {
    match code {
        ERROR_ABI => "their size or version is another build's",
        ERROR_SHAPE => "batch or sequence length is negative, or beyond 2^47 positions in all",
        ERROR_NULL => "a tensor with elements has no memory",
        ERROR_RANGE => "tasks that the plan does not have",
        ERROR_WORKSPACE => "a workspace that is null or not aligned to 64 bytes",
        ERROR_MACHINE => "this machine lacks what the code needs",
        _ => "a code of another build",
    }
}
