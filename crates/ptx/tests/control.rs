// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Divergence, reconvergence, calls, barriers: results that the order must not change,
//! and what must be reported instead of hanging.

mod common;
use attnc_ptx::emu::FaultKind;
use common::{Run, kernel};

fn k(pointers: usize, body: &str) -> String {
    kernel("sm_80", "7.8", pointers, "", body)
}

/// Stores `%r9` at word `%t` of the first buffer.
const OUT: &str =
    "  mul.wide.u32 %d9, %t, 4;\n  add.s64 %d9, %p0, %d9;\n  st.global.u32 [%d9], %r9;\n";

#[test]
fn nested_divergence_gives_each_lane_its_own_path() {
    let text = k(
        1,
        &format!(
            "mov.u32 %r9, 0; and.b32 %r1, %t, 1; setp.eq.u32 %q1, %r1, 0; and.b32 %r2, %t, 2; setp.eq.u32 %q2, %r2, 0;
             @%q1 bra EVEN; add.u32 %r9, %r9, 100; @%q2 bra ODD_LOW; add.u32 %r9, %r9, 20; bra JOIN;
             ODD_LOW: add.u32 %r9, %r9, 10; bra JOIN;
             EVEN: add.u32 %r9, %r9, 200; @!%q2 bra JOIN; add.u32 %r9, %r9, 3;
             JOIN: add.u32 %r9, %r9, %t;\n{OUT}"
        ),
    );
    for seed in 0..8 {
        let got = Run::new(&text).words(&[0; 32]).seed(seed).result(0);
        for (t, v) in got.iter().enumerate() {
            let want = match t % 4 {
                0 => 203,
                1 => 110,
                2 => 200,
                _ => 120,
            };
            assert_eq!(*v, want + t as u32);
        }
    }
}

#[test]
fn reconverged_lanes_take_part_in_one_vote() {
    let text = k(
        1,
        &format!(
            "setp.lt.u32 %q1, %t, 7; @%q1 bra A; mov.u32 %r1, 1; bra B; A: mov.u32 %r1, 2; B: activemask.b32 %r9;\n{OUT}"
        ),
    );
    assert_eq!(Run::new(&text).words(&[0; 32]).result(0), [u32::MAX; 32]);
}

#[test]
fn loops_with_different_trip_counts_end_with_their_own_sums() {
    let text = k(
        1,
        &format!(
            "mov.u32 %r9, 0; mov.u32 %r1, 0;
             L: setp.ge.u32 %q1, %r1, %t; @%q1 bra D; add.u32 %r1, %r1, 1; add.u32 %r9, %r9, %r1; bra L;
             D:\n{OUT}"
        ),
    );
    let got = Run::new(&text).words(&[0; 96]).block(96).result(0);
    for (t, v) in got.iter().enumerate() {
        assert_eq!(*v as usize, t * (t + 1) / 2);
    }
}

#[test]
fn early_exit_does_not_hold_up_barriers_and_shuffles() {
    let text = k(
        1,
        &format!(
            "setp.ge.u32 %q1, %t, 40; @%q1 exit; bar.sync 0; and.b32 %r1, %t, 31; setp.ge.u32 %q2, %t, 32;
             mov.u32 %r2, 0xff; @!%q2 mov.u32 %r2, -1;
             shfl.sync.idx.b32 %r9, %t, 0, 31, %r2;\n{OUT}"
        ),
    );
    let got = Run::new(&text).words(&[7; 64]).block(64).result(0);
    assert_eq!(got[..32], [0; 32]);
    assert_eq!(got[32..40], [32; 8]);
    assert_eq!(got[40..], [7; 24]);
}

