// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The core form of the tile IR: what every backend lowers and the tile interpreter runs.
//!
//! A [`Core`] program is what the schedule's lowering writes: plan operations (decode, cells, classes, runs, panels, weights, reaches)
//! are scalar code in it, and what is left is
//!
//! * **scalars**: 64-bit integers in SSA form ([`Val`]), structured loops and conditionals, no other control flow;
//! * **buffers**: typed arrays of fixed length in the worker's memory ([`Buf`]), tables of constants, and tables of the launch plan;
//! * **moves**: [`Inst::Gather`] and [`Inst::Scatter`] between rows of tensors and tiles, with the conversion of dtypes;
//! * **tile functions** ([`TileFn`]): straight-line code on tiles (`dot`, `map`, `reduce`, `mask`). `step` is one of them, and the only
//!   statement of the online softmax. A target may *claim* a tile function: replace it whole by its own code.
//!
//! Meaning, in one page. A kernel runs once per task `t` in `0..tasks`. Tasks are independent: each writes rows of `out` and `lse`
//! that no other task writes. Buffers are private to a worker; their contents are undefined at the start of a `run` call, and those
//! marked [`Buf::persist`] keep theirs from one task of that call to the next (the panel cache), after [`Core::enter`] has run once.
//! Every access must lie inside its buffer, and every stored integer inside its buffer's range: [`crate::verify`]
//! proves both from the ranges of the scalars before anything runs, and the interpreter checks both on every access.
//! Tiles are row-major but for packed panels of keys and values ([`Layout`]); the last axis of a state or score tile is the query axis
//! ("lanes are queries"). Only the live part of an axis
//! has a meaning; a backend may compute rounded up to [`QUERY_STEP`] lanes and [`KEY_STEP`] keys, which buffers leave room for.
//!
//! **Stages.** A buffer marked [`Buf::staged`] has [`Core::stages`] parts of its length, which go round in a queue, the same for all
//! staged buffers: what is written goes into the stage at the rear, what is read comes from the stage at the front. An asynchronous
//! gather only begins to copy; [`Inst::Commit`] closes the stage that is being filled, [`Inst::Wait`] makes the oldest closed stage the
//! front once its copies have arrived, [`Inst::Release`] gives it back. [`crate::queue`] is the meaning of these words. So no program
//! computes the number of a stage, and copies stay in flight from one run of keys to the next.
//!
//! **Warps.** With [`Core::warps`] = w > 1, w warps run a task together. Scalar code means the same in each of them, and integer buffers
//! are theirs in common: in which order warps see what scalar code stores is the backend's care. Lanes are divided: of a tile of mq
//! queries, warp i has the lanes from i * mq / w on, and fragments are its own. Floats in work or shared memory, and flags that a gather
//! raises, are everybody's: between two warps that touch the same element, one of them writing, there must be a [`Inst::Barrier`].

mod tiles;

use attnc_tensor::DType;

pub use tiles::*;

/// Lanes are processed in steps of this many; the query extent of every tile is a multiple of it.
pub const QUERY_STEP: u32 = 8;
/// Keys are processed in steps of this many on CPUs ([`Core::key_step`] says it for each program); the key extent of every tile is a
/// multiple of it, and panels are zero-filled up to it.
pub const KEY_STEP: u32 = 5;

/// A scalar SSA value (i64). Each is defined once, by the instruction that names it, and visible in that block after it and in
/// the blocks nested there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Val(pub u32);

/// Index into [`Core::bufs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufId(pub u32);

/// Index into [`Core::tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableId(pub u32);

/// Index into [`Core::plan_tables`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PlanId(pub u32);

/// Index into [`Core::fns`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FnId(pub u32);

/// Element type of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// Signed 64-bit integer: positions, masks (as bit patterns), counts.
    I64,
    /// 32-bit float: everything that is computed with.
    F32,
    /// The operator's dtype: rows of tensors as they are, which is all that an asynchronous copy can make. Tile functions read such
    /// a buffer as f32, into which every dtype widens exactly.
    Data,
}

impl Elem {
    /// Size in bytes, in a program whose tensors hold `dtype`.
    pub fn bytes(self, dtype: DType) -> u64 {
        match self {
            Elem::I64 => 8,
            Elem::F32 => 4,
            Elem::Data => dtype.bytes() as u64,
        }
    }
}

