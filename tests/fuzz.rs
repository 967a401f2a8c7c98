// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every fuzz target on the stable toolchain: the seeds as they are, then a counted number of mutations of them.
//!
//! In: `attnc_tests::fuzz`. Out: the first input that breaks a promise, as a file that cargo-fuzz and the seeds take. The mutations are
//! the same in every run; `ATTNC_FUZZ_SEED` asks for others, `ATTNC_FUZZ_FACTOR` for more.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use attnc_tests::fuzz::{Mutator, TARGETS, Target, seeds, target};

fn number(name: &str, otherwise: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|t| t.parse().ok()).unwrap_or(otherwise)
}

/// Runs one input; where it panics, keeps it beside the build.
fn run(target: Target, name: &str, data: &[u8]) -> bool {
    catch_unwind(AssertUnwindSafe(|| (target.run)(data))).unwrap_or_else(|_| {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", target.name));
        std::fs::write(&path, data).expect("the build folder can be written");
        panic!(
            "{} fails on {name}, kept as {}",
            target.name,
            path.display()
        );
    })
}

fn fuzz(name: &str) {
    let target = target(name);
    let seeds = seeds(name);
    assert!(!seeds.is_empty(), "{name} has no seeds");
    for (seed, data) in &seeds {
        run(target, seed, data);
    }
    let seeds = seeds.into_iter().map(|(_, data)| data).collect();
    let mut mutator = Mutator::new(seeds, target.words, number("ATTNC_FUZZ_SEED", 1));
    let wanted = target.executions * number("ATTNC_FUZZ_FACTOR", 1);
    let (mut done, mut good) = (0, 0);
    while done < wanted {
        good += u64::from(run(
            target,
            &format!("mutation {done}"),
            &mutator.next_input(),
        ));
        done += 1;
    }
    println!("{name}: {done} executions, {good} of inputs that could be read");
    assert_eq!(done, wanted);
    assert!(good * target.good >= done, "{name}: {good} of {done}");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(#[test] fn $name() { fuzz(stringify!($name)); })*

        #[test]
        fn every_target_is_run_here_and_by_cargo_fuzz() {
            let here = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|t| t.name), here);
            let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
            let manifest = std::fs::read_to_string(fuzz.join("Cargo.toml")).expect("a manifest");
            for name in here {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
                let path = fuzz.join("fuzz_targets").join(format!("{name}.rs"));
                let text = std::fs::read_to_string(path).expect("a target");
                assert!(text.contains(&format!("target(\"{name}\")")), "{name}");
            }
        }
    };
}

targets! { tokens resolve format editor graph_text tile_text tensors lowered_graph pipeline }

/// Writes the seeds where cargo-fuzz takes a corpus from.
#[test]
#[ignore = "writes fuzz/corpus/, for cargo fuzz"]
fn write_the_corpora() {
    for target in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target.name);
        std::fs::create_dir_all(&folder).expect("can be made");
        for (i, (_, data)) in seeds(target.name).iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{i}")), data).expect("can be written");
        }
    }
}
