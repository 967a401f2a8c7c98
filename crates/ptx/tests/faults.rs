// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Every kind of fault, provoked; and beside it the correct kernel, which must pass.

mod common;
use attnc_ptx::emu::{FaultKind, Launch, LaunchError, Memory, Options, Program};
use common::{Run, kernel};

const SMEM: &str = ".shared .align 16 .b8 s[1024];";

fn k(body: &str) -> String {
    kernel("sm_80", "7.8", 2, SMEM, body)
}

fn fault(body: &str, block: u32) -> FaultKind {
    let text = k(body);
    let mut first = None;
    for seed in 0..8 {
        let f = Run::new(&text)
            .block(block)
            .words(&[1; 64])
            .words(&[0; 64])
            .seed(seed)
            .fault();
        let kind = std::mem::discriminant(&f);
        // The verdict must not depend on the seed.
        assert_eq!(*first.get_or_insert(kind), kind, "seed {seed}: {f}");
        if seed == 7 {
            return f;
        }
    }
    unreachable!("eight seeds")
}

fn passes(body: &str, block: u32) {
    let text = k(body);
    for seed in 0..8 {
        Run::new(&text)
            .block(block)
            .words(&[1; 64])
            .words(&[0; 64])
            .seed(seed)
            .result(0);
    }
}

/// `%d1`: word `%t` of the first buffer; `%r1`: word `%t` of shared memory.
const AT: &str = "mul.wide.u32 %d1, %t, 4; add.s64 %d1, %p0, %d1; shl.b32 %r1, %t, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2;";

#[test]
fn accesses_outside_of_buffers() {
    assert!(matches!(
        fault("ld.global.u32 %r1, [%p0+256];", 1),
        FaultKind::OutOfBounds {
            write: false,
            space: "global",
            ..
        }
    ));
    assert!(matches!(
        fault("st.global.u32 [%p0+-4], %t;", 1),
        FaultKind::OutOfBounds { write: true, .. }
    ));
    assert!(matches!(
        fault("ld.global.v2.u32 {%r1, %r2}, [%p0+256];", 1),
        FaultKind::OutOfBounds { .. }
    ));
    assert!(matches!(
        fault("st.shared.u32 [s+1024], %t;", 1),
        FaultKind::OutOfBounds {
            space: "shared",
            ..
        }
    ));
    assert!(matches!(
        fault("mov.u64 %d1, 0; ld.global.u32 %r1, [%d1];", 1),
        FaultKind::OutOfBounds { .. }
    ));
    assert!(matches!(
        fault("red.global.add.u32 [%p0+256], 1;", 1),
        FaultKind::OutOfBounds { .. }
    ));
    assert!(matches!(
        fault(
            "cp.async.ca.shared.global [s], [%p0+256], 4; cp.async.wait_all;",
            1
        ),
        FaultKind::OutOfBounds { .. }
    ));
    passes("ld.global.v2.u32 {%r1, %r2}, [%p0+248];", 1);
}

#[test]
fn misaligned_accesses() {
    assert!(matches!(
        fault("ld.global.u32 %r1, [%p0+2];", 1),
        FaultKind::Misaligned { align: 4, .. }
    ));
    assert!(matches!(
        fault("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%p0+8];", 1),
        FaultKind::Misaligned { align: 16, .. }
    ));
    assert!(matches!(
        fault("st.shared.u64 [s+4], %d1;", 1),
        FaultKind::Undefined(_) | FaultKind::Misaligned { .. }
    ));
    assert!(matches!(
        fault(
            "cp.async.cg.shared.global [s+8], [%p0], 16; cp.async.wait_all;",
            1
        ),
        FaultKind::Misaligned { .. }
    ));
}

#[test]
fn undefined_values_that_decide_something() {
    assert!(
        matches!(fault("add.u32 %r2, %r1, 1; st.global.u32 [%p0], %r2;", 1), FaultKind::Undefined(r) if r == "%r2")
    );
    assert!(matches!(fault("@%q1 bra L; L:", 1), FaultKind::Undefined(r) if r == "%q1"));
    assert!(matches!(fault("ld.global.u32 %r1, [%d1];", 1), FaultKind::Undefined(r) if r == "%d1"));
    // Moving an undefined value around decides nothing.
    passes("mov.b32 %r2, %r1; add.u32 %r3, %r2, 1;", 1);
}

