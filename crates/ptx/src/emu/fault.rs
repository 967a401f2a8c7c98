// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What can go wrong in a launch. In: nothing. Out: typed faults with line, thread, address.

use crate::error::Pos;

/// A kernel did something wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {}: {kind} [`{text}`; block {block:?}, thread {thread}]", pos.line)]
pub struct Fault {
    /// The instruction's place.
    pub pos: Pos,
    /// The instruction.
    pub text: String,
    /// The block's coordinates.
    pub block: [u32; 3],
    /// The thread's linear number in its block.
    pub thread: u32,
    /// What happened.
    pub kind: FaultKind,
}

/// The kinds of [`Fault`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultKind {
    /// An address that belongs to nothing.
    #[error("{} of {bytes} bytes at {space} address {addr:#x} is outside of every buffer", if *write { "write" } else { "read" })]
    OutOfBounds {
        /// State space.
        space: &'static str,
        /// First byte.
        addr: u64,
        /// Width.
        bytes: u32,
        /// A write.
        write: bool,
    },
    /// An address that is not a multiple of the access's width.
    #[error("{space} address {addr:#x} is not a multiple of {align}")]
    Misaligned {
        /// State space.
        space: &'static str,
        /// Address.
        addr: u64,
        /// Needed alignment.
        align: u32,
    },
    /// A read of shared memory that nothing wrote.
    #[error("read of shared address {addr:#x}, which nothing has written")]
    Uninitialised {
        /// Address.
        addr: u64,
    },
    /// Two accesses that nothing orders.
    #[error(
        "race at {space} address {addr:#x}: this {this} and the {other} by thread {other_thread} of block {other_block} at line {other_line} are not ordered"
    )]
    Race {
        /// State space.
        space: &'static str,
        /// Address.
        addr: u64,
        /// This access.
        this: &'static str,
        /// The earlier one.
        other: &'static str,
        /// The earlier one's thread.
        other_thread: u32,
        /// Its block's linear number.
        other_block: u32,
        /// Its line.
        other_line: u32,
    },
    /// An asynchronous access to what the generic proxy wrote, with no `fence.proxy.async` between.
    #[error(
        "shared address {addr:#x} was written through the generic proxy at line {other_line}; `fence.proxy.async` is missing before this asynchronous access"
    )]
    ProxyFence {
        /// Address.
        addr: u64,
        /// The write's line.
        other_line: u32,
    },
    /// A register that an asynchronous `wgmma` uses was touched before its wait.
    #[error("register `{0}` is in use by an asynchronous wgmma; `wgmma.wait_group` is missing")]
    InFlight(String),
    /// A register that `wgmma` uses was touched with no `wgmma.fence` since.
    #[error("register `{0}` was touched after the last `wgmma.fence`")]
    WgmmaFence(String),
    /// A thread ends while a bulk copy of its own may still read shared memory.
    #[error(
        "the thread exits before its bulk copies are done; `cp.async.bulk.wait_group` is missing"
    )]
    BulkWait,
    /// A tensor map was made in this launch and used with no acquire fence between.
    #[error(
        "the tensor map at {addr:#x} was written in this launch; `fence.proxy.tensormap::generic.acquire` is missing before its use"
    )]
    TensormapFence {
        /// The map's address.
        addr: u64,
    },
    /// A value that nothing defined decides something.
    #[error("use of register `{0}`, which nothing has defined")]
    Undefined(String),
    /// Nothing can go on.
    #[error("deadlock: {0}")]
    Deadlock(String),
    /// Lanes of one warp that an aligned instruction does not find together.
    #[error(
        "divergent execution of an instruction that all threads of the warp must execute together (mask {mask:#010x} of {live:#010x})"
    )]
    Divergent {
        /// Lanes that came.
        mask: u32,
        /// Lanes alive.
        live: u32,
    },
    /// A lane executes a `.sync` instruction whose member mask leaves it out.
    #[error("member mask {0:#010x} does not name the executing lane")]
    MemberMask(u32),
    /// A barrier used against its rules.
    #[error("barrier: {0}")]
    Barrier(&'static str),
    /// An operand value that the instruction forbids.
    #[error("{0}")]
    Operand(&'static str),
    /// `trap`, or a failed device assertion.
    #[error("{0}")]
    Trap(String),
    /// The instruction is PTX but the emulator does not have it.
    #[error("not supported: {0}")]
    Unsupported(String),
    /// The launch's limit of instructions is spent.
    #[error("limit of {0} warp instructions reached")]
    Budget(u64),
}

/// Why a launch did not run to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// No such entry.
    #[error("the module has no entry `{0}`")]
    NoEntry(String),
    /// The launch contradicts the module.
    #[error("the launch contradicts the module: {0}")]
    Contradiction(String),
    /// Broken rules of the language.
    #[error("{0}")]
    Invalid(#[from] crate::verify::VerifyError),
    /// A kernel fault.
    #[error(transparent)]
    Fault(Box<Fault>),
}
