// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What core programs mean: slow, and checked at every access.
//!
//! In: a [`Core`] and strided q, k, v. Out: out `[B,N,H,D]` in the operator's dtype and lse `[B,H,N]`, or the first fault: an access
//! outside a buffer or tensor, a read of what nothing wrote, an output row written twice or never, arithmetic that the IR forbids, a
//! stored value outside the buffer's proven range, a stage of copies used out of order, warps without a barrier between them.

mod exec;
mod moves;
mod ops;
mod order;

use attnc_tensor::{DType, Storage, Tensor, View};
use attnc_tile::core::{Core, Elem};
use attnc_tile::queue::QueueError;

use exec::Machine;

/// A fault, and the instruction at which it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct TileFault {
    /// What happened.
    pub kind: FaultKind,
    /// Section, then positions in blocks, as in the verifier's errors; empty when the request or the whole run is at fault.
    pub path: String,
}

impl std::fmt::Display for TileFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            write!(f, "{}", self.kind)
        } else {
            write!(f, "{} at {}", self.kind, self.path)
        }
    }
}

impl std::error::Error for TileFault {}

impl From<FaultKind> for TileFault {
    fn from(kind: FaultKind) -> TileFault {
        TileFault {
            kind,
            path: String::new(),
        }
    }
}

