// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The tasks of one launch, dealt to workers and run to their end.
//!
//! In: a plan, its tasks, who runs them, and a caller who watches. Out: every task run once, and what it took.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use attnc_codegen_cpu::Jit;

use crate::pool::{MAX_THREADS, Workers};
use crate::ranges::{FIRST, Ranges, SLICE};
use crate::{LaunchError, Stats, WorkerStats, refusal};

/// Called between slices of tasks with (done, all), from any worker; [`ControlFlow::Break`] stops the launch.
pub type Watch<'p> = &'p (dyn Fn(i64, i64) -> ControlFlow<()> + Sync);

/// Slices are made to last about so long, within what [`SLICE`] allows: a caller who stops a launch waits for one slice of every worker.
const SLICE_TIME: Duration = Duration::from_millis(20);

/// Stops the other workers when this one is unwound by a panic of the watching caller's.
struct StopOnPanic<'a>(&'a AtomicBool);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs all tasks of `plan`.
///
/// # Safety
/// `plan` was filled by [`Jit::plan`] of `jit` and has `tasks` tasks; its tensors were checked and stay borrowed until this returns,
/// the outputs exclusively.
#[allow(unsafe_code)]
pub(crate) unsafe fn run(
    jit: &Jit,
    plan: &[u64],
    tasks: i64,
    workers: Workers<'_>,
    watch: Watch<'_>,
) -> Result<Stats, LaunchError> {
    let most = usize::try_from(tasks).unwrap_or(usize::MAX);
    let width = workers.width().min(MAX_THREADS).min(most);
    let ranges = Ranges::new(tasks, width);
    let bytes = jit.workspace(plan);
    let (done, stop) = (AtomicI64::new(0), AtomicBool::new(false));
    let failed = AtomicI64::new(0);
    let extra = AtomicU64::new(0);
    let worker = |worker: usize| -> WorkerStats {
        let _guard = StopOnPanic(&stop);
        let mut memory = vec![0u8; bytes + 64];
        extra.fetch_add(memory.len() as u64, Ordering::Relaxed);
        let offset = memory.as_ptr().align_offset(64);
        let mut did = WorkerStats::default();
        let mut size = FIRST;
        let mut next = Some(ranges.first(worker));
        while let Some(slice) = next
            && !stop.load(Ordering::Relaxed)
        {
            let (at, end) = (slice.start, slice.end);
            let begun = Instant::now();
            // SAFETY: the caller vouches for plan and tensors; tasks write disjoint rows (the race rule of the tile verifier), and every
            // task is run once, for each worker number is claimed once; the workspace is this worker's own, aligned and long enough.
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
            let took = begun.elapsed();
            did.madds += issued;
            did.tasks += end - at;
            did.busy += took;
            let total = done.fetch_add(end - at, Ordering::Relaxed) + end - at;
            if watch(total, tasks).is_break() && total < tasks {
                stop.store(true, Ordering::Relaxed);
            }
            size = match took {
                t if t > 2 * SLICE_TIME => size / 2,
                t if t < SLICE_TIME => size * 2,
                _ => size,
            }
            .clamp(1, SLICE);
            next = ranges.next(worker, size);
        }
        did
    };
    let claimed = AtomicUsize::new(0);
    let all = Mutex::new(Vec::with_capacity(width));
    workers.run(width, &|| {
        loop {
            let number = claimed.fetch_add(1, Ordering::Relaxed);
            if number >= width {
                break;
            }
            let work = worker(number);
            all.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((number, work));
        }
    })?;
    let failed = failed.load(Ordering::Relaxed);
    if failed < 0 {
        return Err(LaunchError::Plan(refusal(failed)));
    }
    if done.load(Ordering::Relaxed) < tasks {
        return Err(LaunchError::Cancelled);
    }
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.sort_by_key(|(number, _)| *number);
    let workers: Vec<WorkerStats> = all.into_iter().map(|(_, w)| w).collect();
    Ok(Stats {
        tasks,
        madds: workers.iter().map(|w| w.madds).sum(),
        workers,
        extra_bytes: extra.load(Ordering::Relaxed),
    })
}
