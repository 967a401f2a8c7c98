// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every scalar instruction family against values worked out from the manual, as a table.

mod common;
use common::{Run, kernel};

/// One block of the table.
struct Entry {
    opcode: String,
    inputs: Vec<String>,
    output: String,
    cases: Vec<(Vec<u64>, u64)>,
}

fn hex(s: &str) -> Vec<u64> {
    s.split_whitespace()
        .map(|x| u64::from_str_radix(x, 16).expect("hexadecimal"))
        .collect()
}

fn table() -> Vec<Entry> {
    let path =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/ptx/hand/semantics.txt");
    let text = std::fs::read_to_string(path).expect("the table");
    let mut out: Vec<Entry> = Vec::new();
    for line in text
        .lines()
        .filter(|l| !l.starts_with('#') && !l.trim().is_empty())
    {
        if line.starts_with(' ') {
            let (i, o) = line.split_once('>').expect("inputs > output");
            out.last_mut()
                .expect("a head")
                .cases
                .push((hex(i), hex(o)[0]));
        } else {
            let (opcode, types) = line.split_once(" : ").expect("a head");
            let (i, o) = types.split_once('>').expect("types");
            out.push(Entry {
                opcode: opcode.into(),
                inputs: i.split_whitespace().map(String::from).collect(),
                output: o.trim().into(),
                cases: vec![],
            });
        }
    }
    out
}

/// The instructions of an entry: one thread a case, inputs at 8 bytes each.
fn body(e: &Entry) -> String {
    let mut s = String::from(
        "  mul.wide.u32 %d0, %t, 64;\n  add.s64 %d1, %p0, %d0;\n  add.s64 %d2, %p1, %d0;\n",
    );
    let reg = |w: &str, k: usize| match w {
        "b16" => format!("%h{k}"),
        "b32" => format!("%r{k}"),
        _ => format!("%d{}", k + 10),
    };
    let mut args = vec![reg(&e.output, 9)];
    for (k, w) in e.inputs.iter().enumerate() {
        if let Some(imm) = w.strip_prefix('#') {
            args.push(imm.into());
            continue;
        }
        s += &format!("  ld.global.{w} {}, [%d1+{}];\n", reg(w, k), 8 * k);
        args.push(reg(w, k));
    }
    s += &format!(
        "  {} {};\n  st.global.{} [%d2], {};\n",
        e.opcode,
        args.join(", "),
        e.output,
        args[0]
    );
    s
}

#[test]
fn scalar_instructions_follow_the_manual() {
    let mut wrong = Vec::new();
    let entries = table();
    assert!(entries.len() > 100);
    let mut whole = String::new();
    for e in &entries {
        let text = kernel("sm_90a", "8.6", 2, "", &body(e));
        let mut input = vec![0u8; 64 * e.cases.len()];
        for (k, (i, _)) in e.cases.iter().enumerate() {
            for (j, v) in i.iter().enumerate() {
                input[64 * k + 8 * j..][..8].copy_from_slice(&v.to_le_bytes());
            }
        }
        let mut r = Run::new(&text)
            .block(e.cases.len() as u32)
            .bytes(&input)
            .bytes(&vec![0; input.len()]);
        r.assembles = false;
        whole += &body(e);
        if let Err(x) = r.go() {
            wrong.push(format!("{}: {x}", e.opcode));
            continue;
        }
        for (k, (i, want)) in e.cases.iter().enumerate() {
            let mut b = [0u8; 8];
            b.copy_from_slice(&r.buffers[1][64 * k..][..8]);
            let got = u64::from_le_bytes(b);
            if got != *want {
                wrong.push(format!("{} {i:x?}: got {got:x}, want {want:x}", e.opcode));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    common::assemble(&kernel("sm_90a", "8.6", 2, "", &whole));
}