/// What a program did that the IR forbids.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FaultKind {
    /// An index outside a buffer, table or tensor.
    #[error("{what}: index {index} is outside 0..{len}")]
    Bounds {
        /// Name.
        what: String,
        /// The index.
        index: i64,
        /// Length.
        len: u64,
    },
    /// A read of memory that nothing wrote.
    #[error("{what}: element {index} is read before anything wrote it")]
    Uninitialised {
        /// Name.
        what: String,
        /// Which element.
        index: u64,
    },
    /// A value outside the proven range of its buffer.
    #[error("{what}: {value} is outside the proven range of its elements")]
    OutOfRange {
        /// Name.
        what: String,
        /// The value.
        value: i64,
    },
    /// Two tasks write one output element.
    #[error("{what}: element {index} is written by two tasks")]
    Race {
        /// `out` or `lse`.
        what: &'static str,
        /// Which.
        index: usize,
    },
    /// Two writes of one output element in one task, or by one instruction of one element that warps share.
    #[error("{what}: element {index} is written twice")]
    Twice {
        /// `out`, `lse` or a buffer.
        what: String,
        /// Which.
        index: usize,
    },
    /// An output element that nothing wrote.
    #[error("{what}: element {index} is never written")]
    Missing {
        /// `out` or `lse`.
        what: &'static str,
        /// Which.
        index: usize,
    },
    /// A call without comparison of positions although a key lies behind a query that sees it.
    #[error("a key behind its query would count: positions are not compared where they must be")]
    Acausal,
    /// Stages of copies are used out of order.
    #[error(transparent)]
    Stage(#[from] QueueError),
    /// Two warps touch one element, one of them writing it, and no barrier stands between them.
    #[error("{what}: warps touch element {index} with no barrier between them, and one writes it")]
    Unordered {
        /// Name.
        what: String,
        /// Which element.
        index: i64,
    },
    /// Forbidden arithmetic.
    #[error("{0}")]
    Arithmetic(&'static str),
    /// The program is not well formed.
    #[error("malformed program: {0}")]
    Malformed(&'static str),
    /// Inputs of another shape than the operator's.
    #[error("{name} has shape {found:?}, the operator needs {needed:?}")]
    Shape {
        /// Tensor.
        name: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// What fits.
        needed: Vec<usize>,
    },
    /// Outputs that no memory holds.
    #[error("the outputs do not fit into memory")]
    Memory,
}

/// What a run gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// `[B,N,H,D]` in the operator's dtype.
    pub out: Tensor,
    /// `[B,H,N]`, f32, natural logarithm.
    pub lse: Tensor,
    /// Products issued by the dots, padded to the steps of machine code.
    pub madds_executed: u64,
}

/// Runs `core` on q, k, v, its tasks split into `workers` contiguous ranges that run in reverse order.
///
/// # Errors
/// The first fault.
pub fn run(
    core: &Core,
    q: &View<'_>,
    k: &View<'_>,
    v: &View<'_>,
    workers: u32,
) -> Result<Outcome, TileFault> {
    let &[batch, seq_len, _, _] = q.shape() else {
        return Err(FaultKind::Shape {
            name: "q",
            found: q.shape().to_vec(),
            needed: vec![0, 0, core.heads as usize, core.head_dim as usize],
        }
        .into());
    };
    let d = core.head_dim as usize;
    for (name, view, heads) in [
        ("q", q, core.heads),
        ("k", k, core.kv_heads),
        ("v", v, core.kv_heads),
    ] {
        let needed = vec![batch, seq_len, heads as usize, d];
        if view.shape() != needed {
            return Err(FaultKind::Shape {
                name,
                found: view.shape().to_vec(),
                needed,
            }
            .into());
        }
    }
    let storage = match core.dtype {
        DType::F32 => Storage::F32,
        DType::Bf16 => Storage::Bf16,
        DType::F16 => Storage::F16,
    };
    let mut out = Tensor::zeros(storage, &[batch, seq_len, core.heads as usize, d])
        .map_err(|_| FaultKind::Memory)?;
    let mut lse = Tensor::zeros(Storage::F32, &[batch, core.heads as usize, seq_len])
        .map_err(|_| FaultKind::Memory)?;
    if batch == 0 || seq_len == 0 {
        return Ok(Outcome {
            out,
            lse,
            madds_executed: 0,
        });
    }
    let mut m = Machine::new(core, [q, k, v], batch, seq_len, &mut out, &mut lse);
    if let Err(kind) = all(&mut m, i64::from(workers.max(1))) {
        let path = m.trail.iter().rev().map(String::as_str).collect::<Vec<_>>();
        return Err(TileFault {
            kind,
            path: path.join("."),
        });
    }
    let madds_executed = m.finish()?;
    Ok(Outcome {
        out,
        lse,
        madds_executed,
    })
}

/// The plan, then the ranges of the workers, last first.
fn all(m: &mut Machine<'_>, workers: i64) -> Result<(), FaultKind> {
    let tasks = m.plan()?;
    // Ranges without tasks would do nothing, however many were asked for.
    let workers = workers.min(tasks.max(1));
    for w in (0..workers).rev() {
        m.worker(tasks * w / workers, tasks * (w + 1) / workers)?;
    }
    Ok(())
}

/// A buffer with a note of what has been written.
pub(crate) struct Memory {
    pub(crate) ints: Vec<i64>,
    pub(crate) floats: Vec<f32>,
    written: Vec<bool>,
}

impl Memory {
    pub(crate) fn new(elem: Elem, len: u64) -> Memory {
        let n = len as usize;
        let (ints, floats) = match elem {
            Elem::I64 => (vec![0; n], Vec::new()),
            Elem::F32 | Elem::Data => (Vec::new(), vec![f32::NAN; n]),
        };
        Memory {
            ints,
            floats,
            written: vec![false; n],
        }
    }
    pub(crate) fn forget(&mut self) {
        self.written.fill(false);
    }
    /// Forgets part `part` of parts of `len` elements.
    pub(crate) fn forget_part(&mut self, part: u64, len: u64) {
        let from = (part * len) as usize;
        self.written[from..from + len as usize].fill(false);
    }
    pub(crate) fn index(&self, name: &str, i: i64) -> Result<usize, FaultKind> {
        let len = self.written.len() as u64;
        match usize::try_from(i) {
            Ok(x) if (x as u64) < len => Ok(x),
            _ => Err(FaultKind::Bounds {
                what: name.to_string(),
                index: i,
                len,
            }),
        }
    }
    pub(crate) fn int(&self, name: &str, i: i64) -> Result<i64, FaultKind> {
        let i = self.read(name, i)?;
        self.ints
            .get(i)
            .copied()
            .ok_or(FaultKind::Malformed("a float buffer is read as integers"))
    }
    pub(crate) fn float(&self, name: &str, i: i64) -> Result<f32, FaultKind> {
        let i = self.read(name, i)?;
        self.floats
            .get(i)
            .copied()
            .ok_or(FaultKind::Malformed("an integer buffer is read as floats"))
    }
    fn read(&self, name: &str, i: i64) -> Result<usize, FaultKind> {
        let i = self.index(name, i)?;
        if self.written[i] {
            Ok(i)
        } else {
            Err(FaultKind::Uninitialised {
                what: name.to_string(),
                index: i as u64,
            })
        }
    }
    pub(crate) fn set_int(&mut self, name: &str, i: i64, x: i64) -> Result<(), FaultKind> {
        let i = self.index(name, i)?;
        *self.ints.get_mut(i).ok_or(FaultKind::Malformed(
            "an integer is stored in a float buffer",
        ))? = x;
        self.written[i] = true;
        Ok(())
    }
    pub(crate) fn set_float(&mut self, name: &str, i: i64, x: f32) -> Result<(), FaultKind> {
        let i = self.index(name, i)?;
        *self.floats.get_mut(i).ok_or(FaultKind::Malformed(
            "a float is stored in an integer buffer",
        ))? = x;
        self.written[i] = true;
        Ok(())
    }
}