/// Where a buffer lives. CPU backends put all of them into the worker's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Private to a worker (CPU) or a block (GPU, in its slice of a scratch allocation).
    Work,
    /// Shared memory of a GPU block.
    Shared,
    /// Registers or tiles owned by the backend.
    Frag,
}

/// How a float tile is laid out. A buffer's layout is how rows are gathered into it and what tiles may stand in it; a tile of a function
/// is `Row`, which says nothing of the buffer but that it is not packed, or it is packed as the buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Row-major, one row a key.
    Row,
    /// Row-major with lanes = queries.
    St,
    /// Row-major in memory, rows swizzled in 128-byte units (GPU shared memory).
    Swz128,
    /// Packed, a row a key: element (key, d) at `key * pitch + d`. What a gather writes behind the end of a row is zeros up to the pitch, so
    /// that whole vectors and matrix tiles can be read. Keys as the first operand of a matrix product.
    Padded {
        /// Elements from one row to the next.
        pitch: u32,
    },
    /// Packed, a row an element of a head: element (key, d) at `d * stride + key`. Values as the first operand of a matrix product over
    /// keys.
    Transposed {
        /// Elements from one d to the next.
        stride: u32,
    },
}

impl Layout {
    /// Whether elements stand elsewhere than in rows one behind the other.
    pub fn packed(self) -> bool {
        match self {
            Layout::Row | Layout::St | Layout::Swz128 => false,
            Layout::Padded { .. } | Layout::Transposed { .. } => true,
        }
    }

    /// Where element (`row`, `col`) of a tile of `cols` columns stands, in elements.
    pub fn at(self, row: u64, col: u64, cols: u64) -> u64 {
        match self {
            Layout::Row | Layout::St | Layout::Swz128 => row * cols + col,
            Layout::Padded { pitch } => row * u64::from(pitch) + col,
            Layout::Transposed { stride } => col * u64::from(stride) + row,
        }
    }

    /// Elements from the first to the end of a tile of `rows` by `cols`, with what fills its pitch or stride.
    pub fn room(self, rows: u64, cols: u64) -> u64 {
        match self {
            Layout::Row | Layout::St | Layout::Swz128 => rows.saturating_mul(cols),
            Layout::Padded { pitch } => rows.saturating_mul(u64::from(pitch)),
            Layout::Transposed { stride } => cols.saturating_mul(u64::from(stride)),
        }
    }
}

/// A buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buf {
    /// Name for people and text forms.
    pub name: String,
    /// Element type.
    pub elem: Elem,
    /// Number of elements.
    pub len: u64,
    /// Memory space.
    pub space: Space,
    /// Layout (float tiles).
    pub layout: Layout,
    /// Contents survive from task to task within one `run` call.
    pub persist: bool,
    /// The buffer is [`Core::stages`] parts of `len` elements that go round in the queue of stages.
    pub staged: bool,
    /// For `I64` buffers: what every stored element is proven to lie in, and every loaded one may be assumed to. `None`: anything.
    pub range: Option<Range>,
}

/// An inclusive range whose ends may be symbolic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// Lower end.
    pub lo: i64,
    /// Upper end.
    pub hi: Bound,
}

/// An upper bound: a constant, or a run-time length plus a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bound {
    /// A constant.
    Const(i64),
    /// N + c.
    SeqLen(i64),
    /// B + c.
    Batch(i64),
}

/// A table of integer constants, part of the code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Name.
    pub name: String,
    /// Values.
    pub data: Vec<i64>,
}

/// A table of the launch plan: written by [`Core::plan`], read by tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTable {
    /// Name.
    pub name: String,
    /// Number of elements.
    pub len: u64,
    /// Proven range of its elements.
    pub range: Option<Range>,
}

/// What the kernel reads from its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Arg {
    /// B >= 1 (launches with B = 0 have no tasks).
    Batch,
    /// N >= 1, at most 2^47.
    SeqLen,
    /// The task number (not in `plan` or `enter`).
    Task,
}

/// Integer operations. Division and remainder are by positive divisors of non-negative dividends; the verifier proves both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bin {
    /// a + b, wrapping never happens (proven or by the limits on sizes).
    Add,
    /// a - b.
    Sub,
    /// a * b, saturating at `i64::MAX` is not needed within the limits.
    Mul,
    /// a / b, b >= 1, a >= 0.
    Div,
    /// a mod b, b >= 1, a >= 0.
    Rem,
    /// min(a, b).
    Min,
    /// max(a, b).
    Max,
    /// a & b.
    And,
    /// a | b.
    Or,
    /// a << b, 0 <= b <= 63.
    Shl,
    /// a >> b, logical, 0 <= b <= 63.
    Shr,
    /// a == b, as 0 or 1.
    Eq,
    /// a < b (signed), as 0 or 1.
    Lt,
    /// a <= b (signed), as 0 or 1.
    Le,
}