#[test]
fn a_spin_on_another_lane_ends() {
    // Lane 0 stands first in the text and waits for lane 1.
    let text = k(
        2,
        &format!(
            "mov.u32 %r9, 5; setp.ne.u32 %q1, %t, 0; @%q1 bra OTHER;
             SPIN: ld.acquire.gpu.global.u32 %r1, [%p1]; setp.eq.u32 %q2, %r1, 0; @%q2 bra SPIN; mov.u32 %r9, %r1; bra E;
             OTHER: setp.ne.u32 %q3, %t, 1; @%q3 bra E; mov.u32 %r2, 77; st.release.gpu.global.u32 [%p1], %r2;
             E:\n{OUT}"
        ),
    );
    for seed in 0..4 {
        let got = Run::new(&text)
            .words(&[0; 32])
            .words(&[0])
            .seed(seed)
            .result(0);
        assert_eq!((got[0], got[1], got[5]), (77, 5, 5));
    }
}

#[test]
fn a_spin_on_another_block_ends_and_publishes_its_data() {
    // Block 1 waits for block 0's flag and then reads plain data: no race, whatever the order.
    let text = k(
        2,
        "mov.u32 %r0, %ctaid.x; setp.ne.u32 %q1, %r0, 0; @%q1 bra WAIT;
         mov.u32 %r1, 42; st.global.u32 [%p0], %r1; mov.u32 %r2, 1; st.release.gpu.global.u32 [%p1], %r2; ret;
         WAIT: ld.acquire.gpu.global.u32 %r3, [%p1]; setp.eq.u32 %q2, %r3, 0; @%q2 bra WAIT;
         ld.global.u32 %r4, [%p0]; add.u32 %r4, %r4, 1; st.global.u32 [%p0+4], %r4;",
    );
    for seed in 0..8 {
        let got = Run::new(&text)
            .words(&[0; 2])
            .words(&[0])
            .grid(2)
            .block(1)
            .seed(seed)
            .result(0);
        assert_eq!(got, [42, 43]);
    }
}

#[test]
fn calls_pass_params_and_return_to_their_own_callers() {
    let decls = ".func (.param .b32 o) twice(.param .b32 i) { .reg .b32 %a<3>; ld.param.b32 %a1, [i]; add.u32 %a2, %a1, %a1; st.param.b32 [o], %a2; ret; }\n\
                 .func (.reg .b32 %o) inc(.reg .b32 %i) { add.u32 %o, %i, 1; ret; }\n";
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        decls,
        &format!(
            "setp.lt.u32 %q1, %t, 8; @%q1 bra A;
             {{ .param .b32 x; .param .b32 y; st.param.b32 [x], %t; call.uni (y), twice, (x); ld.param.b32 %r9, [y]; }} bra B;
             A: call (%r9), inc, (%t);
             B:\n{OUT}"
        ),
    );
    let got = Run::new(&text).words(&[0; 32]).result(0);
    for (t, v) in got.iter().enumerate() {
        assert_eq!(*v as usize, if t < 8 { t + 1 } else { 2 * t });
    }
}

#[test]
fn calls_through_registers_reach_each_lanes_function() {
    let decls = ".func (.param .b32 o) f1(.param .b32 i) { .reg .b32 %a<3>; ld.param.b32 %a1, [i]; add.u32 %a2, %a1, 1; st.param.b32 [o], %a2; ret; }\n\
                 .func (.param .b32 o) f2(.param .b32 i) { .reg .b32 %a<3>; ld.param.b32 %a1, [i]; add.u32 %a2, %a1, 100; st.param.b32 [o], %a2; ret; }\n";
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        decls,
        &format!(
            "mov.u64 %d1, f1; mov.u64 %d2, f2; and.b32 %r1, %t, 1; setp.eq.u32 %q1, %r1, 0; selp.b64 %d3, %d1, %d2, %q1;
             {{ .param .b32 x; .param .b32 y; st.param.b32 [x], %t; P: .callprototype (.param .b32 _) _ (.param .b32 _);
             call (y), %d3, (x), P; ld.param.b32 %r9, [y]; }}\n{OUT}"
        ),
    );
    let got = Run::new(&text).words(&[0; 32]).result(0);
    for (t, v) in got.iter().enumerate() {
        assert_eq!(*v as usize, if t % 2 == 0 { t + 1 } else { t + 100 });
    }
}

