// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Decoded programs: what the interpreter runs. In: the decoder's output. Out: flat
//! instructions whose operands are slots of a register file, constants and special
//! registers included, so that execution never looks at a name.

use super::fault::FaultKind;
use super::state::Machine;
use crate::error::Pos;

/// A register file slot; each holds 32 lanes of 64 bits.
pub(crate) type Slot = u32;
/// No slot: the sink `_`, or no operand.
pub(crate) const NONE: Slot = u32::MAX;
/// One value for each lane.
pub(crate) type Lanes = [u64; 32];
/// What execution of one instruction yields.
pub(crate) type Exe = Result<(), FaultKind>;

pub(crate) type Fn1 = Box<dyn Fn(&Lanes, &mut Lanes) + Send + Sync>;
pub(crate) type Fn2 = Box<dyn Fn(&Lanes, &Lanes, &mut Lanes) + Send + Sync>;
pub(crate) type Fn3 = Box<dyn Fn(&Lanes, &Lanes, &Lanes, &mut Lanes) + Send + Sync>;
pub(crate) type FnN = Box<dyn Fn(&[u64], &mut [u64]) + Send + Sync>;

/// Lifts a function of one lane to all lanes.
pub(crate) fn lift1(f: impl Fn(u64) -> u64 + Send + Sync + 'static) -> Fn1 {
    Box::new(move |a, o| {
        for l in 0..32 {
            o[l] = f(a[l]);
        }
    })
}

/// Lifts a function of two values.
pub(crate) fn lift2(f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static) -> Fn2 {
    Box::new(move |a, b, o| {
        for l in 0..32 {
            o[l] = f(a[l], b[l]);
        }
    })
}

/// Lifts a function of three values.
pub(crate) fn lift3(f: impl Fn(u64, u64, u64) -> u64 + Send + Sync + 'static) -> Fn3 {
    Box::new(move |a, b, c, o| {
        for l in 0..32 {
            o[l] = f(a[l], b[l], c[l]);
        }
    })
}

/// A pure computation: no lane sees another.
pub(crate) enum Alu {
    F1(Fn1),
    F2(Fn2),
    F3(Fn3),
    /// Any number of inputs and outputs, lane by lane.
    N(FnN),
}

/// Everything else: may look at all lanes, memory, the block.
pub(crate) trait Exec: Send + Sync {
    /// Runs for the lanes of `mask`.
    fn run(&self, m: &mut Machine<'_>, mask: u32) -> Exe;
}

impl<F: Fn(&mut Machine<'_>, u32) -> Exe + Send + Sync> Exec for F {
    fn run(&self, m: &mut Machine<'_>, mask: u32) -> Exe {
        self(m, mask)
    }
}

/// What moves the program counter.
pub(crate) enum Ctl {
    Bra(u32),
    BrxIdx {
        index: Slot,
        targets: Vec<u32>,
    },
    Call {
        entry: u32,
        copy_in: Vec<Copy>,
        copy_out: Vec<Copy>,
    },
    /// Through a register: candidates by function number.
    CallIndirect {
        target: Slot,
        candidates: Vec<IndirectCall>,
    },
    Ret,
    Exit,
    /// Several `ret`/`exit` guards in hardware are plain branches; a trap is not.
    Trap,
    Bar(Bar),
}

/// One function that an indirect call may reach.
pub(crate) struct IndirectCall {
    pub(crate) id: u64,
    pub(crate) entry: u32,
    pub(crate) copy_in: Vec<Copy>,
    pub(crate) copy_out: Vec<Copy>,
}

/// Moves an argument or result between the frames of caller and callee.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Copy {
    /// Register to register.
    Reg { from: Slot, to: Slot },
    /// Local bytes to local bytes.
    Bytes { from: u32, to: u32, len: u32 },
}

/// What a barrier instruction does.
pub(crate) struct Bar {
    pub(crate) id: Slot,
    pub(crate) count: Slot,
    pub(crate) wait: bool,
    pub(crate) aligned: bool,
    pub(crate) red: Option<BarRed>,
    /// The cluster's barrier, which is number 16 here.
    pub(crate) cluster: bool,
}

/// A reduction at a barrier.
pub(crate) struct BarRed {
    pub(crate) op: RedOp,
    pub(crate) dst: Slot,
    pub(crate) pred: Slot,
    pub(crate) negated: bool,
}

/// The reductions of `bar.red`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedOp {
    Popc,
    And,
    Or,
}

