// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests of object files share: compilers and machines that may be missing, programs linked with the C driver.

use std::path::{Path, PathBuf};
use std::process::Command;

use attnc::pipeline::{self, Choices};
use attnc::{Amount, Inputs, Signature, VerifyOptions};
use attnc_codegen_cpu::{CpuTarget, Declared, Jit, Program, compile, header, object};
use attnc_spec::Operator;
use attnc_tensor::{Bounds, DType, Elem, Place, Tensor};
use attnc_tile::core::Core;

/// A program of the system.
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The variable that makes its absence a failure.
    pub(crate) required_by: &'static str,
}

impl Tool {
    /// Whether the tool is there; where it is not, says so, or fails if it is required.
    pub(crate) fn there(&self) -> bool {
        let there = Command::new(self.name).arg("--version").output().is_ok();
        if !there {
            let required = std::env::var_os(self.required_by).is_some_and(|x| x == "1");
            assert!(!required, "{} is missing: it is required", self.name);
            println!("skipped: {} is missing", self.name);
        }
        there
    }
}

pub(crate) fn core(op: &Operator, choices: &Choices) -> Core {
    let graph = pipeline::graph(op).expect("a graph");
    let fused = pipeline::fuse(&graph, choices).expect("rewriting ends");
    pipeline::tile(&fused.graph, choices).expect("a program")
}

pub(crate) fn program(op: &Operator, target: CpuTarget) -> (Core, Program) {
    let core = core(op, &Choices::new(target.name()));
    let program = compile(&core, target).expect("code");
    (core, program)
}

/// What the code in memory gives, as the driver writes it.
// Not for processors that are only emulated.
#[allow(dead_code)]
pub(crate) fn in_memory(op: &Operator, jit: &Jit, x: &Inputs) -> Vec<u8> {
    let s = Signature::from(op);
    let mut out = Tensor::zeros(op.dtype, &s.query_shape(x.batch, x.seq_len)).expect("small");
    let mut lse = Tensor::zeros(DType::F32, &s.lse_shape(x.batch, x.seq_len)).expect("small");
    let launch = attnc_runtime::Launch {
        q: x.q.view(),
        k: x.k.view(),
        v: x.v.view(),
        out: out.view_mut(),
        lse: lse.view_mut(),
        workers: attnc_runtime::Workers::Threads(2),
    };
    attnc_runtime::launch(jit, launch, &|_, _| std::ops::ControlFlow::Continue(())).expect("runs");
    [out.bytes(), lse.bytes()].concat()
}

/// Compiles the driver for `op` against an object file, with a header of `core` alone; `cc` and its options come first.
pub(crate) fn link(folder: &Path, cc: &[&str], op: &Operator, core: &Core, o: &Path) -> PathBuf {
    let head = folder.join(format!("{}.h", op.name));
    let declared = Declared::of(core, "");
    std::fs::write(&head, header(&[declared])).expect("can be written");
    driver(folder, cc, op, &head, o)
}

/// Compiles the driver for `op` against an object file and its header; not one warning is let pass.
pub(crate) fn driver(folder: &Path, cc: &[&str], op: &Operator, head: &Path, o: &Path) -> PathBuf {
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("object/driver.c");
    let exe = folder.join(format!("{}.exe", op.name));
    let elem = match op.dtype {
        DType::F32 => "float",
        DType::Bf16 | DType::F16 => "uint16_t",
    };
    let made = Command::new(cc[0])
        .args(&cc[1..])
        .args([
            "-O1",
            "-Wall",
            "-Wextra",
            "-pedantic",
            "-Werror",
            "-pthread",
        ])
        .args([
            format!("-DOP={}", op.name),
            format!("-DHEADER=\"{}\"", head.display()),
            format!("-DH={}", op.heads),
            format!("-DKV={}", op.kv_heads),
            format!("-DD={}", op.head_dim),
            format!("-DELEM={elem}"),
        ])
        .arg(&driver)
        // What follows is no source text, whatever language was asked for.
        .args(["-x", "none"])
        .arg(o)
        .arg("-o")
        .arg(&exe)
        .output()
        .expect("the compiler runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success() && said.is_empty(), "{said}");
    exe
}

/// Writes an object file of programs.
pub(crate) fn write(folder: &Path, name: &str, programs: &[Program]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, object(name, programs).expect("an object")).expect("can be written");
    path
}

/// Runs the driver, `runner` before it; yields the bytes of out and lse for each shape.
pub(crate) fn drive(
    exe: &Path,
    runner: &[&str],
    layout: i32,
    level: i64,
    shapes: &[Inputs],
) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut all: Vec<String> = runner.iter().map(ToString::to_string).collect();
    all.push(exe.to_str().expect("UTF-8").to_string());
    all.extend([layout.to_string(), level.to_string()]);
    let mut files = Vec::new();
    for (i, s) in shapes.iter().enumerate() {
        let path = folder.path().join(i.to_string());
        let bytes = [s.q.bytes(), s.k.bytes(), s.v.bytes()].concat();
        std::fs::write(&path, bytes).expect("can be written");
        let name = path.to_str().expect("UTF-8").to_string();
        files.push(format!("{name}.out"));
        all.extend([s.batch.to_string(), s.seq_len.to_string(), name]);
    }
    let ran = Command::new(&all[0]).args(&all[1..]).output();
    let ran = ran.expect("the program runs");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{:?}: {said}", ran.status);
    let read = |f: &String| std::fs::read(f).expect("written");
    files.iter().map(read).collect()
}

/// The tensors that a driver's output holds.
pub(crate) fn results(op: &Operator, x: &Inputs, bytes: &[u8]) -> (Tensor, Tensor) {
    let (h, d) = (op.heads as usize, op.head_dim as usize);
    let (out, lse) = bytes.split_at(x.batch * x.seq_len * h * d * op.dtype.bytes());
    let shape = [x.batch, x.seq_len, h, d];
    let out = match op.dtype {
        DType::F32 => tensor::<f32>(out, &shape),
        DType::Bf16 => tensor::<half::bf16>(out, &shape),
        DType::F16 => tensor::<half::f16>(out, &shape),
    };
    (out, tensor::<f32>(lse, &[x.batch, h, x.seq_len]))
}

fn tensor<T: Elem>(bytes: &[u8], shape: &[usize]) -> Tensor {
    let elements = bytes.chunks(T::STORAGE.bytes()).map(T::from_le).collect();
    Tensor::from_vec::<T>(elements, shape).expect("as many as the shape says")
}

/// Every row against the oracle, under the tolerances of the semantics, which it yields.
pub(crate) fn judge(op: &Operator, x: &Inputs, bytes: &[u8], what: &str) -> Bounds {
    let (out, lse) = results(op, x, bytes);
    let options = VerifyOptions {
        amount: Amount::All,
        seed: 0,
        boundaries: &[],
        place: Place::Host,
        threads: 1,
    };
    let found = attnc::verify(op, x, &out.view(), &lse.view(), &options, &|_| {});
    let found = found.expect("shapes fit");
    assert!(found.verdict.passed, "{what}: {found:?}");
    found.verdict.bounds
}
