// SPDX-License-Identifier: Apache-2.0 OR MIT
//! NVIDIA's assembler as a second opinion. In: PTX text. Out: whether ptxas accepts it.
//!
//! It is looked for in `$PTXAS`, then in the wheel `nvidia-cuda-nvcc` of the Python that
//! `python3` names, then in `$PATH`. Without it a check prints `skipped`; where
//! `ATTNC_REQUIRE_PTXAS=1` (CI sets it), its absence is a failure.
#![allow(dead_code, unreachable_pub)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;

static TOOL: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    let found = std::env::var_os("PTXAS")
        .map(PathBuf::from)
        .filter(|p| p.is_file())
        .or_else(in_wheel)
        .or_else(on_path);
    if found.is_none() {
        println!("skipped: no ptxas");
    }
    found
});

fn in_wheel() -> Option<PathBuf> {
    let out = Command::new("python3")
        .args([
            "-c",
            "import sysconfig; print(sysconfig.get_path('purelib'))",
        ])
        .output()
        .ok()?;
    let dir = PathBuf::from(String::from_utf8(out.stdout).ok()?.trim());
    Some(dir.join("nvidia/cu13/bin/ptxas")).filter(|p| p.is_file())
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|d| d.join("ptxas"))
        .find(|f| f.is_file())
}

/// The assembler, if there is one; panics where one is required.
pub fn ptxas() -> Option<&'static PathBuf> {
    let required = std::env::var_os("ATTNC_REQUIRE_PTXAS").is_some_and(|v| v == "1");
    assert!(
        TOOL.is_some() || !required,
        "ATTNC_REQUIRE_PTXAS=1, but no ptxas is installed"
    );
    TOOL.as_ref()
}

/// What ptxas says to a text for the target it names: `None` without ptxas.
pub fn assembles(text: &str) -> Option<Result<(), String>> {
    let tool = ptxas()?;
    let target = text
        .lines()
        .find_map(|l| l.trim_start().strip_prefix(".target"))
        .and_then(|l| l.trim().split(',').next());
    let dir = tempfile::tempdir().expect("temporary folder");
    let src = dir.path().join("a.ptx");
    std::fs::write(&src, text).expect("written");
    let out = Command::new(tool)
        .args(["-arch", target.unwrap_or("sm_80"), "-O0", "-o"])
        .arg(dir.path().join("a.o"))
        .arg(&src)
        .output()
        .expect("ptxas runs");
    Some(if out.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&out.stderr).into_owned())
    })
}

/// Panics where ptxas refuses a text.
pub fn assemble(text: &str) {
    if let Some(Err(e)) = assembles(text) {
        panic!("ptxas: {e}\n{text}");
    }
}
