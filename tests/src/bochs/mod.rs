// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machine code for processors that this machine is not, run in Bochs' CPU (`tests/bochs/bochs.py`): an independent judge of what the
//! instructions do.
//!
//! In: a compiled [`Program`](attnc_codegen_cpu::Program) or a single function, and a [`Processor`]. Out: results, or the fault that the
//! processor raised. A whole operator is run by [`forward`], which is what [`Engine`](crate::engines::Engine) with a processor does. A
//! single function (a claim, say) is run so:
//!
//! ```no_run
//! # use attnc_tests::bochs::{Arg, Image, SAPPHIRE_RAPIDS};
//! # fn run(program: &attnc_codegen_cpu::Program) -> Result<(), attnc_tests::bochs::Stopped> {
//! let mut image = Image::of(program);          // or Image::code(bytes)
//! let o = image.buffer(&[0u8; 4096], 64);      // guard pages around it; the end of the buffer is the end of a page
//! image.call("attnc_op.v4.step.claim", &[Arg::At(o), Arg::Int(48)]);
//! let ran = image.run(&SAPPHIRE_RAPIDS)?;      // Err: a fault, with vector and address
//! println!("{} {:?}", ran.calls[0].rax, ran.bytes(o));
//! # Ok(()) }
//! ```
//!
//! Every `#[test]` asks [`there`] first.

mod elf;
mod image;
mod operator;
mod tile_function;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use attnc_codegen_cpu::CpuTarget;
use serde::Serialize;

pub use image::{Arg, Buffer, Called, Fault, Image, Ran, Stopped};
pub use operator::{Done, Refused, forward};
pub use tile_function::tile_function;

/// State of x87 and SSE (XCR0).
pub const SSE: u32 = 0b11;
/// The same with AVX.
pub const AVX: u32 = 0b111;
/// The same with AVX-512.
pub const AVX512: u32 = 0b1110_0111;
/// The same with tiles.
const TILES: u32 = AVX512 | (0b11 << 17);
/// Default of MXCSR: every exception masked, rounding to nearest.
pub const MXCSR: u32 = 0x1f80;

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`.
const REQUEST_TILES: [u64; 3] = [158, 0x1023, 18];

/// How a processor with tile instructions takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Amx {
    /// They raise #NM until the system has granted them.
    Asked,
    /// They are executed.
    Granted,
}

/// A processor, and what its system does for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Processor {
    /// The name that Bochs gives it.
    pub model: &'static str,
    /// What the system keeps (XCR0).
    pub xcr0: u32,
    /// MXCSR at every call.
    pub mxcsr: u32,
    /// Bits set in answers of CPUID beyond the model's: leaf, subleaf, register (0..4: EAX, EBX, ECX, EDX), bits.
    pub cpuid: &'static [[u32; 4]],
    /// What becomes of tile instructions; none: they raise #UD.
    pub amx: Option<Amx>,
    /// Answers to system calls: number, first and second argument, answer. Any other call stops the run.
    pub system_calls: &'static [([u64; 3], i64)],
}

/// AVX, neither FMA nor AVX2.
pub const SANDY_BRIDGE: Processor = Processor {
    model: "corei7_sandy_bridge_2600k",
    ..HASWELL
};
/// AVX2 and FMA, no AVX-512.
pub const HASWELL: Processor = Processor {
    model: "corei7_haswell_4770",
    xcr0: AVX,
    mxcsr: MXCSR,
    cpuid: &[],
    amx: None,
    system_calls: &[],
};
/// AVX-512 with F, BW, DQ, VL and CD, no BF16.
pub const SKYLAKE_X: Processor = Processor {
    model: "corei7_skylake_x",
    xcr0: AVX512,
    ..HASWELL
};
/// AVX-512 with BF16 and FP16, no tiles.
pub const SAPPHIRE_RAPIDS: Processor = Processor {
    model: "sapphire_rapids",
    ..SKYLAKE_X
};
/// The same with AMX (tiles, bf16), which the harness executes, on a Linux that grants the permission when asked.
pub const SAPPHIRE_RAPIDS_AMX: Processor = Processor {
    xcr0: TILES,
    cpuid: &[[7, 0, 3, (1 << 22) | (1 << 24)]],
    amx: Some(Amx::Asked),
    system_calls: &[(REQUEST_TILES, 0)],
    ..SAPPHIRE_RAPIDS
};
/// The same where somebody has asked before: for single functions, which do not.
pub const SAPPHIRE_RAPIDS_TILES: Processor = Processor {
    amx: Some(Amx::Granted),
    ..SAPPHIRE_RAPIDS_AMX
};
/// The same on a Linux that grants nothing (EINVAL).
pub const SAPPHIRE_RAPIDS_DENIED: Processor = Processor {
    system_calls: &[(REQUEST_TILES, -22)],
    ..SAPPHIRE_RAPIDS_AMX
};

/// The processors that a target is for, the least demanding first: one for every body that it may have.
pub fn processors(target: CpuTarget) -> &'static [&'static Processor] {
    match target {
        CpuTarget::X86_64 => &[&SANDY_BRIDGE, &HASWELL],
        CpuTarget::X86_64V3 => &[&HASWELL],
        CpuTarget::X86_64V4 => &[&SKYLAKE_X, &SAPPHIRE_RAPIDS],
        CpuTarget::X86_64Amx => &[&SAPPHIRE_RAPIDS_AMX],
        CpuTarget::Aarch64 => &[],
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Python with Bochs' CPU, as `tests/bochs/install.sh` leaves it.
fn python() -> Command {
    let installed = root().join("target/bochs");
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", &installed);
    let missing = installed.join("glibc.so");
    if missing.exists() {
        python.env("LD_PRELOAD", missing);
    }
    python
}

/// Whether Bochs' CPU is there; where it is not, says so, or fails if `ATTNC_REQUIRE_BOCHS` asks for it.
pub fn there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let mut python = python();
        let found = python.args(["-c", "import bochscpu, numpy"]).output();
        let there = found.is_ok_and(|f| f.status.success());
        let required = std::env::var_os("ATTNC_REQUIRE_BOCHS").is_some_and(|x| x == "1");
        assert!(
            there || !required,
            "Bochs' CPU is missing: it is required; tests/bochs/install.sh"
        );
        if !there {
            println!("skipped: Bochs' CPU is missing (tests/bochs/install.sh)");
        }
        there
    })
}

/// Runs the tests of a program under `tests/bochs/`. Panics with what they say.
pub fn python_test(name: &str) {
    script(name, &[]).unwrap_or_else(|e| panic!("{e}"));
}

/// Runs a program of `tests/bochs/`; what it says where it fails.
fn script(name: &str, arguments: &[&Path]) -> Result<(), String> {
    let program = root().join("tests/bochs").join(name);
    let ran = python().arg(program).args(arguments).output();
    let ran = ran.map_err(|e| e.to_string())?;
    if ran.status.success() {
        Ok(())
    } else {
        Err(format!(
            "{}: {}",
            ran.status,
            String::from_utf8_lossy(&ran.stderr)
        ))
    }
}
