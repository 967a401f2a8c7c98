// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Launches of compiled kernels: contiguous task ranges over a thread pool.
//!
//! In: a compiled program and borrowed tensors, checked here once, so that generated code never leaves them. Out: results in place, and
//! what the launch took. The bits of the result do not depend on the number of threads: a task's work is the same wherever it runs.

pub mod machine;
mod ranges;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;

use attnc_codegen_cpu::{
    ABI, Args, ERROR_ABI, ERROR_MACHINE, ERROR_NULL, ERROR_RANGE, ERROR_SHAPE, ERROR_WORKSPACE, Jit,
};
use attnc_tensor::{Slice, SliceMut, Storage, View, ViewMut};
use attnc_tile::core::Core;

use crate::ranges::Ranges;

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
        "the last dimension of {name} is not contiguous; copy it into a tensor whose head dimension has stride 1"
    )]
    Stride {
        /// Which tensor.
        name: &'static str,
    },
    /// The generated plan refused the arguments.
    #[error("the launch plan refused the arguments: {0}")]
    Plan(&'static str),
    /// Threads could not be started.
    #[error("the thread pool could not be started: {0}")]
    Threads(String),
    /// The caller's progress function asked to stop.
    #[error("stopped")]
    Cancelled,
}

/// What a launch took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    /// Tasks in all.
    pub tasks: i64,
    /// Tasks that each worker ran.
    pub worker_tasks: Vec<i64>,
    /// Multiply-adds that each worker issued.
    pub worker_madds: Vec<u64>,
    /// Seconds that each worker was busy.
    pub worker_seconds: Vec<f64>,
    /// Multiply-adds issued for both products, padding included.
    pub madds: u64,
    /// Bytes allocated beyond the tensors.
    pub extra_bytes: u64,
}

/// Called between slices of tasks with (done, all); `false` stops the launch.
pub type Progress<'p> = &'p (dyn Fn(i64, i64) -> bool + Sync);

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
    /// Workers, at least 1.
    pub threads: usize,
}

