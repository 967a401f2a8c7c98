// SPDX-License-Identifier: Apache-2.0 OR MIT
//! A whole operator in a guest, through the entry points that C calls.
//!
//! In: a compiled program, tensors, a processor. Out: `out` and `lse`. Tensors, plan and workspace stand between guard pages, inputs
//! cannot be written, and whatever a kernel is to write holds NaN before.

use attnc::{Executed, Inputs, Outcome, Signature};
use attnc_codegen_cpu::{ABI, Args, Level, Program};
use attnc_spec::Operator;
use attnc_tensor::{DType, Storage, Tensor};

use super::Processor;
use super::image::{Arg, Image, Stopped};

/// Bits of MXCSR that tell what happened; the others say how to compute, and belong to the caller.
const HAPPENED: u32 = 0x3f;

/// Why a guest gave no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The plan refused, by this code.
    Plan(i64),
    /// The run stopped.
    Stopped(Stopped),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refused::Plan(code) => write!(f, "the plan refused: {code}"),
            Refused::Stopped(why) => why.fmt(f),
        }
    }
}

/// What a guest gave.
#[derive(Clone, Debug)]
pub struct Done {
    /// The results.
    pub outcome: Outcome,
    /// The body that the plan chose.
    pub level: Option<Level>,
}

/// Where the plan keeps the level: behind its copy of the arguments and the number of tasks.
const LEVEL: usize = size_of::<Args>() + 8;

/// Strides of a contiguous tensor without its last axis, in elements.
fn strides(shape: &[usize]) -> Vec<u64> {
    let from = |i: usize| shape[i + 1..].iter().product::<usize>() as u64;
    (0..shape.len() - 1).map(from).collect()
}

/// Runs `program`, compiled from `op`, on `p`.
///
/// # Errors
/// A fault, a refusal of the plan, control bits of MXCSR that came back otherwise than they were.
pub fn forward(
    program: &Program,
    op: &Operator,
    x: &Inputs,
    p: &Processor,
) -> Result<Done, Refused> {
    let s = Signature::from(op);
    let (rows, sums) = (
        s.query_shape(x.batch, x.seq_len),
        s.lse_shape(x.batch, x.seq_len),
    );
    let elem = match op.dtype {
        DType::F32 => 4,
        DType::Bf16 | DType::F16 => 2,
    };
    let nan = |bytes: usize| vec![0xff; bytes];
    let mut image = Image::of(program);
    let [q, k, v] = [&x.q, &x.k, &x.v].map(|t| image.constant(t.bytes(), elem));
    let out = image.buffer(&nan(rows.iter().product::<usize>() * elem), elem);
    let lse = image.buffer(&nan(sums.iter().product::<usize>() * 4), 4);
    let plan = image.buffer(&nan(program.layout().plan_bytes), 8);
    let workspace = image.buffer(&nan(program.layout().workspace_bytes), 64);

    let keys = strides(&s.key_shape(x.batch, x.seq_len));
    let mut args = vec![(22 * 8) | (u64::from(ABI) << 32)];
    args.extend([q, k, v, out, lse].map(|b| b.address));
    args.extend([x.batch as u64, x.seq_len as u64]);
    args.extend([strides(&rows), keys.clone(), keys, strides(&rows)].concat());
    // Of lse, the last axis counts: it has a stride by nature only.
    args.extend(strides(&sums));
    let args: Vec<u8> = args.iter().flat_map(|w| w.to_le_bytes()).collect();
    assert_eq!(args.len(), size_of::<Args>());
    let args = image.constant(&args, 8);

    let name = |what: &str| format!("attnc_{}_{what}", op.name);
    let tasks = image.call(&name("plan"), &[Arg::At(args), Arg::At(plan)]);
    let bytes = image.call(&name("workspace"), &[Arg::At(plan)]);
    let run = [
        Arg::At(plan),
        Arg::Int(0),
        Arg::Rax(tasks),
        Arg::At(workspace),
    ];
    let run = image.call(&name("run"), &run);
    let ran = image.run(p).map_err(Refused::Stopped)?;

    let harness = |why: String| Err(Refused::Stopped(Stopped::Harness(why)));
    if (ran.calls[tasks].rax as i64) < 0 {
        return Err(Refused::Plan(ran.calls[tasks].rax as i64));
    }
    let asked = ran.calls[bytes].rax;
    if asked > workspace.len as u64 {
        return harness(format!(
            "{asked} bytes of workspace, {} said",
            workspace.len
        ));
    }
    if ran.calls[run].rax as u32 != 0 {
        return harness(format!("run gave {}", ran.calls[run].rax as i32));
    }
    if let Some(c) = ran
        .calls
        .iter()
        .find(|c| (c.mxcsr ^ p.mxcsr) & !HAPPENED != 0)
    {
        return harness(format!("MXCSR came back as {:#x}", c.mxcsr));
    }
    let level = Level::ALL
        .into_iter()
        .find(|l| ran.bytes(plan)[LEVEL..LEVEL + 8] == l.number().to_le_bytes());
    let outcome = Outcome {
        out: tensor(op.dtype.into(), ran.bytes(out), &rows),
        lse: tensor(Storage::F32, ran.bytes(lse), &sums),
        run_ms: Vec::new(),
        executed: Executed {
            madds: counted(ran.bytes(workspace), program),
            ..Executed::default()
        },
    };
    Ok(Done { outcome, level })
}

/// The multiply-adds that a launch left in its workspace.
fn counted(workspace: &[u8], program: &Program) -> u128 {
    let at = program.layout().counter as usize;
    let bytes = workspace[at..at + 8].try_into();
    u128::from(bytes.map_or(0, u64::from_le_bytes))
}

/// A tensor of these bytes.
fn tensor(storage: Storage, bytes: &[u8], shape: &[usize]) -> Tensor {
    let words = bytes
        .chunks_exact(2)
        .map(|b| u16::from_le_bytes([b[0], b[1]]));
    match storage {
        Storage::F32 => {
            let singles = bytes.chunks_exact(4);
            let singles = singles.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Tensor::from_vec(singles.collect(), shape)
        }
        Storage::Bf16 => Tensor::from_vec(words.map(attnc::half::bf16::from_bits).collect(), shape),
        Storage::F16 => Tensor::from_vec(words.map(attnc::half::f16::from_bits).collect(), shape),
        Storage::F64 => panic!("no operator stores f64"),
    }
    .expect("as many as there are")
}
