// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The memory and the functions of a kernel: declared once, named by the code of the other files.

use attnc_tile::core::{BufId, Core, FnId, Layout, Place, PlanId, Space, TableId, Val};
use attnc_tile::step::{self, Extents, Panels, Softmax};

use super::rows::TileAt;
use crate::code::{Code, within, within_seq};
use crate::nest::{Combine, Nest, Schedule};

/// Integers in a panel tag: everything that a panel's contents depend on.
pub(crate) const TAG: i64 = 10;
/// Position of a padding query: behind every key.
pub(crate) const BEHIND: i64 = 1 << 50;

/// Three buffers of a state.
#[derive(Clone, Copy)]
pub(crate) struct StateBufs {
    pub(crate) m: BufId,
    pub(crate) l: BufId,
    pub(crate) o: BufId,
}

/// What zero_lse = uncovered needs beside the state.
#[derive(Clone, Copy)]
pub(crate) struct Mixing {
    /// Chunk: sum of the outputs of hidden branches.
    pub(crate) fallback: BufId,
    /// Chunk: how many branches count.
    pub(crate) seen: BufId,
    /// Tile of `fallback`.
    pub(crate) tile_fallback: BufId,
    /// Tile of `seen`.
    pub(crate) tile_seen: BufId,
    /// Rows of the cell: 1 where the branch shows exactly one key.
    pub(crate) one: BufId,
    /// The same as floats, one tile.
    pub(crate) tile_one: BufId,
}

/// Classes of positions: those of equal mask.
#[derive(Clone, Copy)]
pub(crate) struct Classes {
    /// How many (a cell).
    pub(crate) count: BufId,
    /// Mask of each.
    pub(crate) mask: BufId,
    /// Where its residues begin in `residue`; one more than classes.
    pub(crate) begin: BufId,
    /// Offsets within a period, ascending in each class.
    pub(crate) residue: BufId,
}

/// Places of one tile's state.
#[derive(Clone, Copy)]
pub(crate) struct TileState {
    pub(crate) m: Place,
    pub(crate) l: Place,
    pub(crate) o: Place,
}

/// What rounding took from the `l` and `o` of a compensated sum.
#[derive(Clone, Copy)]
pub(crate) struct ErrorBufs {
    pub(crate) l: BufId,
    pub(crate) o: BufId,
}

/// The compensated sums of the tiles of a row block, into which their states are settled.
#[derive(Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) state: StateBufs,
    pub(crate) errors: ErrorBufs,
    /// By tile: steps since its state was settled.
    pub(crate) steps: BufId,
    pub(crate) open: FnId,
    pub(crate) settle: FnId,
}

/// The tile functions in use.
#[derive(Clone, Copy)]
pub(crate) struct Fns {
    pub(crate) init: FnId,
    pub(crate) step: FnId,
    /// The first of two sweeps.
    pub(crate) peak: Option<FnId>,
    pub(crate) finish: FnId,
    pub(crate) zeros: Option<FnId>,
    pub(crate) normalize: Option<FnId>,
    /// `join`, `settle` or `mix`.
    pub(crate) join: Option<FnId>,
}

/// What is known of the panels in hand beside their rows and positions.
#[derive(Clone, Copy)]
pub(crate) enum Held {
    /// Panels in slots.
    Slots {
        /// What the slots hold.
        tags: BufId,
        /// Whether the panels need care.
        careful: BufId,
        /// Panels that the sweep has gone through.
        passed: BufId,
    },
    /// Panels in stages; both are staged with them.
    Stages {
        /// Keys of the panel.
        keys: BufId,
        /// Their count for each row class.
        counts: BufId,
    },
}

/// How panels of keys and of values are laid out.
#[derive(Clone, Copy)]
pub(crate) struct Packed {
    pub(crate) k: Layout,
    pub(crate) v: Layout,
}

impl Packed {
    fn of(e: Extents, sched: &Schedule) -> Packed {
        match sched.panels {
            Panels::Float => Packed {
                k: sched.spaces.panels.1,
                v: sched.spaces.panels.1,
            },
            Panels::Half => Packed {
                k: e.keys(),
                v: e.values(),
            },
        }
    }
}

