// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a schedule is going to take, in time.
//!
//! In: what a schedule does ([`Work`]), its kernels, D, threads. Out: nanoseconds of a machine made up: only their order counts. Scores at the
//! kernel's rate, what a step does once for its rows, what a tile does once for a panel, packing, gathering, and what tasks and
//! cells cost by themselves. The weights are estimates, not fitted; `cargo bench -p attnc-benches --bench schedules` prints how well the
//! order holds (docs/performance.md).

use attnc_schedule::{Panels, Schedule};

use crate::pipeline::Work;

/// Nanoseconds of one core.
struct Weights {
    /// A multiply-add of both products.
    madd: f64,
    /// The exponential of a score.
    exp: f64,
    /// A call of `step`.
    step: f64,
    /// An element of a row's state, in a step.
    state: f64,
    /// A tile that meets a panel.
    meet: f64,
    /// An element of a packed key or value.
    pack: f64,
    /// An element of a gathered row, with its state's way through the chunk.
    row: f64,
    /// A run of keys.
    run: f64,
    /// A cell.
    cell: f64,
    /// A task.
    task: f64,
}

/// Assembled kernels of 256 bits; those of 512 differ in the rate of products.
const WIDE: Weights = Weights {
    madd: 0.0145,
    exp: 0.3,
    step: 60.0,
    state: 0.08,
    meet: 350.0,
    pack: 0.35,
    row: 0.8,
    run: 250.0,
    cell: 600.0,
    task: 3000.0,
};

/// Cranelift's kernels of 128 bits.
const PORTABLE: Weights = Weights {
    madd: 0.035,
    exp: 0.9,
    step: 100.0,
    state: 0.25,
    ..WIDE
};

/// The time of one batch entry on `threads` threads.
pub fn predict(work: &Work, sched: &Schedule, head_dim: u32, threads: usize) -> f64 {
    predicted(
        work,
        weights(&sched.target, sched.panels),
        head_dim,
        threads,
    )
}

fn weights(target: &str, panels: Panels) -> Weights {
    let faster = |by: f64, exp: f64| Weights {
        madd: WIDE.madd / by,
        exp: WIDE.exp / exp,
        ..WIDE
    };
    match (target, panels) {
        ("x86_64-v3", _) => WIDE,
        ("x86_64-v4", Panels::Half) => faster(3.6, 2.0),
        ("x86_64-amx", Panels::Half) => faster(15.0, 4.0),
        ("x86_64-v4" | "x86_64-amx", Panels::Float) => faster(1.9, 1.0),
        _ => PORTABLE,
    }
}

fn predicted(work: &Work, w: Weights, head_dim: u32, threads: usize) -> f64 {
    let d = f64::from(head_dim);
    let all = work.busy * (2.0 * d * w.madd + w.exp)
        + work.steps * w.step
        + work.lanes * d * w.state
        + work.meets * w.meet
        + work.packed * 2.0 * d * w.pack
        + work.rows * d * w.row
        + work.runs * w.run
        + work.cells * w.cell
        + work.tasks * w.task;
    // The last tasks of a launch leave workers without any: half a task each, on average.
    let threads = threads.max(1) as f64;
    let idle = (threads - 1.0) / threads * 0.5 * all / work.tasks.max(1.0);
    all / threads + idle
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_of_anything_takes_longer_and_threads_share_it() {
        let one = Work {
            tasks: 8.0,
            cells: 16.0,
            runs: 20.0,
            rows: 4096.0,
            tiles: 90.0,
            packed: 4096.0,
            meets: 500.0,
            steps: 2000.0,
            lanes: 96_000.0,
            scores: 6e6,
            busy: 6e6,
            products: 8e8,
        };
        let wide = || weights("x86_64-v3", Panels::Float);
        let time = |w: &Work| predicted(w, wide(), 64, 1);
        let more: [fn(&mut Work); 6] = [
            |w| w.busy *= 1.1,
            |w| w.steps *= 1.5,
            |w| w.packed *= 1.5,
            |w| w.meets *= 1.5,
            |w| w.cells *= 2.0,
            |w| w.rows *= 1.5,
        ];
        for change in more {
            let mut other = one;
            change(&mut other);
            assert!(time(&other) > time(&one));
        }
        let two = predicted(&one, wide(), 64, 2);
        assert!(two > time(&one) / 2.0 && two < time(&one) * 0.6);
        // Few tasks leave workers idle.
        let few = Work { tasks: 2.0, ..one };
        assert!(predicted(&few, wide(), 64, 2) > two);
        assert!(time(&one) < predicted(&one, weights("x86_64", Panels::Float), 64, 1));
        let amx = |panels| predicted(&one, weights("x86_64-amx", panels), 64, 1);
        assert!(amx(Panels::Half) < amx(Panels::Float));
    }
}