/// A register may be defined in some bytes: compilers pack a value with nothing.
#[test]
fn bytes_of_registers_are_defined_by_themselves() {
    let pack = "mov.u16 %h1, 7; mov.b32 %r1, {%h1, %h2};";
    for part in [
        "mov.b32 {%h3, _}, %r1;",
        "and.b32 %r2, %r1, 0x00ff00ff; mov.b32 {%h3, %h4}, %r2;",
        "and.b32 %r2, %r1, 0xffff; cvt.u16.u32 %h3, %r2;",
        "shl.b32 %r2, %r1, 16; shr.u32 %r2, %r2, 16; cvt.u16.u32 %h3, %r2;",
        "prmt.b32 %r2, %r1, 0, 0x4410; cvt.u16.u32 %h3, %r2;",
        "mov.b32 %r2, {%h2, %h1}; add.u16x2 %r2, %r2, %r2; shr.u32 %r2, %r2, 16; cvt.u16.u32 %h3, %r2;",
        "mov.b64 %d1, {%r1, %r1}; mov.b64 {%r2, %r3}, %d1; mov.u32 %r2, 1; mov.b16 %h3, 1;",
        "prmt.b32 %r2, %r1, %r9, 0x3240; prmt.b32 %r3, %r2, %r1, 0x7704; cvt.u16.u32 %h3, %r3; cvt.u32.u8 %r4, %h3; cvt.u16.u32 %h3, %r4;",
        "shl.b32 %r2, %r1, 24; shr.u32 %r2, %r2, 24; cvt.u16.u32 %h3, %r2;",
        "mov.b32 %r2, {%h2, %h1}; fma.rn.f16x2 %r2, %r2, %r2, %r2; mov.b32 {_, %h3}, %r2;",
        "shfl.sync.idx.b32 %r2, %r1, 0, 31, 1; mov.b32 {%h3, _}, %r2;",
        "st.global.u16 [%p0+8], %r1; mov.u16 %h3, 1;",
        "setp.eq.u32 %q1, %t, %t; mov.u32 %r3, 5; selp.b32 %r2, %r3, %r9, %q1; cvt.u16.u32 %h3, %r2;",
    ] {
        let text = format!("{pack} {part} st.global.u16 [%p0], %h3;");
        let text = kernel("sm_90", "8.0", 1, "", &text);
        if let Err(e) = Run::new(&text).block(1).bytes(&[0; 64]).go() {
            panic!("{part}: {e}");
        }
    }
    for whole in [
        "st.global.b32 [%p0], %r1;",
        "mov.b32 {_, %h3}, %r1; st.global.u16 [%p0], %h3;",
        "and.b32 %r2, %r1, 0x1ffff; st.global.b32 [%p0], %r2;",
        "shr.u32 %r2, %r1, 16; st.global.b32 [%p0], %r2;",
        "prmt.b32 %r2, %r1, %r9, 0x1041; prmt.b32 %r3, %r2, 0, 0x4441; st.global.b32 [%p0], %r3;",
        "mov.b32 %r2, {%h2, %h1}; fma.rn.f16x2 %r2, %r2, %r2, %r2; mov.b32 {%h3, _}, %r2; st.global.u16 [%p0], %h3;",
        "shfl.sync.idx.b32 %r2, %r1, 0, 31, 1; mov.b32 {_, %h3}, %r2; st.global.u16 [%p0], %h3;",
        "cvt.s32.s16 %r2, %h2; st.global.b32 [%p0], %r2;",
        "cvt.u32.u16 %r2, %h2; st.global.b32 [%p0], %r2;",
        "shr.u32 %r2, %r1, 15; cvt.u16.u32 %h3, %r2; st.global.u16 [%p0], %h3;",
        "prmt.b32 %r2, %r1, 0, 0x4421; cvt.u16.u32 %h3, %r2; st.global.u16 [%p0], %h3;",
        "setp.ne.u32 %q1, %t, %t; mov.u32 %r3, 5; selp.b32 %r2, %r3, %r9, %q1; st.global.b32 [%p0], %r2;",
    ] {
        let text = format!("{pack} {whole}");
        assert!(
            matches!(fault(&text, 1), FaultKind::Undefined(_)),
            "{whole}"
        );
    }
}

