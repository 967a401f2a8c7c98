// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What only blocks of warps do has no code for CPUs: the program is refused, and the refusal says what in it is strange.

use attnc_codegen_cpu::{CodegenError, CpuTarget, compile};

/// A program with `facts` behind its header, `bufs` and `body`.
fn refusal(facts: &str, bufs: &str, body: &str) -> Option<String> {
    let text = format!(
        "tile 2 t target x86_64
        heads 1, kv_heads 1, head_dim 4, dtype bf16, causal false, key_step 5, careful_above 1.0{facts}
        alloc work i64 row: list[8] in 0..=N-1
        alloc {bufs}: k[64]
        plan {{ tasks B }}
        enter {{ }}
        body {{ {body} }}"
    );
    let core = attnc_tile::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    match compile(&core, CpuTarget::X86_64) {
        Ok(_) => None,
        Err(CodegenError::Block { what }) => Some(what),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn what_blocks_do_is_refused_by_name() {
    let plain = "work f32 row";
    assert_eq!(refusal("", plain, ""), None);
    let cases = [
        (", warps 4", plain, "", "4 warps"),
        (", stages 3", plain, "", "3 stages"),
        (
            "",
            "shared i64 row staged",
            "",
            "the staged or unconverted buffer `k`",
        ),
        (
            "",
            "shared data swz128",
            "",
            "the staged or unconverted buffer `k`",
        ),
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
