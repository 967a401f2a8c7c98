// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The verifier against NVIDIA's assembler: a table of instructions, right ones and wrong
//! ones, to which both must say the same.

mod common;
use attnc_ptx::{parse, verify};
use std::path::Path;

fn frame(line: &str) -> String {
    format!(
        ".version 8.6\n.target sm_90a\n.address_size 64\n.global .align 16 .b8 g[64];\n.func (.param .b32 o) f (.param .b32 i) {{ ret; }}
.visible .entry k(.param .u64 q) {{ .reg .pred %p<4>; .reg .b16 %h<9>; .reg .u16 %uh<4>; .reg .f16 %hf<4>; .reg .f16x2 %hx<4>; .reg .b32 %r<40>; .reg .u32 %u<4>; .reg .s32 %s<4>; .reg .f32 %f<40>; .reg .b64 %d<9>; .reg .u64 %ud<4>; .reg .f64 %e<9>; .reg .b8 %c<4>; .reg .b128 %q<3>; .reg .v2 .f32 %v2;
.shared .align 128 .b8 s[256]; .local .align 8 .b8 l[64];
L: {line}\nret; }}\n"
    )
}

fn ours(text: &str) -> Result<(), String> {
    let m = parse(text).map_err(|e| e.to_string())?;
    match verify(&m).first() {
        None => Ok(()),
        Some(e) => Err(e.to_string()),
    }
}

#[test]
fn the_verifier_agrees_with_ptxas() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ptx/hand/verdicts.txt");
    let table = std::fs::read_to_string(table).expect("the table");
    let (mut right, mut wrong, mut bad) = (0, 0, Vec::new());
    for l in table.lines().filter(|l| !l.starts_with('#')) {
        let (verdict, line) = l.split_once(' ').expect("a verdict");
        let ok = verdict == "ok";
        if ok {
            right += 1;
        } else {
            wrong += 1;
        }
        let text = frame(line);
        let we = ours(&text);
        if we.is_ok() != ok {
            bad.push(format!("the verifier: {line}: {we:?}"));
        }
        if let Some(they) = common::assembles(&text)
            && they.is_ok() != ok
        {
            bad.push(format!("ptxas: {line}: {they:?}"));
        }
    }
    assert!(right > 50 && wrong > 50);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
