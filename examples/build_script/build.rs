// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Compiles `../local.attn` for the target of this package, and has the object linked.

use std::env;
use std::error::Error;
use std::path::PathBuf;

use attnc::{AttentionFile, BuildOptions, CpuTarget};

const SOURCE: &str = "../local.attn";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed={SOURCE}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let family = env::var("CARGO_CFG_TARGET_ARCH")?;
    // Every target of the family: the binary takes the best that it finds where it runs.
    let targets: Vec<CpuTarget> = CpuTarget::ALL
        .into_iter()
        .filter(|t| t.family().name() == family)
        .collect();
    let file = AttentionFile::load(SOURCE)?;
    let options = BuildOptions {
        bundle: Some("operators"),
        ..BuildOptions::default()
    };
    let built = attnc::build(file.attentions(), &targets, &options)?;
    for path in built.write(&out)? {
        // The name tells whether it is for one target or for several.
        if path.extension().is_some_and(|e| e == "o") {
            println!("cargo::rustc-link-arg-bins={}", path.display());
        }
    }
    Ok(())
}
