// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a fused graph says, as a nest of loops: groups of branches, and how their results come together.
//!
//! In: the normal forms that rewriting reaches (`from_graph`). Out: a [`Nest`], the only thing that lowering reads beside the
//! schedule. Nothing here knows which branches stood in the source: the graph's groups decide.

use attnc_tensor::DType;
use attnc_tile::core::{Accuracy, KEY_STEP, Layout, QUERY_STEP, Space};
use attnc_tile::step::{Extents, PAIR_LANES, PAIRS, Panels};

/// A segment length that exceeds every sequence: `segment = whole`.
pub const WHOLE: i64 = 1 << 50;

/// One branch of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// Segment length, or [`WHOLE`].
    pub segment: i64,
    /// Dilation rate.
    pub dilation: i64,
    /// How many times a key counts that this branch shows.
    pub weight: i64,
}

/// A set of branches whose distinct keys are scored once (`once` in the graph).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The branches, at most 64.
    pub terms: Vec<Term>,
}

/// How the states of the groups come together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Combine {
    /// Every group goes on with the same online softmax (`fold`).
    Stream,
    /// Every group makes its own state; states are joined (`join`).
    Join,
    /// Every group makes its own (out, lse); they are mixed by their lse (`merge`).
    Merge,
    /// The same under zero_lse = uncovered, with 1/branches as the fallback weight (`mix`).
    Mix {
        /// Number of branches as written.
        branches: u32,
    },
}

/// The loops of one operator.
#[derive(Clone, Debug, PartialEq)]
pub struct Nest {
    /// Operator name.
    pub name: String,
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Head dimension.
    pub head_dim: u32,
    /// Storage dtype.
    pub dtype: DType,
    /// Keys behind a query are hidden.
    pub causal: bool,
    /// `offsets = blocked` instead of `modulo`.
    pub blocked: bool,
    /// `ragged = zero_keys`.
    pub zero_keys: bool,
    /// Rows come back displaced; every group is a single branch then.
    pub displaced: bool,
    /// exp2 with log2 e folded into the scale, instead of exp.
    pub base2: bool,
    /// Factor of q.k.
    pub scale: f64,
    /// Weights may be as coarse as the dtype's bounds allow (`precision = fast`).
    pub fast: bool,
    /// Packed panels are kept for the tasks that need them again.
    pub panels: bool,
    /// Softmaxes were left unfused: a first sweep over the keys finds each row's largest score, a second one takes exponentials. Scores
    /// are computed twice, because the memory of a worker never depends on N.
    pub two_sweeps: bool,
    /// See [`Combine`].
    pub combine: Combine,
    /// The groups, in order.
    pub groups: Vec<Group>,
}

/// Tile sizes and loop sizes: the decisions of the schedule, as data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Target name.
    pub target: String,
    /// Queries in a tile.
    pub mq: u32,
    /// Keys in a step.
    pub nk: u32,
    /// Keys in a packed panel, a multiple of `nk`.
    pub panel: u32,
    /// Rows of a task.
    pub chunk: u32,
    /// Rows whose states are live together, a multiple of `mq`.
    pub rows: u32,
    /// Panels that a worker holds at a time: short ones, so that a group which shares keys, whose runs are many and of many lengths,
    /// finds most of them again in the next block of rows and the next task.
    pub slots: u32,
    /// Whether panels outlive the task that packed them. Blocks of a GPU run one task and keep nothing.
    pub keep_panels: bool,
    /// Keys are processed in steps of this many; `nk` is a multiple of it.
    pub key_step: u32,
    /// Steps of a state before it is settled in a compensated sum; 0, or where several warps share the count: states stay plain.
    pub settle: u32,
    /// Panels in shared memory at a time, each with its copies in flight, awaited or being read. With 1, panels are packed where they
    /// are needed and kept in slots; with more, they go round in a queue and are never kept.
    pub stages: u32,
    /// Warps that divide the rows of a tile among them.
    pub warps: u32,
    /// What a step takes keys and values in. Under [`Panels::Half`] a step takes a whole panel, and the layout of [`Spaces::panels`]
    /// does not count: keys are padded and values transposed.
    pub panels: Panels,
    /// Where things live.
    pub spaces: Spaces,
}

/// Memory spaces of the buffers of a task. States of whole chunks are always in work memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spaces {
    /// Masks, positions, counts.
    pub ints: Space,
    /// Packed keys and values.
    pub panels: (Space, Layout),
    /// Queries, states and row vectors of the tiles in hand.
    pub tiles: Space,
}

