// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Threads that launches run on: the caller's, or ours.
//!
//! In: a piece of work that may be called several times at once. Out: its calls, made and ended. Work finds out by itself what is left
//! to do, so a pool need not promise how many calls it makes, in what order, or on which threads.

use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::LaunchError;

/// Most workers of a launch; more would only exhaust the system.
pub const MAX_THREADS: usize = 1024;

/// Threads of the caller's.
///
/// ```
/// use attnc_runtime::Pool;
///
/// /// The threads that `std` starts, as a pool.
/// struct Scoped(usize);
///
/// impl Pool for Scoped {
///     fn width(&self) -> usize {
///         self.0
///     }
///     fn run(&self, calls: usize, work: &(dyn Fn() + Sync)) {
///         std::thread::scope(|s| {
///             for _ in 1..calls {
///                 s.spawn(work);
///             }
///             work();
///         });
///     }
/// }
/// # let n = std::sync::atomic::AtomicUsize::new(0);
/// # Scoped(3).run(3, &|| { n.fetch_add(1, std::sync::atomic::Ordering::Relaxed); });
/// # assert_eq!(n.into_inner(), 3);
/// ```
pub trait Pool: Sync {
    /// How many calls can run at once, at least 1: the number of workers that tasks are dealt to.
    fn width(&self) -> usize;

    /// Calls `work` up to `calls` times, at once where that is possible, and returns when all calls have ended. The caller's own thread
    /// may make some of them. Fewer calls make the launch slower, never wrong.
    fn run(&self, calls: usize, work: &(dyn Fn() + Sync));
}

/// A rayon pool, also from within one of its own threads. The calling thread takes part.
impl Pool for ThreadPool {
    fn width(&self) -> usize {
        self.current_num_threads()
    }

    fn run(&self, calls: usize, work: &(dyn Fn() + Sync)) {
        self.in_place_scope(|s| {
            for _ in 1..calls {
                s.spawn(|_| work());
            }
            work();
        });
    }
}

/// Who runs the tasks of a launch.
#[derive(Clone, Copy)]
pub enum Workers<'a> {
    /// So many threads of ours, the calling one among them; at least 1. They stay for the next launch.
    Threads(usize),
    /// The caller's threads.
    Pool(&'a dyn Pool),
}

impl Workers<'_> {
    /// How many workers there are, at least 1. A launch deals its tasks to at most [`MAX_THREADS`] of them.
    pub fn width(&self) -> usize {
        match self {
            Workers::Threads(n) => *n,
            Workers::Pool(pool) => pool.width(),
        }
        .max(1)
    }

    /// Calls `work` from `calls` threads.
    pub(crate) fn run(&self, calls: usize, work: &(dyn Fn() + Sync)) -> Result<(), LaunchError> {
        match self {
            Workers::Threads(_) if calls <= 1 => work(),
            Workers::Threads(_) => ours(calls - 1)?.run(calls, work),
            Workers::Pool(pool) => pool.run(calls, work),
        }
        // Whatever the pool has left is done here.
        work();
        Ok(())
    }
}

impl std::fmt::Debug for Workers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Workers::Threads(n) => f.debug_tuple("Threads").field(n).finish(),
            Workers::Pool(pool) => f.debug_tuple("Pool").field(&pool.width()).finish(),
        }
    }
}

/// The pool of the last launch with several threads, and the process that started it.
static LAST: Mutex<Option<(u32, Arc<ThreadPool>)>> = Mutex::new(None);

/// A pool of so many threads beside the caller's: the last one if it fits, else a new one. Threads do not survive a fork, so a child
/// process starts its own.
fn ours(threads: usize) -> Result<Arc<ThreadPool>, LaunchError> {
    let me = std::process::id();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((process, pool)) = &*last
        && *process == me
        && pool.current_num_threads() == threads
    {
        return Ok(pool.clone());
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|i| format!("attnc-{i}"))
        .build()
        .map_err(|e| LaunchError::Threads(e.to_string()))?;
    let pool = Arc::new(pool);
    if let Some((process, old)) = last.replace((me, pool.clone()))
        && process != me
    {
        // Its threads are in another process: nobody would answer when it is told to end.
        std::mem::forget(old);
    }
    Ok(pool)
}