#[test]
fn uninitialised_shared_memory() {
    assert!(matches!(
        fault("ld.shared.u32 %r1, [s];", 1),
        FaultKind::Uninitialised { addr: 1024 }
    ));
    assert!(matches!(
        fault("st.shared.u16 [s], %h1; ld.shared.u32 %r1, [s];", 1),
        FaultKind::Undefined(_)
    ));
    assert!(matches!(
        fault(
            "mov.u16 %h1, 1; st.shared.u16 [s], %h1; ld.shared.u32 %r1, [s];",
            1
        ),
        FaultKind::Uninitialised { addr: 1026 }
    ));
    passes(
        "mov.u16 %h1, 1; st.shared.u16 [s], %h1; st.shared.u16 [s+2], %h1; ld.shared.u32 %r1, [s];",
        1,
    );
}

#[test]
fn races_in_shared_memory() {
    let swap = |between: &str| {
        format!(
            "{AT} st.shared.u32 [%r1], %t; {between} xor.b32 %r3, %r1, 128; ld.shared.u32 %r4, [%r3];"
        )
    };
    assert!(matches!(
        fault(&swap(""), 64),
        FaultKind::Race { .. } | FaultKind::Uninitialised { .. }
    ));
    assert!(matches!(
        fault(&swap("bar.warp.sync -1;"), 64),
        FaultKind::Race { .. } | FaultKind::Uninitialised { .. }
    ));
    passes(&swap("bar.sync 0;"), 64);
    passes(&swap("membar.cta; bar.sync 0;"), 64);
    // Write after read.
    let war = |between: &str| {
        format!(
            "{AT} st.shared.u32 [%r1], %t; bar.sync 0; xor.b32 %r3, %r1, 128; ld.shared.u32 %r4, [%r3]; {between} st.shared.u32 [%r1], %r4;"
        )
    };
    assert!(matches!(fault(&war(""), 64), FaultKind::Race { .. }));
    passes(&war("bar.sync 0;"), 64);
}

#[test]
fn races_inside_a_warp_need_a_sync_instruction() {
    let swap = |between: &str| {
        format!(
            "{AT} st.shared.u32 [%r1], %t; {between} xor.b32 %r3, %r1, 4; ld.shared.u32 %r4, [%r3];"
        )
    };
    assert!(matches!(fault(&swap(""), 32), FaultKind::Race { .. }));
    passes(&swap("bar.warp.sync -1;"), 32);
    passes(&swap("shfl.sync.bfly.b32 %r5, %t, 1, 31, -1;"), 32);
}

#[test]
fn lanes_of_one_store_may_write_the_same_value_only() {
    passes("st.shared.u32 [s], 5;", 32);
    passes("mov.u32 %r1, 5; st.global.u32 [%p0], %r1;", 32);
    assert!(matches!(
        fault("st.shared.u32 [s], %t;", 32),
        FaultKind::Race { .. }
    ));
    assert!(matches!(
        fault("st.global.u32 [%p0], %t;", 32),
        FaultKind::Race {
            space: "global",
            ..
        }
    ));
    // Two instructions are two accesses, even with the same value.
    assert!(matches!(
        fault(
            "setp.eq.u32 %q1, %t, 0; @%q1 st.shared.u32 [s], 5; @!%q1 st.shared.u32 [s], 5;",
            32
        ),
        FaultKind::Race { .. }
    ));
}

#[test]
fn races_between_blocks() {
    let text = k("mov.u32 %r1, %ctaid.x; st.global.u32 [%p0], %r1;");
    for seed in 0..8 {
        let f = Run::new(&text)
            .grid(2)
            .block(1)
            .words(&[0; 64])
            .words(&[0; 64])
            .seed(seed)
            .fault();
        assert!(
            matches!(
                f,
                FaultKind::Race {
                    space: "global",
                    ..
                }
            ),
            "{f}"
        );
    }
    let text = k("atom.global.add.u32 %r1, [%p0], 1; red.global.add.u32 [%p0], 1;");
    for seed in 0..8 {
        let got = Run::new(&text)
            .grid(3)
            .block(32)
            .words(&[0; 64])
            .words(&[0; 64])
            .seed(seed)
            .result(0);
        assert_eq!(got[0], 192);
    }
    // An atomic against a plain read of another block.
    let text = k(
        "mov.u32 %r1, %ctaid.x; setp.eq.u32 %q1, %r1, 0; @%q1 red.global.add.u32 [%p0], 1; @!%q1 ld.global.u32 %r2, [%p0];",
    );
    for seed in 0..8 {
        let f = Run::new(&text)
            .grid(2)
            .block(1)
            .words(&[0; 64])
            .words(&[0; 64])
            .seed(seed)
            .fault();
        assert!(matches!(f, FaultKind::Race { .. }), "{f}");
    }
}

