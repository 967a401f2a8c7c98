// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What only blocks of warps do has no code for CPUs, nor has every use of unconverted rows of tensors: the program is refused, and the
//! refusal says what in it is strange.

use attnc_codegen_cpu::{CodegenError, CpuTarget, compile};

/// A program with `facts` behind its header, `bufs` and `body`.
fn refusal(facts: &str, bufs: &str, body: &str) -> Option<String> {
    match refused("dtype bf16, causal false, key_step 5", facts, bufs, body) {
        None => None,
        Some(CodegenError::Block { what }) => Some(what),
        Some(other) => panic!("{other}"),
    }
}

fn refused(kind: &str, facts: &str, bufs: &str, body: &str) -> Option<CodegenError> {
    let text = format!(
        "tile 2 t target x86_64
        heads 1, kv_heads 1, head_dim 4, {kind}, careful_above 1.0{facts}
        alloc work i64 row: list[8] in 0..=N-1
        alloc {bufs}: k[320]
        fn f(m[1,q], k[k,d]; live_q, live_k) mq 8 nk 40 {{ }}
        plan {{ tasks B }}
        enter {{ }}
        body {{ {body} }}"
    );
    let core = attnc_tile::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    compile(&core, CpuTarget::X86_64).err()
}

#[test]
fn what_blocks_do_is_refused_by_name() {
    let plain = "work f32 row";
    assert_eq!(refusal("", plain, ""), None);
    let cases = [
        (", warps 4", plain, "", "4 warps"),
        (", stages 3", plain, "", "3 stages"),
        ("", "shared i64 row staged", "", "the staged buffer `k`"),
        (
            "",
            plain,
            "async gather k[0] rows = k(0, 0) at list[0] live 5",
            "an asynchronous gather",
        ),
        ("", plain, "%0 = inspect k[0] by 4 live 5", "`inspect`"),
        ("", plain, "%0 = queued", "`queued`"),
        ("", plain, "for %9 in 0..4 { commit }", "`commit`"),
        ("", plain, "if 1 { wait 1 }", "`wait`"),
        ("", plain, "if 0 { } else { release }", "`release`"),
        ("", plain, "barrier", "`barrier`"),
    ];
    for (facts, bufs, body, what) in cases {
        assert_eq!(refusal(facts, bufs, body).as_deref(), Some(what));
    }
}

#[test]
fn unconverted_rows_are_refused_where_nothing_takes_them() {
    let rows = "gather k[0] rows = k(0, 0) at list[0] live 5";
    for (kind, layout, body, said) in [
        ("dtype bf16, causal false, key_step 32", "row", rows, None),
        ("dtype f16, causal false, key_step 32", "row", rows, None),
        (
            "dtype f32, causal false, key_step 32",
            "row",
            rows,
            Some("`k` of unconverted f32"),
        ),
        (
            "dtype bf16, causal false, key_step 5",
            "padded 4",
            rows,
            Some("`k` in steps of 5 keys"),
        ),
        (
            "dtype bf16, causal false, key_step 32",
            "row",
            "if 1 { gather k[0] cols 8 = k(0, 0) at list[0] live 5 }",
            Some("unconverted columns in `k`"),
        ),
        (
            "dtype bf16, causal false, key_step 8",
            "row",
            "f(list[0], k[0]; 1, 1)",
            Some("unconverted floats in `k`"),
        ),
    ] {
        let got = refused(kind, "", &format!("work data {layout}"), body).map(|e| e.to_string());
        let said = said.map(|said| format!("no CPU kernel takes {said}"));
        assert_eq!(got, said, "{kind} {layout} {body}");
    }
}