/// A tensor of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// Queries `[B,N,H,D]`.
    Q,
    /// Keys `[B,N,H_kv,D]`.
    K,
    /// Values `[B,N,H_kv,D]`.
    V,
    /// Output `[B,N,H,D]`.
    Out,
    /// Log-sum-exp `[B,H,N]`, f32, natural log.
    Lse,
}

/// The rows that a gather reads or a scatter writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Row `n` = elements `[batch, n, head, ..]` of a tensor, in its dtype; `Lse`: the one element `[batch, head, n]`.
    Tensor {
        /// Which.
        port: Port,
        /// Batch entry.
        batch: Val,
        /// Head (a key/value head for `K` and `V`).
        head: Val,
    },
    /// Row `n` = `width` floats at `n * width` of a work buffer.
    Work {
        /// The buffer.
        buf: BufId,
        /// Row width: D, or 1 for row vectors.
        width: u32,
    },
}

/// A place in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The buffer.
    pub buf: BufId,
    /// Element offset.
    pub at: Val,
}

/// Which way a gathered tile lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lie {
    /// `[width, stride]`, element (d, i) at `d * stride + i`: row i of the view becomes column i (lanes = queries). `stride` is mq.
    Cols {
        /// Lanes from one d to the next.
        stride: u32,
    },
    /// `[count, width]`: row i of the view becomes row i, laid out as the buffer is ([`Layout`]).
    Rows,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Inst {
    /// v = constant.
    Const(Val, i64),
    /// v = argument.
    Arg(Val, Arg),
    /// v = a op b.
    Bin(Val, Bin, Val, Val),
    /// v = if c != 0 { a } else { b } (both are evaluated).
    Select(Val, Val, Val, Val),
    /// v = `table[i]`.
    Table(Val, TableId, Val),
    /// v = `plan table[i]`.
    Plan(Val, PlanId, Val),
    /// `plan table[i]` = v (in `plan` only).
    PlanStore(PlanId, Val, Val),
    /// v = `buf[i]` (I64 buffers).
    Load(Val, BufId, Val),
    /// `buf[i]` = v (I64 buffers).
    Store(BufId, Val, Val),
    /// for iv in (lo..hi).step_by(step).
    For {
        /// Loop variable.
        iv: Val,
        /// First value.
        lo: Val,
        /// End, excluded.
        hi: Val,
        /// Step, at least 1: a constant or a proven-positive value.
        step: Val,
        /// Body.
        body: Vec<Inst>,
    },
    /// Repeat while `cur < hi`: `cur` starts at `lo`; the body ends by naming its next value, which must be larger.
    Walk {
        /// Current value, in lo..hi.
        cur: Val,
        /// First value.
        lo: Val,
        /// End, excluded.
        hi: Val,
        /// Body.
        body: Vec<Inst>,
        /// The next value: defined in the body, proven larger than `cur` or made so by `max(cur + 1, ..)`.
        next: Val,
    },
    /// if cond != 0.
    If {
        /// Condition.
        cond: Val,
        /// Taken when it is not 0.
        then: Vec<Inst>,
        /// Taken when it is 0.
        els: Vec<Inst>,
    },
    /// `dst[i]` = f(`src[i]`) for i in 0..count: counts (I64, >= 0) to floats.
    Floats {
        /// Destination (F32).
        dst: Place,
        /// Source (I64).
        src: Place,
        /// How many.
        count: Val,
        /// Which function.
        f: CountFn,
    },
    /// Rows `idx[0..live]` of `src`, converted to f32, into `dst` as `lie` says. An index of -1 gives a row of zeros (only with
    /// [`Lie::Cols`]). With `Lie::Rows`, rows from `live` up to the next multiple of [`Core::key_step`] are filled with zeros, and so is
    /// what stands behind each row in a padded buffer; with `Lie::Cols`, lanes from `live` up to the next multiple of [`QUERY_STEP`] (or
    /// to `stride`) are.
    /// `flag`: an I64 element that is set to 1 (never reset) when a gathered element is NaN or its magnitude is at least
    /// [`Core::careful_above`].
    /// `ahead`: the copy is asynchronous. It fills the stage at the rear, its row numbers come from there too when they are staged,
    /// and it looks at no element, so it has no flag: [`Inst::Inspect`] looks when the stage has come to the front.
    Gather {
        /// Destination tile.
        dst: Place,
        /// Orientation.
        lie: Lie,
        /// Source rows.
        src: View,
        /// Row numbers (I64): positions for tensors, row numbers of the work view otherwise.
        idx: Place,
        /// How many rows.
        live: Val,
        /// See above.
        flag: Option<Place>,
        /// See above.
        ahead: bool,
    },
    /// v = 1 if an element of the `live` rows of `width` elements at `src`, laid out as its buffer is, is NaN or its magnitude is at least
    /// [`Core::careful_above`], else 0. Every warp looks at all of them.
    Inspect(Val, Place, u32, Val),
    /// v = how many stages are closed and not yet waited for.
    Queued(Val),
    /// Closes the stage at the rear: the copies that fill it are one group.
    Commit,
    /// Waits until at most this many closed stages are in flight, which must cover the oldest, and makes that one the front.
    Wait(u32),
    /// The front is read no more.
    Release,
    /// No warp goes on before every warp is here; what each has written or awaited before, all see after.
    Barrier,
    /// Rows `idx[0..live]` of `dst` = columns or rows of `src`, rounded once to the tensor's dtype.
    Scatter {
        /// Destination rows (`Out`, `Lse` or work).
        dst: View,
        /// Row numbers (I64).
        idx: Place,
        /// How many rows.
        live: Val,
        /// Source tile.
        src: Place,
        /// Orientation of the source.
        lie: Lie,
    },
    /// Rows `idx[0..live]` of `dst` = `value` in every element.
    Fill {
        /// Destination rows.
        dst: View,
        /// Row numbers (I64).
        idx: Place,
        /// How many rows.
        live: Val,
        /// The value.
        value: f32,
    },
    /// Call of a tile function.
    Call {
        /// Which.
        f: FnId,
        /// One place per tile parameter, in order.
        tiles: Vec<Place>,
        /// One value per scalar parameter, in order.
        scalars: Vec<Val>,
    },
}

