// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every program that lowering makes passes the verifier: all switches, groups and ways to combine, odd dimensions included.

mod support;

use attnc_schedule::{Schedule, lower};
use attnc_tile::verify;
use support::nests;

#[test]
fn every_lowered_program_verifies() {
    let mut failures = Vec::new();
    for (name, nest) in nests() {
        let branches = nest.groups.iter().map(|g| g.terms.len()).sum();
        let scheds = [
            Schedule::of("x86_64", &nest),
            Schedule::of("sm_80", &nest),
            Schedule::half("x86_64-v4", nest.head_dim, branches),
        ];
        for sched in scheds {
            let target = format!("{} {:?}", sched.target, sched.panels);
            let core = lower(&nest, &sched).expect("these nests are within the limits");
            if let Err(errors) = verify::core(&core) {
                failures.push((format!("{name} {target}"), errors));
            }
        }
    }
    if let Some((name, errors)) = failures.first() {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        panic!(
            "{} programs fail, the first is `{name}`:\n{}",
            failures.len(),
            lines.join("\n")
        );
    }
}