/// How the bytes of results follow from the bytes of sources where not all is defined:
/// compilers move registers that are defined in part, and use that part only. Widths count
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Every bit of a result depends on every bit of every source.
    Whole,
    /// Unit by unit: bitwise operations, packed arithmetic.
    Each { unit: usize, width: usize },
    /// `and`: byte by byte, and a zero hides the other source's byte.
    And(usize),
    /// One register from several of a width.
    Pack(usize),
    /// Several registers of a width from one.
    Unpack(usize),
    /// A change of width between integers.
    Cvt {
        from: usize,
        to: usize,
        signed: bool,
    },
    /// A shift to lower bytes; zeros come in.
    Down { by: usize, width: usize },
    /// A shift to higher bytes; zeros come in.
    Up { by: usize, width: usize },
    /// The first or the second source, as the third says (negated).
    Select { negated: bool, width: usize },
    /// Bytes of two sources by a constant selector.
    Bytes(u32),
}

impl Op {
    /// The same computation, with another rule for what is defined in part.
    pub(crate) fn parted(self, part: Part) -> Self {
        match self {
            Self::Alu { f, d, s, .. } => Self::Alu { f, d, s, part },
            Self::Exec(_) | Self::Ctl(_) | Self::Nop => self,
        }
    }
}

pub(crate) enum Op {
    Alu {
        f: Alu,
        d: Vec<Slot>,
        s: Vec<Slot>,
        part: Part,
    },
    Exec(Box<dyn Exec>),
    Ctl(Ctl),
    Nop,
}

/// Which lanes an instruction must find together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meet {
    /// None.
    None,
    /// All lanes alive.
    Aligned,
    /// Those that the value of the slot names.
    Mask(Slot),
}

/// Classes that counters tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Integer,
    Float,
    Half,
    Math,
    Compare,
    Convert,
    Move,
    Warp,
    Matrix,
    LoadShared,
    StoreShared,
    LoadGlobal,
    StoreGlobal,
    OtherMemory,
    AsyncCopy,
    Atomic,
    Barrier,
    Control,
    Other,
}

/// All classes with the keys of the counters.
pub(crate) const CLASSES: [(Class, &str); 19] = [
    (Class::Integer, "integer"),
    (Class::Float, "float"),
    (Class::Half, "half"),
    (Class::Math, "math"),
    (Class::Compare, "compare"),
    (Class::Convert, "convert"),
    (Class::Move, "move"),
    (Class::Warp, "warp"),
    (Class::Matrix, "matrix"),
    (Class::LoadShared, "load_shared"),
    (Class::StoreShared, "store_shared"),
    (Class::LoadGlobal, "load_global"),
    (Class::StoreGlobal, "store_global"),
    (Class::OtherMemory, "other_memory"),
    (Class::AsyncCopy, "async_copy"),
    (Class::Atomic, "atomic"),
    (Class::Barrier, "barrier"),
    (Class::Control, "control"),
    (Class::Other, "other"),
];

/// One decoded instruction.
pub(crate) struct Ins {
    pub(crate) op: Op,
    pub(crate) guard: Slot,
    pub(crate) negated: bool,
    pub(crate) sync: Meet,
    pub(crate) class: Class,
    pub(crate) pos: Pos,
    pub(crate) text: Box<str>,
    /// Registers that operands name, for the checks of asynchronous `wgmma`; empty when the
    /// program has none.
    pub(crate) touches: Box<[Slot]>,
}

/// What a constant slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fixed {
    Value(u64),
    /// A special register whose value does not change during a launch.
    Special(Special),
}

/// Special registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    Laneid,
    Warpid,
    Nwarpid,
    Smid,
    Nsmid,
    Gridid,
    LanemaskEq,
    LanemaskLe,
    LanemaskLt,
    LanemaskGe,
    LanemaskGt,
    DynamicSmem,
    TotalSmem,
    One,
    Zero,
}

/// An entry, ready to run.
pub(crate) struct Code {
    pub(crate) ins: Vec<Ins>,
    /// Number of register slots.
    pub(crate) slots: u32,
    pub(crate) fixed: Vec<(Slot, Fixed)>,
    /// Names of slots for messages.
    pub(crate) names: Vec<(Slot, Box<str>)>,
    pub(crate) start: u32,
    /// Bytes of local memory a thread.
    pub(crate) local: u32,
    /// Bytes of static shared memory; dynamic memory follows, aligned.
    pub(crate) shared_static: u32,
    pub(crate) dynamic_align: u32,
    /// Offset and size of each parameter.
    pub(crate) params: Vec<(u32, u32)>,
    pub(crate) param_bytes: u32,
    pub(crate) reqntid: Option<[u32; 3]>,
    pub(crate) maxntid: Option<[u32; 3]>,
    /// Uses `wgmma`, bulk copies or other asynchronous-proxy accesses.
    pub(crate) async_proxy: bool,
    pub(crate) has_wgmma: bool,
    /// Blocks may speak with each other: atomics, strong or volatile global accesses, fences.
    pub(crate) cross_block: bool,
}

impl Code {
    /// A slot's register name.
    pub(crate) fn slot_name(&self, s: Slot) -> String {
        self.names
            .iter()
            .find(|(k, _)| *k == s)
            .map_or_else(|| format!("slot {s}"), |(_, n)| n.to_string())
    }
}