#[test]
fn tables_of_functions_hold_their_addresses() {
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        ".func (.param .b32 o) f (.param .b32 i) { .reg .b32 a; ld.param.b32 a, [i]; add.u32 a, a, 1; st.param.b32 [o], a; ret; }
         .func (.param .b32 o) g (.param .b32 i) { .reg .b32 a; ld.param.b32 a, [i]; mul.lo.u32 a, a, 3; st.param.b32 [o], a; ret; }
         .global .align 8 .u64 table[2] = {g, f};",
        &format!(
            "and.b32 %r1, %t, 1; mul.wide.u32 %d1, %r1, 8; mov.u64 %d2, table; add.s64 %d1, %d1, %d2; ld.global.u64 %d1, [%d1];
             {{ .param .b32 x; .param .b32 y; st.param.b32 [x], %t; P: .callprototype (.param .b32 _) _ (.param .b32 _);
             call (y), %d1, (x), P; ld.param.b32 %r9, [y]; }}\n{OUT}"
        ),
    );
    let got = Run::new(&text).words(&[0; 32]).result(0);
    let want: Vec<u32> = (0..32)
        .map(|t| if t % 2 == 0 { 3 * t } else { t + 1 })
        .collect();
    assert_eq!(got, want);
}

#[test]
fn indexed_branches_and_scopes() {
    let text = k(
        1,
        &format!(
            "and.b32 %r1, %t, 3; T: .branchtargets L0, L1, L2, L3; brx.idx %r1, T;
             L0: mov.u32 %r9, 10; bra.uni E; L1: mov.u32 %r9, 11; bra.uni E; L2: mov.u32 %r9, 12; bra.uni E; L3: mov.u32 %r9, 13;
             E: {{ .reg .b32 %r9x; .reg .pred %q1; mov.u32 %r9x, 1; L0: setp.eq.u32 %q1, %r9x, 2; add.u32 %r9x, %r9x, 1; @!%q1 bra L0; add.u32 %r9, %r9, %r9x; }}\n{OUT}"
        ),
    );
    let got = Run::new(&text).words(&[0; 32]).result(0);
    for (t, v) in got.iter().enumerate() {
        assert_eq!(*v as usize, 10 + t % 4 + 3);
    }
}

#[test]
fn named_barriers_order_producers_and_consumers() {
    // Warp 0 produces and arrives; warp 1 waits. 64 threads take part in barrier 1.
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        ".shared .align 4 .b8 s[128];",
        &format!(
            "and.b32 %r1, %t, 31; shl.b32 %r2, %r1, 2; mov.u32 %r3, s; add.u32 %r3, %r3, %r2; setp.ge.u32 %q1, %t, 32; mov.u32 %r9, 0; @%q1 bra C;
             add.u32 %r4, %t, 1000; st.shared.u32 [%r3], %r4; bar.arrive 1, 64; bra E;
             C: bar.sync 1, 64; ld.shared.u32 %r9, [%r3];
             E:\n{OUT}"
        ),
    );
    for seed in 0..8 {
        let got = Run::new(&text)
            .words(&[0; 64])
            .block(64)
            .seed(seed)
            .result(0);
        for t in 32..64 {
            assert_eq!(got[t], 1000 + t as u32 - 32);
        }
    }
}

#[test]
fn barrier_reductions_see_all_threads() {
    let text = k(
        1,
        &format!(
            "setp.lt.u32 %q1, %t, 40; bar.red.popc.u32 %r1, 0, %q1; bar.red.and.pred %q2, 0, %q1; bar.red.or.pred %q3, 0, %q1;
             selp.u32 %r2, 1000, 0, %q2; selp.u32 %r3, 500, 0, %q3; add.u32 %r9, %r1, %r2; add.u32 %r9, %r9, %r3;\n{OUT}"
        ),
    );
    assert_eq!(
        Run::new(&text).words(&[0; 64]).block(64).result(0),
        [540; 64]
    );
}