/// Functions from counts to floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CountFn {
    /// The count itself.
    Float,
    /// log2(count); -inf for 0.
    Log2,
    /// ln(count); -inf for 0.
    Ln,
}

/// A whole program in core form: the schedule's decisions are in it as data.
#[derive(Clone, Debug, PartialEq)]
pub struct Core {
    /// Operator name.
    pub name: String,
    /// Target name, as in `--target`.
    pub target: String,
    /// Query heads H.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Head dimension D.
    pub head_dim: u32,
    /// Storage dtype of q, k, v, out.
    pub dtype: DType,
    /// Whether queries see no later keys: what a host is told, the code says it itself.
    pub causal: bool,
    /// Keys are processed in steps of this many: [`KEY_STEP`] on CPUs, the depth of a matrix fragment on GPUs.
    pub key_step: u32,
    /// Warps that run a task together; each has `mq / warps` rows of a tile. 1 on CPUs.
    pub warps: u32,
    /// Parts of each staged buffer. 1 on CPUs, which stage nothing.
    pub stages: u32,
    /// Magnitude from which a gathered element makes its tile or panel careful (see [`Inst::Gather`]).
    pub careful_above: f32,
    /// Buffers.
    pub bufs: Vec<Buf>,
    /// Constant tables.
    pub tables: Vec<Table>,
    /// Plan tables.
    pub plan_tables: Vec<PlanTable>,
    /// Tile functions.
    pub fns: Vec<TileFn>,
    /// Number of scalar values (all `Val` are below it).
    pub vals: u32,
    /// Launch plan: fills the plan tables (B, N >= 1 here).
    pub plan: Vec<Inst>,
    /// The number of tasks, defined in `plan`.
    pub tasks: Val,
    /// Runs once at the start of every `run` call: resets persistent buffers.
    pub enter: Vec<Inst>,
    /// Runs once a task.
    pub body: Vec<Inst>,
}

impl Core {
    /// Bytes of a buffer with all its stages; more than any memory has where the true number leaves 64 bits.
    pub fn bytes(&self, b: &Buf) -> u64 {
        let parts = if b.staged { u64::from(self.stages) } else { 1 };
        let bytes = b.len.saturating_mul(b.elem.bytes(self.dtype));
        bytes.saturating_mul(parts)
    }
}