impl Spaces {
    /// All in the memory of a worker.
    pub const CPU: Spaces = Spaces {
        ints: Space::Work,
        panels: (Space::Work, Layout::Row),
        tiles: Space::Work,
    };
    /// A block shares what its warps agree on; tiles are fragments.
    pub const GPU: Spaces = Spaces {
        ints: Space::Shared,
        panels: (Space::Shared, Layout::Swz128),
        tiles: Space::Frag,
    };
}

impl Schedule {
    /// The default for the portable 128-bit kernels: tiles that keep scores, weights and a block of keys in the first-level cache,
    /// states and queries of `rows` rows in the second, and per worker at most 1.25 MB beside the panels at D = 64.
    pub fn portable(target: &str, head_dim: u32, branches: usize) -> Schedule {
        let (mq, nk) = (32, 80);
        let fit = |elements: u32, step: u32, most: u32| {
            (elements / head_dim / step * step).clamp(step, most)
        };
        Schedule {
            target: target.to_string(),
            mq,
            nk,
            panel: fit(240 * 64, nk, 240),
            chunk: fit(2048 * 64, 256, 2048),
            rows: fit(512 * 64, 128, 512),
            slots: 8 * u32::try_from(branches).unwrap_or(u32::MAX).clamp(1, 8),
            keep_panels: true,
            key_step: KEY_STEP,
            settle: 32,
            stages: 1,
            warps: 1,
            panels: Panels::Float,
            spaces: Spaces::CPU,
        }
    }

    /// The default for assembled kernels of 256- and 512-bit vectors: tiles of three vectors of 512 bits, or twice three of 256; what a
    /// step works on (queries, scores, a block of keys and of values, state) fits the second-level cache many times over and streams
    /// through the first. The rest as for [`Schedule::portable`].
    pub fn wide(target: &str, head_dim: u32, branches: usize) -> Schedule {
        let (mq, nk) = (48, 64);
        let portable = Schedule::portable(target, head_dim, branches);
        Schedule {
            mq,
            nk,
            panel: (256 * 64 / head_dim / nk * nk).clamp(nk, 256),
            rows: (portable.rows / mq * mq).max(mq),
            key_step: 8,
            ..portable
        }
    }

    /// The default for kernels that multiply pairs of 16-bit elements (AVX512-BF16, AMX): a panel is what one step takes, so that packed
    /// keys and values, some 64 KiB, are the operands of two uninterrupted products; three matrix tiles of queries by two, or six vectors.
    /// The rest as for [`Schedule::portable`].
    pub fn half(target: &str, head_dim: u32, branches: usize) -> Schedule {
        let mq = 96;
        let portable = Schedule::portable(target, head_dim, branches);
        let pitch = head_dim.next_multiple_of(PAIRS);
        let panel = (256 * 64 / pitch / PAIRS * PAIRS).clamp(PAIRS, 256);
        Schedule {
            mq,
            nk: panel,
            panel,
            rows: (portable.rows / mq * mq).max(mq),
            key_step: PAIRS,
            panels: Panels::Half,
            ..portable
        }
    }

    /// The default for GPUs with 16-byte asynchronous copies and m16n8k8 / m16n8k16 fragments: a block of four warps takes a tile of 128
    /// queries, which are the rows of a task, 32 a warp, and blocks of at most 64 keys that all its warps share: fewer for long heads,
    /// whose queries and outputs take the registers. A stage, K and V of one block, takes 32 KiB of shared memory at most up to
    /// D = 512; there are three of them, or two where three and the plan's integers would not fit into the 163 KiB of compute
    /// capability 8.0.
    pub fn sm_80(target: &str, head_dim: u32, dtype: DType) -> Schedule {
        let nk = [64, 32, 16].into_iter().find(|nk| nk * head_dim <= 64 * 64);
        let nk = nk.unwrap_or(8);
        let stage = 2 * u64::from(nk) * u64::from(head_dim) * dtype.bytes() as u64;
        let stages = if stage <= 32 << 10 { 3 } else { 2 };
        Schedule {
            target: target.to_string(),
            mq: 128,
            nk,
            panel: nk,
            chunk: 128,
            rows: 128,
            slots: 1,
            keep_panels: false,
            key_step: 8,
            settle: 0,
            stages,
            warps: 4,
            panels: Panels::Float,
            spaces: Spaces::GPU,
        }
    }

    /// Lanes and keys that the kernels of the schedule compute in multiples of. By products padded to these rewriting decides whether
    /// sharing pays.
    pub fn grain(&self) -> (u32, u32) {
        match (self.target.as_str(), self.panels) {
            (_, Panels::Half) => (PAIR_LANES, PAIRS),
            ("x86_64-v3", Panels::Float) => (8, 4),
            ("x86_64-v4" | "x86_64-amx", Panels::Float) => (16, 8),
            _ => (QUERY_STEP, KEY_STEP),
        }
    }

