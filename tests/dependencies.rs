// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What comes in with dependencies: licences and bans of `deny.toml`, without a network (`cargo deny check` adds the advisories).
//!
//! In: `deny.toml` and what Cargo says of the lock file's packages. Out: every breach, by package.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Packages as (name, licence expression, source).
fn packages() -> Vec<(String, String, String)> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    // Packages of other systems are not on this disk yet where only a build has fetched any: their registry is asked.
    let out = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--all-features",
        ])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo runs");
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let all: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let list = all["packages"].as_array().expect("packages").iter();
    let list: Vec<_> = list
        .map(|p| (text(&p["name"]), text(&p["license"]), text(&p["source"])))
        .collect();
    assert!(list.len() > 100);
    list
}

fn rules() -> toml::Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deny.toml");
    std::fs::read_to_string(path)
        .expect("it is there")
        .parse()
        .expect("TOML")
}

#[test]
fn licences_are_those_that_are_allowed() {
    let rules = rules();
    let allowed: Vec<String> = rules["licenses"]["allow"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|l| l.as_str().expect("a name").to_owned())
        .collect();
    let one = |requirement: &spdx::LicenseReq| allowed.contains(&requirement.to_string());
    let mut breaches = Vec::new();
    for (name, licence, _) in packages() {
        let mode = spdx::ParseMode::LAX;
        match spdx::Expression::parse_mode(&licence, mode) {
            Ok(e) if e.evaluate(one) => {}
            Ok(_) | Err(_) => breaches.push(format!("{name}: {licence:?}")),
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    // The test can fail.
    let strict = spdx::Expression::parse("GPL-3.0-only").expect("a licence");
    assert!(!strict.evaluate(one));
}

#[test]
fn banned_packages_and_foreign_sources_stay_out() {
    let rules = rules();
    let banned: Vec<&str> = rules["bans"]["deny"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|b| b["crate"].as_str().expect("a name"))
        .collect();
    assert!(banned.contains(&"font-kit"));
    let mut breaches = Vec::new();
    for (name, _, source) in packages() {
        if banned.contains(&name.as_str()) {
            breaches.push(format!("{name} is banned"));
        }
        if !source.is_empty() && !source.starts_with("registry+") {
            breaches.push(format!("{name} comes from {source}"));
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
