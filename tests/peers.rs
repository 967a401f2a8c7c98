// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The comparison with PyTorch (`benches/peers`), as far as it needs no PyTorch: its Python tests pass.

use std::path::Path;
use std::process::Command;

#[test]
fn the_python_files_compile_and_the_recorded_results_make_the_report() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers");
    let ran = Command::new("python3")
        .args(["-m", "unittest", "discover", "-s", "tests"])
        .current_dir(folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output();
    let Ok(ran) = ran else {
        let required = std::env::var_os("ATTNC_REQUIRE_PYTHON").is_some_and(|x| x == "1");
        assert!(!required, "python3 is missing: it is required");
        println!("skipped: python3 is missing");
        return;
    };
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}");
}