    /// Whether `step` is assembled: over floats for vectors of the target's own width, in register tiles of three of them, where tiles are
    /// whole vectors and their scores leave it a KiB to work in; over pairs where these say so.
    pub(crate) fn assembled(&self, head_dim: u32) -> bool {
        let (mq, nk, panels) = (self.mq, self.nk, self.panels);
        let wide = ["x86_64-v3", "x86_64-v4", "x86_64-amx"].contains(&self.target.as_str());
        let extents = Extents {
            mq,
            nk,
            head_dim,
            panels,
        };
        wide && match panels {
            Panels::Float => mq.is_multiple_of(self.grain().0) && 4 * mq * nk >= 1 << 10,
            Panels::Half => extents.suits_pairs(),
        }
    }

    /// The default of a target for heads of a size, for operators of `branches` branches whose states need no more than others'.
    pub fn plain(target: &str, head_dim: u32, dtype: DType, branches: usize) -> Schedule {
        match target {
            "x86_64-amx" if dtype == DType::Bf16 => Schedule::half(target, head_dim, branches),
            "x86_64-v3" | "x86_64-v4" | "x86_64-amx" => Schedule::wide(target, head_dim, branches),
            _ if target.starts_with("sm_") => Schedule::sm_80(target, head_dim, dtype),
            _ => Schedule::portable(target, head_dim, branches),
        }
    }

    /// The schedules of a target for a nest: the first for every machine of it, each other for those that can do more, in order of
    /// preference. Which machines these are is the backend's: `x86_64-v4` takes pairs of bf16 where there is AVX512-BF16.
    pub fn all(target: &str, nest: &Nest) -> Vec<Schedule> {
        let mut all = vec![Schedule::of(target, nest)];
        if target == "x86_64-v4" && nest.dtype == DType::Bf16 {
            all.push(Schedule::half(target, nest.head_dim, nest.branches()).fit(nest));
        }
        all
    }

    /// The default of a target for a nest: [`Schedule::plain`], fitted to what a chunk remembers.
    pub fn of(target: &str, nest: &Nest) -> Schedule {
        let s = Schedule::plain(target, nest.head_dim, nest.dtype, nest.branches());
        if s.warps > 1 { s } else { s.fit(nest) }
    }

    /// What a chunk remembers beside its states leaves room for half as many rows.
    fn fit(mut self, nest: &Nest) -> Schedule {
        match nest.combine {
            Combine::Mix { .. } => self.chunk /= 2,
            Combine::Stream | Combine::Join | Combine::Merge => {}
        }
        if nest.many() {
            self.chunk /= 2;
        }
        self
    }
}

/// Greatest common divisor.
fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// More groups than this are added up in a compensated sum.
pub(crate) const FEW: usize = 16;

impl Nest {
    /// How near weights have to be to the exponentials of their scores. 2^-9 is as much as rounding to bf16 takes away in any case; f16
    /// holds its lse to 1e-3, which is less. f32 has bounds that no coarser exponential keeps.
    pub(crate) fn weights(&self) -> Accuracy {
        match (self.fast, self.dtype) {
            (false, _) | (true, DType::F32) => Accuracy::Full,
            (true, DType::F16) => Accuracy::Bits13,
            (true, DType::Bf16) => Accuracy::Bits9,
        }
    }

    fn branches(&self) -> usize {
        self.groups.iter().map(|g| g.terms.len()).sum()
    }

    /// Whether so many groups come together that their sum is compensated.
    pub(crate) fn many(&self) -> bool {
        self.groups.len() > FEW
    }
}

impl Group {
    /// The most steps of at most `nk` keys, in panels of at most `panel`, that one row goes through: each class of keys in each region
    /// begins a run of its own.
    pub(crate) fn most_steps(&self, nk: u32, panel: u32) -> i64 {
        let keys = self.terms.iter().fold(0i64, |sum, t| {
            sum.saturating_add((t.segment - 1) / t.dilation + 1)
        });
        let terms = self.terms.len() as i64;
        let classes = if terms < 6 { (1 << terms) - 1 } else { 64 };
        keys / i64::from(nk) + keys / i64::from(panel) + (2 * terms - 1) * classes
    }

    /// The period of the masks: the least common multiple of the dilations; `None` beyond 64 unless there is one branch only.
    pub fn period(&self) -> Option<i64> {
        let lcm = self.terms.iter().try_fold(1i64, |l, t| {
            (t.dilation / gcd(l, t.dilation)).checked_mul(l)
        })?;
        (self.terms.len() == 1 || (lcm <= 64 && self.terms.len() <= 64)).then_some(lcm)
    }
}
