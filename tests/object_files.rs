// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Object files as a C program meets them: no undefined symbols, the bits of the code in memory, every layout, both bodies.

#[path = "support/object.rs"]
mod support;

use attnc::pipeline::Choices;
use attnc::{Inputs, Signature};
use attnc_codegen_cpu::{CpuTarget, Jit, asm, census, clif, compile, object};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use object::{Object, ObjectSection, ObjectSymbol};
use support::*;

const CC: Tool = Tool {
    name: "cc",
    required_by: "ATTNC_REQUIRE_CC",
};

/// Shared heads, an odd head dimension, ragged ends, a branch that leaves rows out.
fn operator(name: &str, dtype: DType, causal: bool) -> Operator {
    let branch = |w, dilation| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    Operator {
        name: name.into(),
        heads: 4,
        kv_heads: 2,
        head_dim: 7,
        dtype,
        precision: Precision::Standard,
        causal,
        scale: 0.4,
        profile: Profile::PAPER,
        branches: vec![branch(16, 1), branch(64, 2), branch(100, 4)],
    }
}

fn inputs(op: &Operator, batch: u64, seq_len: u64) -> Inputs {
    Inputs::generate(&Signature::from(op), batch, seq_len, 11).expect("small")
}

#[test]
fn objects_define_all_they_need_and_are_the_same_every_time() {
    for target in CpuTarget::ALL {
        let made = || {
            let programs: Vec<_> = [DType::F32, DType::F16]
                .into_iter()
                .map(|d| program(&operator(&format!("op_{d}"), d, true), target).1)
                .collect();
            object("two.o", &programs).expect("an object")
        };
        let bytes = made();
        assert!(bytes == made(), "{}", target.name());
        let file = object::File::parse(&*bytes).expect("ELF");
        let undefined: Vec<_> = file.symbols().filter(|s| s.is_undefined()).collect();
        assert!(undefined.iter().all(|s| s.index().0 == 0), "{undefined:?}");
        let mut global: Vec<String> = file
            .symbols()
            .filter(|s| s.is_global())
            .map(|s| s.name().expect("UTF-8").to_string())
            .collect();
        global.sort();
        let want: Vec<String> = ["bf16", "f16", "f32"][1..]
            .iter()
            .flat_map(|d| {
                ["forward", "plan", "run", "workspace"].map(|f| format!("attnc_op_{d}_{f}"))
            })
            .collect();
        assert_eq!(global, want, "{}", target.name());
        assert!(
            file.sections()
                .all(|s| s.kind() != object::SectionKind::UninitializedData || s.size() == 0)
        );
    }
}

#[test]
fn every_head_dimension_and_type_becomes_code_for_every_processor() {
    for head_dim in [1, 2, 5, 64, 130, 256] {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let mut op = operator("op", dtype, head_dim % 2 == 0);
            op.head_dim = head_dim;
            for target in CpuTarget::ALL {
                let core = core(&op, &Choices::new(target.name()));
                if let Err(e) = compile(&core, target) {
                    panic!("{head_dim} {dtype} {}: {e}", target.name());
                }
            }
        }
    }
}

#[test]
fn one_program_name_twice_or_two_families_are_refused() {
    let op = operator("op", DType::F32, false);
    let [x86, arm] = [CpuTarget::X86_64, CpuTarget::Aarch64].map(|t| program(&op, t).1);
    let twice = object("o", &[x86.clone(), x86.clone()]).expect_err("defined twice");
    assert!(twice.to_string().contains("attnc_op"), "{twice}");
    assert!(object("o", &[x86, arm]).is_err());
    assert!(object("o", &[]).is_err());
}

#[test]
fn a_c_program_gets_the_bits_of_the_code_in_memory() {
    let Some(target) = CpuTarget::here() else {
        return;
    };
    if !CC.there() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (dtype, causal) in [
        (DType::F32, true),
        (DType::F32, false),
        (DType::Bf16, true),
        (DType::F16, false),
    ] {
        let op = operator("op", dtype, causal);
        let (core, program) = program(&op, target);
        let jit = Jit::link(&program).expect("code");
        let o = write(folder.path(), "op.o", &[program]);
        let exe = link(folder.path(), &["cc", "-std=c99"], &op, &core, &o);
        // Into a shared library, too: nothing undefined, nothing that depends on where the code stands.
        let shared = std::process::Command::new("cc")
            .arg("-shared")
            .args(["--no-undefined", "-z,text", "--fatal-warnings"].map(|w| format!("-Wl,{w}")))
            .arg(&o)
            .arg("-o")
            .arg(folder.path().join("op.so"))
            .output()
            .expect("the compiler runs");
        let said = String::from_utf8_lossy(&shared.stderr);
        assert!(shared.status.success() && said.is_empty(), "{said}");
        // One object, several shapes: nothing is compiled anew.
        let shapes = [inputs(&op, 2, 150), inputs(&op, 1, 1), inputs(&op, 1, 64)];
        let want: Vec<_> = shapes.iter().map(|x| in_memory(&op, &jit, x)).collect();
        for layout in [0, 1, 2] {
            let got = drive(&exe, &[], layout, -1, &shapes);
            assert!(got == want, "{dtype}, causal {causal}, layout {layout}");
        }
        for &level in target.levels() {
            if !level.here() {
                println!("skipped: this machine does not run {}", level.name());
                continue;
            }
            let got = drive(&exe, &[], 2, level.number(), &shapes);
            for (x, bytes) in shapes.iter().zip(&got) {
                judge(&op, x, bytes, level.name());
            }
            let best = target.levels().iter().rev().find(|l| l.here());
            // Were both bodies the same, the choice between them would be untested.
            assert_eq!(
                got == want,
                best == Some(&level),
                "{dtype} {}",
                level.name()
            );
        }
    }
}