#[test]
fn deadlocks_are_reported() {
    let waits = [
        // One warp waits at a barrier of 64 threads that the other never reaches.
        (
            "setp.ge.u32 %q1, %t, 32; @%q1 bra L; bar.sync 1, 64; L: bar.sync 2, 64;",
            64,
        ),
        // A loop that waits for a flag nobody sets.
        (
            "L: ld.volatile.global.u32 %r1, [%p0]; setp.eq.u32 %q1, %r1, 0; @%q1 bra L;",
            32,
        ),
        // A vote that names a lane which waits elsewhere.
        (
            "setp.eq.u32 %q1, %t, 3; @%q1 bra A; vote.sync.any.pred %q2, %q1, -1; bra B; A: bar.warp.sync -1; bar.warp.sync -1; B:",
            32,
        ),
    ];
    for (body, block) in waits {
        let text = k(1, body);
        for seed in 0..4 {
            let mut r = Run::new(&text).words(&[0]).block(block).seed(seed);
            let f = r.fault();
            assert!(matches!(f, FaultKind::Deadlock(_)), "{body}: {f}");
        }
    }
}

#[test]
fn aligned_barriers_in_diverged_code_are_faults() {
    let text = k(
        1,
        "setp.lt.u32 %q1, %t, 16; @%q1 bra A; bar.sync 0; bra B; A: bar.sync 0; B:",
    );
    let f = Run::new(&text).words(&[0]).fault();
    assert!(matches!(f, FaultKind::Divergent { .. }), "{f}");
    // The same through a guard.
    let text = k(
        1,
        "setp.lt.u32 %q1, %t, 16; @%q1 bar.sync 0; L: ld.volatile.global.u32 %r1, [%p0]; setp.eq.u32 %q2, %r1, 0; @%q2 bra L;",
    );
    let f = Run::new(&text).words(&[0]).fault();
    assert!(
        matches!(f, FaultKind::Divergent { .. } | FaultKind::Deadlock(_)),
        "{f}"
    );
}

#[test]
fn locks_between_blocks_neither_hang_nor_race() {
    let text = k(
        2,
        "setp.ne.u32 %q1, %t, 0; @%q1 ret;
         L: atom.global.acquire.gpu.cas.b32 %r1, [%p1], 0, 1; setp.ne.u32 %q2, %r1, 0; @%q2 bra L;
         ld.global.u32 %r2, [%p0]; add.u32 %r2, %r2, 1; st.global.u32 [%p0], %r2;
         atom.global.release.gpu.exch.b32 %r1, [%p1], 0;",
    );
    for seed in 0..8 {
        let got = Run::new(&text)
            .words(&[0])
            .words(&[0])
            .grid(10)
            .seed(seed)
            .result(0);
        assert_eq!(got, [10]);
    }
}

#[test]
fn blocks_on_several_host_threads_give_the_same_result() {
    // 400 blocks of 128 threads: large enough to be spread over host threads.
    let text = k(
        1,
        "mov.u32 %r1, %ctaid.x; mad.lo.u32 %r2, %r1, 128, %t; mov.u32 %r3, 0; mov.u32 %r4, %r2;
         L: mad.lo.u32 %r4, %r4, 1664525, 1013904223; add.u32 %r3, %r3, 1; setp.lt.u32 %q1, %r3, 5; @%q1 bra L;
         mul.wide.u32 %d1, %r2, 4; add.s64 %d1, %p0, %d1; st.global.u32 [%d1], %r4;",
    );
    let padded = text.replace(
        "L: mad",
        &format!("{} L: mad", "add.u32 %r9, %r4, 1; ".repeat(100)),
    );
    let run = |threads: usize| {
        let mut r = Run::new(&padded)
            .grid(400)
            .block(128)
            .words(&vec![0; 400 * 128]);
        r.options.threads = threads;
        let c = r.go().expect("runs");
        (r.buffers[0].clone(), c.thread_instructions)
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}