/// Everything that the code of a kernel names.
pub(crate) struct Parts<'a> {
    pub(crate) nest: &'a Nest,
    pub(crate) sched: &'a Schedule,
    pub(crate) branches: i64,
    pub(crate) segment: TableId,
    pub(crate) dilation: TableId,
    pub(crate) weight: TableId,
    /// Groups + 1 beginnings in the branch tables.
    pub(crate) group: TableId,
    pub(crate) period: TableId,
    /// Clipped segment lengths w'.
    pub(crate) clipped: PlanId,
    /// Per branch of the group: segment start and end, offset, first covered place behind a base.
    pub(crate) seg_start: BufId,
    pub(crate) seg_end: BufId,
    pub(crate) offset: BufId,
    pub(crate) first: BufId,
    /// Masks of the residues of a period, while classes are made.
    pub(crate) masks: BufId,
    pub(crate) row_classes: Classes,
    pub(crate) key_classes: Classes,
    /// Ends of the regions of a cell.
    pub(crate) ends: BufId,
    /// Rows of a cell: output position, row in the chunk, source position (-1: none), position to compare, class, zero keys.
    pub(crate) rout: BufId,
    pub(crate) ridx: BufId,
    pub(crate) rsrc: BufId,
    pub(crate) rpos: BufId,
    pub(crate) rclass: BufId,
    pub(crate) rzeros: BufId,
    /// Rows that nothing covers.
    pub(crate) bare: BufId,
    pub(crate) covered: BufId,
    pub(crate) iota: BufId,
    /// Cells: mutable scalars.
    pub(crate) count: BufId,
    pub(crate) count2: BufId,
    pub(crate) low: BufId,
    pub(crate) high: BufId,
    pub(crate) any: BufId,
    /// Count of a key class for each row class, and for the lanes of a tile.
    pub(crate) class_count: BufId,
    pub(crate) lane_count: BufId,
    pub(crate) kpos: BufId,
    pub(crate) held: Held,
    pub(crate) qflag: BufId,
    pub(crate) k: BufId,
    pub(crate) v: BufId,
    /// How panels are laid out.
    pub(crate) packed: Packed,
    pub(crate) q: BufId,
    /// States of the tiles of a row block.
    pub(crate) state: StateBufs,
    /// Where the states of long rows are settled.
    pub(crate) settled: Option<Settled>,
    /// One tile for what the chunk's state is loaded into beside `state`.
    pub(crate) other: Option<StateBufs>,
    /// State by row of the chunk.
    pub(crate) chunk_state: Option<StateBufs>,
    /// Errors of the chunk's states where many groups come together, and one tile for them.
    pub(crate) chunk_errors: Option<(ErrorBufs, ErrorBufs)>,
    pub(crate) mixing: Option<Mixing>,
    /// log(count), log(zeros), lse: row vectors of one tile.
    pub(crate) t: BufId,
    pub(crate) z: BufId,
    pub(crate) lse: BufId,
    pub(crate) fns: Fns,
}

/// A core with the operator's constants and nothing else.
pub(crate) fn empty_core(nest: &Nest, sched: &Schedule) -> Core {
    // Below this no score exceeds 2^24, where f32 still tells neighbouring exponents apart: D * t^2 * scale <= 2^24.
    let scale = nest.scale.max(1.0).log2();
    let exponent = ((24.0 - f64::from(nest.head_dim).log2() - scale) / 2.0).floor();
    Core {
        name: nest.name.clone(),
        target: sched.target.clone(),
        heads: nest.heads,
        kv_heads: nest.kv_heads,
        head_dim: nest.head_dim,
        dtype: nest.dtype,
        causal: nest.causal,
        key_step: sched.key_step,
        warps: sched.warps,
        stages: sched.stages,
        careful_above: exponent.exp2() as f32,
        bufs: Vec::new(),
        tables: Vec::new(),
        plan_tables: Vec::new(),
        fns: Vec::new(),
        vals: 0,
        plan: Vec::new(),
        tasks: Val(0),
        enter: Vec::new(),
        body: Vec::new(),
    }
}

fn classes(c: &mut Code, prefix: &str) -> Classes {
    let name = |s: &str| format!("{prefix}_{s}");
    Classes {
        count: c.ints(&name("classes"), 1, within(0, 64)),
        mask: c.ints(&name("mask"), 64, None),
        begin: c.ints(&name("begin"), 65, within(0, 64)),
        residue: c.ints(&name("residue"), 64, within(0, i64::MAX >> 1)),
    }
}

