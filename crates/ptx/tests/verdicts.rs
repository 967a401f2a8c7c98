// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The verifier against NVIDIA's assembler: a table of instructions, right ones and wrong
//! ones, to which both must say the same.

mod common;
use attnc_ptx::{parse, verify};
use std::path::Path;

fn frame(line: &str, version: &str, target: &str) -> String {
    // A register of 128 bits is newer than some of the versions asked for.
    let wide = if line.contains("%q1") {
        ".reg .b128 %q<3>;"
    } else {
        ""
    };
    format!(
        ".version {version}\n.target {target}\n.address_size 64\n.global .align 16 .b8 g[64];\n.func (.param .b32 o) f (.param .b32 i) {{ ret; }}
.visible .entry k(.param .u64 q) {{ .reg .pred %p<4>; .reg .b16 %h<9>; .reg .u16 %uh<4>; .reg .f16 %hf<4>; .reg .f16x2 %hx<4>; .reg .b32 %r<40>; .reg .u32 %u<4>; .reg .s32 %s<4>; .reg .f32 %f<40>; .reg .b64 %d<9>; .reg .u64 %ud<4>; .reg .f64 %e<9>; .reg .b8 %c<4>; {wide} .reg .v2 .f32 %v2;
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
        let (verdict, place) = verdict.split_once('@').unwrap_or((verdict, "8.6/sm_90a"));
        let (version, target) = place.split_once('/').expect("version and target");
        let ok = verdict == "ok";
        if ok {
            right += 1;
        } else {
            wrong += 1;
        }
        let text = frame(line, version, target);
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

/// Modules that break a rule outside of instructions.
#[test]
fn both_refuse_broken_modules() {
    let head = ".version 8.0\n.target sm_80\n.address_size 64\n";
    let cases = [
        (".visible .entry k() { .reg .b32 a; .reg .b32 a; ret; }", 3),
        (".visible .entry k() { L: bra L; L: ret; }", 3),
        (".visible .entry k() { bra M; { M: ret; } }", 3),
        (
            ".visible .entry k() { { .reg .b32 a; mov.u32 a, 1; } mov.u32 a, 2; ret; }",
            3,
        ),
        (".global .align 3 .b8 x[4]; .visible .entry k() { ret; }", 6),
        (
            ".global .b8 x[4]; .global .b32 x; .visible .entry k() { ret; }",
            3,
        ),
        (
            ".func f (.param .b32 a) { ret; } .visible .entry k() { call.uni f; ret; }",
            7,
        ),
        (".visible .entry k() { call.uni g; ret; }", 3),
        (".visible .entry k() { mov.u32 %r1, 1; ret; }", 3),
        (
            ".visible .entry k() { .reg .b32 %r<2>; mov.u32 %r2, 1; ret; }",
            3,
        ),
        (
            ".visible .entry k(.param .u64 a, .param .u64 a) { ret; }",
            3,
        ),
    ];
    for (text, rule) in cases {
        let text = format!("{head}{text}\n");
        let m = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let rules: Vec<u8> = verify(&m).iter().map(|e| e.kind.rule()).collect();
        assert!(rules.contains(&rule), "{rules:?}\n{text}");
        if let Some(they) = common::assembles(&text) {
            assert!(they.is_err(), "ptxas accepts\n{text}");
        }
    }
}
