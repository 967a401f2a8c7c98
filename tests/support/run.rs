// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What the tests of `attnc run` share: an operator, tensors, the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use attnc_tensor::{Storage, Tensor, write_safetensors};
use serde_json::Value;

pub(crate) const OP: &str = "attention op { heads = 4, kv_heads = 2, head_dim = 8, causal = true, branch { segment = 8, dilation = 2 } branch { segment = 16, dilation = 4 } }\n";

pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_attnc-under-test"));
    command.arg("run").args(arguments).current_dir(folder);
    command.env_clear().stdin(Stdio::null());
    command
}

pub(crate) fn finish(output: Output) -> Run {
    Run {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Runs with `--backend oracle`.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Run {
    let mut command = command(folder, arguments);
    command.args(["--backend", "oracle"]);
    finish(command.output().expect("the command runs"))
}

pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("op.attn"), OP).expect("can be written");
    folder
}

pub(crate) fn write(path: &Path, tensors: &[(&str, &Tensor)]) {
    let mut file = fs::File::create(path).expect("can be created");
    write_safetensors(&mut file, tensors, &[]).expect("can be written");
}

pub(crate) fn tensor(storage: Storage, shape: &[usize]) -> Tensor {
    attnc_tensor::normal_tensor(storage, shape, 1, 0).expect("small")
}

/// `good.safetensors` for `op.attn`: batch 2, 21 tokens, in float64, with a tensor that is ignored.
pub(crate) fn good(folder: &Path) -> PathBuf {
    let path = folder.join("good.safetensors");
    let q = tensor(Storage::F64, &[2, 21, 4, 8]);
    let k = tensor(Storage::F64, &[2, 21, 2, 8]);
    write(&path, &[("q", &q), ("k", &k), ("v", &k), ("extra", &q)]);
    path
}

pub(crate) fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}{}", run.out, run.err))
}

/// Nothing but the named files is in the folder.
pub(crate) fn assert_only(folder: &Path, names: &[&str]) {
    let mut found: Vec<String> = fs::read_dir(folder)
        .expect("a folder")
        .map(|e| {
            e.expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    found.sort();
    assert_eq!(found, names);
}