impl<'a> Parts<'a> {
    pub(crate) fn new(c: &mut Code, nest: &'a Nest, sched: &'a Schedule) -> Parts<'a> {
        let terms: Vec<_> = nest
            .groups
            .iter()
            .flat_map(|g| g.terms.iter().copied())
            .collect();
        let mut begins = vec![0i64];
        for g in &nest.groups {
            begins.push(begins[begins.len() - 1] + g.terms.len() as i64);
        }
        let (chunk, mq, d) = (
            u64::from(sched.chunk),
            u64::from(sched.mq),
            u64::from(nest.head_dim),
        );
        let (rows, panel, slots) = (
            u64::from(sched.rows),
            u64::from(sched.panel),
            u64::from(sched.slots),
        );
        let row_cap = chunk + mq;
        let e = Extents {
            mq: sched.mq,
            nk: sched.nk,
            head_dim: nest.head_dim,
            panels: sched.panels,
        };
        let softmax = Softmax {
            base2: nest.base2,
            scale: nest.scale as f32,
            weights: nest.weights(),
        };
        let float = |c: &mut Code, name: &str, len: u64| {
            c.floats(name, len, sched.spaces.tiles, Layout::St)
        };
        let kept =
            |c: &mut Code, name: &str, len: u64| c.floats(name, len, Space::Work, Layout::St);
        let state = |c: &mut Code, prefix: &str, rows: u64| StateBufs {
            m: float(c, &format!("{prefix}_m"), rows),
            l: float(c, &format!("{prefix}_l"), rows),
            o: float(c, &format!("{prefix}_o"), rows * d),
        };
        let chunk_state = |c: &mut Code| StateBufs {
            m: kept(c, "chunk_m", chunk),
            l: kept(c, "chunk_l", chunk),
            o: kept(c, "chunk_o", chunk * d),
        };
        let through = super::through_chunk(nest);
        let mix = matches!(nest.combine, Combine::Mix { .. });
        let many = nest.many() && through;
        let steps = nest
            .groups
            .iter()
            .map(|g| g.most_steps(sched.nk, sched.panel));
        // A stream is one state through all groups.
        let steps = match nest.combine {
            Combine::Stream => steps.fold(0, i64::saturating_add),
            Combine::Join | Combine::Merge | Combine::Mix { .. } => steps.fold(0, i64::max),
        };
        let long = sched.settle > 0 && sched.warps == 1 && steps > i64::from(sched.settle);
        let settle = (long || many && !mix).then(|| c.function(step::settle(e, softmax)));
        let fns = Fns {
            init: c.function(step::init(e)),
            step: c.function(step::step(e, softmax, nest.causal)),
            peak: nest
                .two_sweeps
                .then(|| c.function(step::peak(e, softmax, nest.causal))),
            finish: match nest.combine {
                Combine::Mix { branches } => c.function(step::finish_mix(e, softmax, branches)),
                Combine::Stream | Combine::Join | Combine::Merge => {
                    c.function(step::finish(e, softmax))
                }
            },
            zeros: nest.zero_keys.then(|| c.function(step::zeros(e, softmax))),
            normalize: (nest.combine == Combine::Merge)
                .then(|| c.function(step::normalize(e, softmax))),
            join: match nest.combine {
                Combine::Stream => None,
                Combine::Join | Combine::Merge if many => settle,
                Combine::Join | Combine::Merge => Some(c.function(step::join(e, softmax))),
                Combine::Mix { .. } => Some(c.function(step::mix(e, softmax, many))),
            },
        };
        let tags = (sched.stages == 1).then(|| c.ints("panel_tags", slots * TAG as u64, None));
        let kpos = c.ints("panel_positions", slots * panel, within_seq(0, -1));
        let held = match tags {
            Some(tags) => Held::Slots {
                tags,
                careful: c.ints("panel_careful", slots, within(0, 1)),
                passed: c.ints("panels_passed", 1, within(0, i64::MAX >> 1)),
            },
            None => Held::Stages {
                keys: c.ints("panel_keys", 1, within(0, panel as i64)),
                counts: c.ints("panel_counts", 64, within(0, i64::MAX)),
            },
        };
        let lies = Packed::of(e, sched);
        let place = |layout: Layout| (sched.spaces.panels.0, layout);
        let k = c.panel("k_panels", slots * lies.k.room(panel, d), place(lies.k));
        let v = c.panel("v_panels", slots * lies.v.room(panel, d), place(lies.v));
        match held {
            Held::Slots { tags, careful, .. } if sched.keep_panels => {
                for buf in [tags, kpos, careful, k, v] {
                    c.persist(buf);
                }
            }
            Held::Slots { .. } => {}
            Held::Stages { keys, counts } => {
                for buf in [kpos, keys, counts] {
                    c.staged(buf);
                }
            }
        }
        Parts {
            nest,
            sched,
            branches: terms.len() as i64,
            segment: c.table("segment", terms.iter().map(|t| t.segment).collect()),
            dilation: c.table("dilation", terms.iter().map(|t| t.dilation).collect()),
            weight: c.table("weight", terms.iter().map(|t| t.weight).collect()),
            group: c.table("group", begins),
            period: c.table(
                "period",
                nest.groups
                    .iter()
                    .map(|g| g.period().unwrap_or(1))
                    .collect(),
            ),
            clipped: c.plan_table("clipped", terms.len() as u64, within_seq(1, 0)),
            seg_start: c.ints("segment_start", 64, within(0, i64::MAX >> 1)),
            seg_end: c.ints("segment_end", 64, within_seq(0, 0)),
            offset: c.ints("offset", 64, within(0, i64::from(nest.heads))),
            first: c.ints("first", 64, within(0, i64::MAX >> 1)),
            masks: c.ints("masks", 64, None),
            row_classes: classes(c, "row"),
            key_classes: classes(c, "key"),
            ends: c.ints("region_ends", 128, within_seq(0, 0)),
            rout: c.ints("row_position", row_cap, within_seq(0, -1)),
            ridx: c.ints("row_in_chunk", row_cap, within(0, chunk as i64 - 1)),
            rsrc: c.ints("row_source", row_cap, within_seq(-1, -1)),
            rpos: c.ints("row_compare", row_cap, within(0, BEHIND)),
            rclass: c.ints("row_class", row_cap, within(0, 63)),
            rzeros: c.ints("row_zeros", row_cap, within(0, i64::MAX)),
            bare: c.ints("bare_rows", row_cap, within_seq(0, -1)),
            covered: c.ints("covered", chunk, within(0, 1)),
            iota: c.ints("iota", chunk, within(0, chunk as i64 - 1)),
            count: c.ints("count", 1, within(0, chunk as i64)),
            count2: c.ints("count2", 1, within(0, chunk.max(panel) as i64)),
            low: c.ints("low", 1, None),
            high: c.ints("high", 1, within(-1, BEHIND)),
            any: c.ints("any", 1, None),
            class_count: c.ints("class_count", 64, within(0, i64::MAX)),
            lane_count: c.ints("lane_count", mq, within(0, i64::MAX)),
            kpos,
            held,
            qflag: c.ints("query_careful", rows / mq, within(0, 1)),
            k,
            v,
            packed: lies,
            q: float(c, "q_tiles", rows * d),
            state: state(c, "tile", rows),
            settled: settle.filter(|_| long).map(|settle| Settled {
                state: state(c, "settled", rows),
                errors: ErrorBufs {
                    l: float(c, "settled_error_l", rows),
                    o: float(c, "settled_error_o", rows * d),
                },
                steps: c.ints("tile_steps", rows / mq, within(0, i64::from(sched.settle))),
                open: c.function(step::open(e)),
                settle,
            }),
            other: (through && nest.combine != Combine::Stream).then(|| state(c, "other", mq)),
            chunk_state: through.then(|| chunk_state(c)),
            chunk_errors: many.then(|| {
                let chunk = ErrorBufs {
                    l: kept(c, "chunk_error_l", chunk),
                    o: kept(c, "chunk_error_o", chunk * d),
                };
                let tile = ErrorBufs {
                    l: float(c, "other_error_l", mq),
                    o: float(c, "other_error_o", mq * d),
                };
                (chunk, tile)
            }),
            mixing: mix.then(|| Mixing {
                fallback: kept(c, "chunk_fallback", chunk * d),
                seen: kept(c, "chunk_seen", chunk),
                tile_fallback: float(c, "tile_fallback", mq * d),
                tile_seen: float(c, "tile_seen", mq),
                one: c.ints("row_one", row_cap, within(0, 1)),
                tile_one: float(c, "tile_one", mq),
            }),
            t: float(c, "weights", mq),
            z: float(c, "zeros", mq),
            lse: float(c, "lse", mq),
            fns,
        }
    }

    /// The state of the tile whose first lane is `lane`; `at_o` is `lane * D`.
    pub(crate) fn tile_state(&self, lane: Val, at_o: Val) -> TileState {
        state_at(self.state, lane, at_o)
    }
}

fn state_at(s: StateBufs, lane: Val, at_o: Val) -> TileState {
    let row = |buf| Place { buf, at: lane };
    TileState {
        m: row(s.m),
        l: row(s.l),
        o: Place { buf: s.o, at: at_o },
    }
}

impl TileState {
    /// As arguments.
    pub(crate) fn places(self) -> [Place; 3] {
        [self.m, self.l, self.o]
    }
}

impl Settled {
    /// The sum of the tile whose first lane is `lane`.
    pub(crate) fn tile_state(&self, lane: Val, at_o: Val) -> TileState {
        state_at(self.state, lane, at_o)
    }

    /// `open` or `settle` the state of a tile.
    pub(crate) fn call(&self, c: &mut Code, f: FnId, p: &Parts, t: TileAt) {
        let errors = [
            Place {
                buf: self.errors.l,
                at: t.lane,
            },
            Place {
                buf: self.errors.o,
                at: t.wide,
            },
        ];
        let mut tiles = self.tile_state(t.lane, t.wide).places().to_vec();
        tiles.extend(errors);
        tiles.extend(p.tile_state(t.lane, t.wide).places());
        c.call(f, tiles, vec![t.live]);
        let zero = c.c(0);
        c.store(self.steps, t.number, zero);
    }
}