#[test]
fn a_fence_makes_a_flag_publish() {
    let body = |fence: &str| {
        format!(
            "mov.u32 %r0, %ctaid.x; setp.ne.u32 %q1, %r0, 0; @%q1 bra W;
             mov.u32 %r1, 9; st.global.u32 [%p0], %r1; {fence} mov.u32 %r2, 1; st.relaxed.gpu.global.u32 [%p1], %r2; ret;
             W: ld.relaxed.gpu.global.u32 %r3, [%p1]; setp.eq.u32 %q2, %r3, 0; @%q2 bra W; {fence} ld.global.u32 %r4, [%p0];"
        )
    };
    for seed in 0..8 {
        let good = k(&body("fence.acq_rel.gpu;"));
        Run::new(&good)
            .grid(2)
            .block(1)
            .words(&[0; 64])
            .words(&[0; 64])
            .seed(seed)
            .result(0);
        let bad = k(&body(""));
        let f = Run::new(&bad)
            .grid(2)
            .block(1)
            .words(&[0; 64])
            .words(&[0; 64])
            .seed(seed)
            .fault();
        assert!(matches!(f, FaultKind::Race { .. }), "{f}");
        // A fence of block scope publishes to the block only.
        let narrow = k(&body("fence.acq_rel.cta;"));
        let f = Run::new(&narrow)
            .grid(2)
            .block(1)
            .words(&[0; 64])
            .words(&[0; 64])
            .seed(seed)
            .fault();
        assert!(matches!(f, FaultKind::Race { .. }), "{f}");
        // Nor does one of two fences suffice, or a flag of block scope.
        for text in [
            good.replacen("fence.acq_rel.gpu;", "fence.acq_rel.cta;", 1),
            good.replacen("ld.relaxed.gpu", "ld.relaxed.cta", 1),
            good.replacen("st.relaxed.gpu", "st.relaxed.cta", 1),
        ] {
            let f = Run::new(&text)
                .grid(2)
                .block(1)
                .words(&[0; 64])
                .words(&[0; 64])
                .seed(seed)
                .fault();
            assert!(matches!(f, FaultKind::Race { .. }), "{f}\n{text}");
        }
    }
    // Within a block, block scope is enough.
    let inside = k("setp.ge.u32 %q1, %t, 32; @%q1 bra W; setp.ne.u32 %q3, %t, 0; @%q3 ret;
         mov.u32 %r1, 9; st.global.u32 [%p0], %r1; fence.acq_rel.cta; mov.u32 %r2, 1; st.relaxed.cta.global.u32 [%p1], %r2; ret;
         W: ld.relaxed.cta.global.u32 %r3, [%p1]; setp.eq.u32 %q2, %r3, 0; @%q2 bra W; fence.acq_rel.cta; ld.global.u32 %r4, [%p0];");
    for seed in 0..8 {
        Run::new(&inside)
            .block(64)
            .words(&[0; 64])
            .words(&[0; 64])
            .seed(seed)
            .result(0);
    }
}

#[test]
fn copies_must_be_waited_for() {
    let copy = |wait: &str, sync: &str| {
        format!(
            "{AT} cp.async.ca.shared.global [%r1], [%d1], 4; cp.async.commit_group; {wait} {sync} xor.b32 %r3, %r1, 4; ld.shared.u32 %r4, [%r3];"
        )
    };
    passes(&copy("cp.async.wait_group 0;", "bar.sync 0;"), 64);
    passes(&copy("cp.async.wait_all;", "bar.sync 0;"), 64);
    assert!(matches!(
        fault(&copy("", "bar.sync 0;"), 64),
        FaultKind::Race { .. }
    ));
    assert!(matches!(
        fault(&copy("cp.async.wait_group 1;", "bar.sync 0;"), 64),
        FaultKind::Race { .. }
    ));
    assert!(matches!(
        fault(&copy("cp.async.wait_group 0;", ""), 64),
        FaultKind::Race { .. }
    ));
    // Reading one's own copy needs the wait only.
    passes(
        &format!(
            "{AT} cp.async.ca.shared.global [%r1], [%d1], 4; cp.async.wait_all; ld.shared.u32 %r4, [%r1];"
        ),
        64,
    );
    assert!(matches!(
        fault(
            &format!("{AT} cp.async.ca.shared.global [%r1], [%d1], 4; ld.shared.u32 %r4, [%r1];"),
            64
        ),
        FaultKind::Race { .. }
    ));
    // A copy may not overwrite what others still read.
    let again = |sync: &str| {
        format!(
            "{AT} st.shared.u32 [%r1], %t; bar.sync 0; xor.b32 %r3, %r1, 128; ld.shared.u32 %r4, [%r3]; {sync} cp.async.ca.shared.global [%r1], [%d1], 4; cp.async.wait_all;"
        )
    };
    passes(&again("bar.sync 0;"), 64);
    assert!(matches!(fault(&again(""), 64), FaultKind::Race { .. }));
}

#[test]
fn a_copy_of_nothing_may_point_anywhere_but_writes_zeros() {
    let text = k(&format!(
        "{AT} cp.async.ca.shared.global [%r1], [%p1+100000], 4, 0; cp.async.wait_all; ld.shared.u32 %r4, [%r1]; st.global.u32 [%d1], %r4;"
    ));
    let got = Run::new(&text).words(&[1; 64]).words(&[0; 64]).result(0);
    assert_eq!(got[..32], [0; 32]);
}

#[test]
fn member_masks_and_barriers_used_wrongly() {
    assert!(matches!(
        fault("shfl.sync.idx.b32 %r1, %t, 0, 31, 1;", 32),
        FaultKind::MemberMask(1)
    ));
    assert!(matches!(
        fault("mov.u32 %r1, 40; bar.sync 1, %r1;", 64),
        FaultKind::Barrier(_)
    ));
    assert!(matches!(
        fault("mov.u32 %r1, 16; bar.sync %r1;", 32),
        FaultKind::Barrier(_)
    ));
    assert!(matches!(
        fault(
            "setp.lt.u32 %q1, %t, 32; @%q1 bra A; bar.sync 1, 96; bra B; A: bar.sync 1, 64; B:",
            96
        ),
        FaultKind::Barrier(_) | FaultKind::Deadlock(_)
    ));
    assert!(matches!(
        fault("mbarrier.arrive.shared.b64 %d1, [s];", 1),
        FaultKind::Operand(_)
    ));
    assert!(matches!(fault("trap;", 1), FaultKind::Trap(_)));
}

#[test]
fn endless_loops_run_into_the_budget() {
    let text = k("mov.u32 %r1, 0; L: add.u32 %r1, %r1, 1; bra L;");
    let mut r = Run::new(&text).words(&[0]).words(&[0]);
    r.options.budget = 100_000;
    assert!(matches!(r.fault(), FaultKind::Budget(100_000)));
}

#[test]
fn a_launch_that_contradicts_the_module() {
    let text = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n.reqntid 64\n{ ret; }\n.visible .entry m()\n.maxntid 64\n{ ret; }";
    let mut mem = Memory::new();
    let p = Program::load(attnc_ptx::parse(text).expect("parses"), &mut mem);
    let launch = |entry: &str, block: u32, params: &[u8]| {
        p.launch(
            &mem,
            &Launch {
                entry,
                grid: [1; 3],
                block: [block, 1, 1],
                dynamic_shared: 0,
                params,
            },
            &Options::default(),
        )
    };
    assert!(launch("k", 64, &[0; 8]).is_ok());
    assert!(matches!(
        launch("k", 32, &[0; 8]),
        Err(LaunchError::Contradiction(_))
    ));
    assert!(matches!(
        launch("k", 64, &[0; 4]),
        Err(LaunchError::Contradiction(_))
    ));
    assert!(matches!(launch("x", 64, &[]), Err(LaunchError::NoEntry(_))));
    assert!(launch("m", 32, &[]).is_ok());
    assert!(matches!(
        launch("m", 65, &[]),
        Err(LaunchError::Contradiction(_))
    ));
}

#[test]
fn recursion_is_refused_with_its_line() {
    let text = ".version 7.0\n.target sm_80\n.address_size 64\n.func f() {\n call.uni f;\n ret; }\n.visible .entry k() { call.uni f; ret; }";
    let mut r = Run::new(text);
    r.assembles = false;
    match r.go() {
        Err(LaunchError::Fault(f)) => {
            assert_eq!(f.pos.line, 5);
            assert!(matches!(f.kind, FaultKind::Unsupported(_)));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn clusters_of_several_blocks_are_refused() {
    let text = |n: u32| {
        format!(
            ".version 7.8\n.target sm_90\n.address_size 64\n.visible .entry k()\n.explicitcluster\n.reqnctapercluster {n}\n{{ ret; }}"
        )
    };
    assert!(Run::new(&text(1)).go().is_ok());
    assert!(matches!(
        Run::new(&text(2)).fault(),
        FaultKind::Unsupported(_)
    ));
}