/// Runs a launch to its end.
///
/// # Errors
/// Tensors that do not fit the kernel, or a stop by `progress`.
pub fn launch(
    jit: &Jit,
    core: &Core,
    mut l: Launch<'_>,
    progress: Progress<'_>,
) -> Result<Stats, LaunchError> {
    let &[batch, seq_len, ..] = l.q.shape() else {
        return Err(shape(
            "q",
            l.q.shape(),
            &[0, 0, core.heads as usize, core.head_dim as usize],
        ));
    };
    let (d, heads, kv) = (
        core.head_dim as usize,
        core.heads as usize,
        core.kv_heads as usize,
    );
    let storage = Storage::from(core.dtype);
    let q = input("q", &l.q, &[batch, seq_len, heads, d], storage)?;
    let k = input("k", &l.k, &[batch, seq_len, kv, d], storage)?;
    let v = input("v", &l.v, &[batch, seq_len, kv, d], storage)?;
    for (name, t, needed, storage) in [
        ("out", &l.out, vec![batch, seq_len, heads, d], storage),
        ("lse", &l.lse, vec![batch, heads, seq_len], Storage::F32),
    ] {
        if t.shape() != needed {
            return Err(shape(name, t.shape(), &needed));
        }
        if t.storage() != storage {
            return Err(LaunchError::Storage {
                name,
                found: t.storage(),
                needed: storage,
            });
        }
    }
    let (os, ls) = (l.out.strides().to_vec(), l.lse.strides().to_vec());
    if (os[3] != 1 && d > 1) || (ls[2] != 1 && seq_len > 1) {
        return Err(LaunchError::Stride { name: "out or lse" });
    }
    let args = Args {
        size: size_of::<Args>() as u32,
        abi: ABI,
        q: q.0,
        k: k.0,
        v: v.0,
        out: output(&mut l.out),
        lse: output(&mut l.lse).cast(),
        batch: batch as i64,
        seq_len: seq_len as i64,
        q_stride: q.1,
        k_stride: k.1,
        v_stride: v.1,
        out_stride: [os[0] as i64, os[1] as i64, os[2] as i64],
        lse_stride: [ls[0] as i64, ls[1] as i64],
    };
    let mut plan = vec![0u64; jit.layout().plan_bytes.div_ceil(8)];
    let tasks = jit.plan(&args, &mut plan);
    if tasks < 0 {
        return Err(LaunchError::Plan(refusal(tasks)));
    }
    if tasks == 0 {
        return Ok(Stats::default());
    }
    let threads = l
        .threads
        .clamp(1, usize::try_from(tasks).unwrap_or(usize::MAX));
    run(jit, &plan, tasks, threads, progress)
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

/// Runs all tasks.
fn run(
    jit: &Jit,
    plan: &[u64],
    tasks: i64,
    threads: usize,
    progress: Progress<'_>,
) -> Result<Stats, LaunchError> {
    let ranges = Ranges::new(tasks, threads);
    let bytes = jit.workspace(plan);
    let (done, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let failed = AtomicI64::new(0);
    let extra = AtomicU64::new(0);
    let worker = |w: usize| -> (i64, u64, f64) {
        let mut memory = vec![0u8; bytes + 64];
        extra.fetch_add(memory.len() as u64, Ordering::Relaxed);
        let offset = memory.as_ptr().align_offset(64);
        let (start, mut ran, mut madds) = (Instant::now(), 0, 0);
        let mut next = Some(ranges.first(w));
        while let Some(slice) = next
            && !stop.load(Ordering::Relaxed)
        {
            let (at, end) = (slice.start, slice.end);
            // SAFETY: the plan was made by this kernel from tensors that `launch` has checked and borrows for its whole length, outputs
            // exclusively; tasks write disjoint rows (the race rule of the tile verifier), and every task is run once; the workspace is
            // this worker's own, aligned and long enough.
            #[allow(unsafe_code)]
            let code = unsafe { jit.run(plan, at, end, memory[offset..].as_mut_ptr()) };
            if code < 0 {
                failed.store(i64::from(code), Ordering::Relaxed);
                stop.store(true, Ordering::Relaxed);
                break;
            }
            let counter = offset + jit.layout().counter as usize;
            let issued = memory[counter..counter + 8]
                .try_into()
                .map_or(0, u64::from_le_bytes);
            madds += issued;
            ran += end - at;
            let total = done.fetch_add(end - at, Ordering::Relaxed) + end - at;
            if !progress(total, tasks) {
                stop.store(true, Ordering::Relaxed);
            }
            next = ranges.next(w);
        }
        (ran, madds, start.elapsed().as_secs_f64())
    };
    let results: Vec<(i64, u64, f64)> = if threads == 1 {
        vec![worker(0)]
    } else {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|e| LaunchError::Threads(e.to_string()))?;
        pool.broadcast(|c| worker(c.index()))
    };
    let failed = failed.load(Ordering::Relaxed);
    if failed < 0 {
        return Err(LaunchError::Plan(refusal(failed)));
    }
    if stop.load(Ordering::Relaxed) {
        return Err(LaunchError::Cancelled);
    }
    Ok(Stats {
        tasks,
        worker_tasks: results.iter().map(|r| r.0).collect(),
        worker_madds: results.iter().map(|r| r.1).collect(),
        worker_seconds: results.iter().map(|r| r.2).collect(),
        madds: results.iter().map(|r| r.1).sum(),
        extra_bytes: extra.load(Ordering::Relaxed),
    })
}

fn shape(name: &'static str, found: &[usize], needed: &[usize]) -> LaunchError {
    LaunchError::Shape {
        name,
        found: found.to_vec(),
        needed: needed.to_vec(),
    }
}

/// Pointer and strides of an input that fits; the view's own constructor has checked that its strides stay inside its memory.
fn input(
    name: &'static str,
    v: &View<'_>,
    needed: &[usize],
    storage: Storage,
) -> Result<(*const u8, [i64; 3]), LaunchError> {
    if v.shape() != needed {
        return Err(shape(name, v.shape(), needed));
    }
    if v.storage() != storage {
        return Err(LaunchError::Storage {
            name,
            found: v.storage(),
            needed: storage,
        });
    }
    let s = v.strides();
    if s[3] != 1 && needed[3] > 1 {
        return Err(LaunchError::Stride { name });
    }
    let p = match v.data() {
        Slice::F32(x) => x.as_ptr().cast(),
        Slice::Bf16(x) => x.as_ptr().cast(),
        Slice::F16(x) => x.as_ptr().cast(),
        Slice::F64(x) => x.as_ptr().cast(),
    };
    Ok((p, [s[0] as i64, s[1] as i64, s[2] as i64]))
}

fn output(t: &mut ViewMut<'_>) -> *mut u8 {
    match t.data_mut() {
        SliceMut::F32(x) => x.as_mut_ptr().cast(),
        SliceMut::Bf16(x) => x.as_mut_ptr().cast(),
        SliceMut::F16(x) => x.as_mut_ptr().cast(),
        SliceMut::F64(x) => x.as_mut_ptr().cast(),
    }
}
