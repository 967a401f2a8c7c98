// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Contiguous task ranges, one a worker, balanced while they run.
//!
//! In: the number of tasks and of workers. Out: slices of tasks for each worker, every task once. A worker goes through its own range
//! front to back, so that the panels it has packed serve the next tasks, and in slices that shrink towards its end: half of what is
//! left. One that has finished takes the rear half of the longest remaining range. So tasks of unequal cost (causal chunks, ragged
//! ends) and unequal processors come out even, whatever the kernel; which worker ran a task changes no bit of the result.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tasks of one slice at most: between slices the caller hears of progress and may stop.
pub(crate) const SLICE: i64 = 64;
/// Tasks of a worker's first slice where there are many: nobody knows yet what they cost.
pub(crate) const FIRST: i64 = 8;

/// What is left to do.
#[derive(Debug)]
pub(crate) struct Ranges {
    left: Vec<Mutex<Range<i64>>>,
    /// Every worker's first slice, which nobody else takes.
    first: Vec<Range<i64>>,
}

impl Ranges {
    /// `tasks` for `workers`, which are no more than there are tasks.
    pub(crate) fn new(tasks: i64, workers: usize) -> Ranges {
        let n = workers as i64;
        let mut first = Vec::new();
        let mut left = Vec::new();
        for w in 0..n {
            let mut range = tasks * w / n..tasks * (w + 1) / n;
            let many = workers == 1 || range.end - range.start > 2 * SLICE;
            let most = if many { FIRST } else { SLICE };
            first.push(slice(&mut range, workers, most));
            left.push(Mutex::new(range));
        }
        Ranges { left, first }
    }

    /// The slice that a worker starts with.
    pub(crate) fn first(&self, worker: usize) -> Range<i64> {
        self.first[worker].clone()
    }

    /// The next slice for a worker, of at most `most` tasks; nothing when all are taken.
    pub(crate) fn next(&self, worker: usize, most: i64) -> Option<Range<i64>> {
        loop {
            let found = slice(&mut self.lock(worker), self.left.len(), most);
            if !found.is_empty() {
                return Some(found);
            }
            // No lock is held while others are looked at, so what was longest may be gone when it is locked again.
            let length = |i: &usize| {
                let r = self.lock(*i);
                r.end - r.start
            };
            let longest = (0..self.left.len()).max_by_key(length)?;
            let stolen = {
                let mut r = self.lock(longest);
                let middle = r.start + (r.end - r.start) / 2;
                let stolen = middle..r.end;
                r.end = middle;
                stolen
            };
            if stolen.is_empty() {
                return None;
            }
            *self.lock(worker) = stolen;
        }
    }

    /// A worker that panicked has left its range as it was: whole.
    fn lock(&self, worker: usize) -> MutexGuard<'_, Range<i64>> {
        self.left[worker]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the front of a range: half of it, at least one task, where others may want the rest.
fn slice(range: &mut Range<i64>, workers: usize, most: i64) -> Range<i64> {
    let len = range.end - range.start;
    let share = if workers > 1 { (len + 1) / 2 } else { len };
    let middle = range.start + share.min(most.clamp(1, SLICE));
    let taken = range.start..middle;
    range.start = middle;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a task costs.
    type Cost = fn(i64) -> u64;

    /// Workers in turns by the cost of what they have done so far: what each did, and the slices in order of taking.
    fn simulate(tasks: i64, workers: usize, cost: Cost) -> (Vec<u64>, Vec<i64>) {
        let ranges = Ranges::new(tasks, workers);
        let mut busy = vec![0u64; workers];
        let mut seen = Vec::new();
        let mut run = |busy: &mut u64, slice: Range<i64>| {
            assert!(!slice.is_empty() && slice.end - slice.start <= SLICE);
            *busy += slice.clone().map(cost).sum::<u64>();
            seen.extend(slice);
        };
        for w in 0..workers {
            run(&mut busy[w], ranges.first(w));
        }
        while let Some(w) = (0..workers).min_by_key(|w| busy[*w])
            && let Some(slice) = ranges.next(w, SLICE)
        {
            run(&mut busy[w], slice);
        }
        seen.sort_unstable();
        (busy, seen)
    }

    #[test]
    fn every_task_is_taken_once_and_costs_come_out_even() {
        // Equal; causal, late chunks first; one heavy head at the end.
        let costs: [(&str, Cost); 3] = [
            ("equal", |_| 10),
            ("causal", |t| 32 - t as u64 % 32),
            ("heavy end", |t| if t >= 300 { 8 } else { 1 }),
        ];
        for (name, cost) in costs {
            for tasks in [7, 64, 320, 1000] {
                for workers in [1, 2, 3, 7] {
                    let (busy, seen) = simulate(tasks, workers, cost);
                    assert_eq!(seen, (0..tasks).collect::<Vec<_>>(), "{name}");
                    let all: u64 = busy.iter().sum();
                    let dearest = (0..tasks).map(cost).max().unwrap_or(0);
                    let most = busy.iter().max().copied().unwrap_or(0);
                    assert!(
                        most <= all / workers as u64 + 2 * dearest + all / 16,
                        "{name}, {tasks} tasks, {workers} workers: {busy:?}"
                    );
                    assert!(busy.iter().all(|b| *b > 0));
                }
            }
        }
    }
}