#[test]
fn the_code_in_memory_is_that_of_the_object() {
    let Some(target) = CpuTarget::here() else {
        return;
    };
    let (core, program) = program(&operator("op", DType::F32, true), target);
    let whole = Jit::link(&program).expect("code");
    let own = Jit::new(&core).expect("code");
    let best = target.levels().iter().rev().find(|l| l.here());
    let best = format!(".{}.", best.expect("the lowest").name());
    let mut compared = 0;
    for (name, bytes) in program.functions() {
        let same = |placed: &[u8]| {
            assert_eq!(bytes.len(), placed.len(), "{name}");
            let differ = bytes.iter().zip(placed).filter(|(a, b)| a != b).count();
            // Only the distances of calls and tables are filled in.
            assert!(differ <= 4 * program.relocations(name), "{name}: {differ}");
        };
        same(whole.function(name).expect("linked"));
        // What is compiled for running here alone has one level only, and so nothing to choose in `plan` and `run`.
        let choosing = name.ends_with("_plan") || name.ends_with("_run");
        match own.function(name) {
            Some(placed) if !choosing => {
                same(placed);
                compared += usize::from(name.contains(&best));
            }
            Some(_) => {}
            None => assert!(!name.contains(&best), "{name}"),
        }
    }
    assert!(compared > core.fns.len(), "{compared}");
}

#[test]
fn listings_decode_every_byte_and_hold_no_addresses() {
    for target in CpuTarget::ALL {
        for dtype in [DType::F32, DType::Bf16, DType::F16] {
            let op = operator("op", dtype, true);
            let (core, program) = program(&op, target);
            let bytes: usize = program.functions().map(|f| f.1.len()).sum();
            let [code, constants, padding] = census(&program).expect("decodes");
            assert_eq!(code + constants + padding, bytes);
            // Nothing but room before aligned constants is unnamed: less than 16 bytes a function, and no large share of constants.
            let functions = program.functions().count();
            assert!(padding < 16 * functions, "{padding} of {bytes}");
            assert!(constants < bytes / 8, "{constants} of {bytes}");
            let text = asm(&program).expect("decodes");
            assert!(text == asm(&compile(&core, target).expect("code")).expect("decodes"));
            let clif = clif(&core, target).expect("code");
            for (name, bytes) in program.functions() {
                assert!(!bytes.is_empty(), "{name}");
                assert!(text.contains(&format!("\n{name}:")), "{name}");
                let head = format!("function %{name}(");
                // Assembled, not compiled.
                let ours = [".features", ".control", ".claim"];
                let ours = ours.iter().any(|end| name.ends_with(end));
                assert!(clif.contains(&head) || ours, "{name}");
            }
            assert!(!clif.contains("userextname") && !clif.contains("colocated u"));
            let labels: Vec<&str> = text.lines().filter_map(|l| l.strip_suffix(':')).collect();
            for line in text.lines() {
                let mut words = line.split_whitespace();
                let (Some(mnemonic), Some(to)) = (words.next(), words.next_back()) else {
                    continue;
                };
                if mnemonic.starts_with('j')
                    || mnemonic == "b"
                    || mnemonic.starts_with("b.")
                    || ["call", "bl", "cbz", "cbnz", "tbz", "tbnz", "adrp"].contains(&mnemonic)
                {
                    assert!(to.starts_with(".L") || to.starts_with("attnc_op"), "{line}");
                    let known =
                        labels.contains(&to) || to == "attnc_op_plan" || to == "attnc_op_run";
                    assert!(known, "{line}");
                }
                assert!(
                    !line.contains("[rip +  ") && !line.contains("[rip + 0x"),
                    "{line}"
                );
            }
        }
    }
}
