// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Panels in stages: copies run ahead of the steps, from one run of keys to the next, and are drained once, when the rows change.
//!
//! In: the stretches of keys, one panel each, in the order of the loops around. Out: code that begins to copy each panel as soon as a
//! stage is free and steps through the panel that was begun `stages - 1` stretches before. A panel carries all that its steps need, its
//! positions and counts, because the loops are elsewhere when it comes to the front. One barrier a panel does for both sides: behind
//! the wait it shows every warp the copies of the others, and it says that no warp still reads the stage that is filled next.

use attnc_tile::core::{Place, Port, Val};

use super::classes::Branches;
use super::keys::{Care, Panel, Stretch, Sweep, positions, rows_of, tile};
use super::parts::Held;
use super::rows::each_tile;
use super::{Parts, Task};
use crate::code::Code;

/// Begins to copy one panel and steps through the oldest in flight, if all stages but one are taken.
pub(crate) fn panel(
    c: &mut Code,
    p: &Parts,
    task: &Task,
    branches: Branches,
    sweep: Sweep,
    stretch: Stretch,
    r0: Val,
    live: Val,
) {
    let ahead = p.sched.stages - 1;
    let queued = c.queued();
    let most = c.c(i64::from(ahead));
    let full = c.eq(queued, most);
    c.when(full, |c| c.wait(ahead - 1));
    c.barrier();
    begin(c, p, task, branches, sweep, stretch);
    c.when(full, |c| front(c, p, sweep, r0, live));
}

/// Steps through all panels in flight.
pub(crate) fn drain(c: &mut Code, p: &Parts, sweep: Sweep, r0: Val, live: Val) {
    let most = c.c(i64::from(p.sched.stages) - 1);
    c.upto(most, |c, _| {
        let queued = c.queued();
        c.when(queued, |c| {
            c.wait(0);
            c.barrier();
            front(c, p, sweep, r0, live);
        });
    });
}

/// Fills the stage at the rear: scalars at once, rows when their copies arrive.
fn begin(c: &mut Code, p: &Parts, task: &Task, branches: Branches, sweep: Sweep, stretch: Stretch) {
    let Held::Stages { keys, counts } = p.held else {
        return;
    };
    let classes = c.get(p.row_classes.count);
    c.upto(classes, |c, class| {
        let n = c.load(p.class_count, class);
        c.store(counts, class, n);
    });
    let end = stretch.end(c);
    let (at, capacity) = (c.c(0), c.c(i64::from(p.sched.panel)));
    let count = positions(c, p, task, branches, stretch, end, at, capacity);
    c.set(keys, count);
    let idx = Place { buf: p.kpos, at };
    c.copy(Place { buf: p.k, at }, rows_of(task, Port::K), idx, count);
    match sweep {
        // Peaks need no values.
        Sweep::Peak(_) => {}
        Sweep::Step(_) => c.copy(Place { buf: p.v, at }, rows_of(task, Port::V), idx, count),
    }
    c.commit();
}

/// Steps through the panel at the front and gives its stage back.
fn front(c: &mut Code, p: &Parts, sweep: Sweep, r0: Val, live: Val) {
    let Held::Stages { keys, counts } = p.held else {
        return;
    };
    let at = c.c(0);
    let count = c.get(keys);
    let width = p.nest.head_dim;
    let looked = c.inspect(Place { buf: p.k, at }, width, count);
    let looked = match sweep {
        Sweep::Peak(_) => looked,
        Sweep::Step(_) => {
            let values = c.inspect(Place { buf: p.v, at }, width, count);
            c.or(looked, values)
        }
    };
    let panel = Panel {
        at,
        count,
        careful: Care::Known(looked),
        counts,
    };
    each_tile(c, p, live, |c, t| tile(c, p, sweep, panel, r0, t));
    c.release();
}
