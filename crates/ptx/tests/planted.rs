// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Counters on kernels whose numbers follow from the definitions, and orders that show.

mod common;
use common::{Run, kernel};
use std::collections::BTreeSet;

const SMEM: &str = ".shared .align 16 .b8 s[8192];";

#[test]
fn a_stride_of_128_bytes_takes_32_wavefronts_where_1_is_ideal() {
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        SMEM,
        "shl.b32 %r1, %t, 7; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %t;",
    );
    let c = Run::new(&text).words(&[0]).go().expect("runs");
    assert_eq!((c.shared_wavefronts, c.shared_wavefronts_ideal), (32, 1));
}

#[test]
fn wavefronts_of_conflict_free_broadcast_and_wide_accesses() {
    let cases = [
        (
            "shl.b32 %r1, %t, 2; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %t;",
            (1, 1),
        ),
        ("st.shared.u32 [s], 7;", (1, 1)),
        (
            "shl.b32 %r1, %t, 3; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %t;",
            (2, 1),
        ),
        (
            "shl.b32 %r1, %t, 4; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.v4.u32 [%r1], {%t, %t, %t, %t};",
            (4, 4),
        ),
        (
            "shl.b32 %r1, %t, 3; mov.u32 %r2, s; add.u32 %r1, %r1, %r2; st.shared.v2.u32 [%r1], {%t, %t};",
            (2, 2),
        ),
    ];
    for (body, want) in cases {
        let text = kernel("sm_80", "7.8", 1, SMEM, body);
        let c = Run::new(&text).words(&[0]).go().expect("runs");
        assert_eq!(
            (c.shared_wavefronts, c.shared_wavefronts_ideal),
            want,
            "{body}"
        );
    }
}

#[test]
fn a_stride_of_two_words_doubles_the_sectors() {
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        "",
        "mul.wide.u32 %d1, %t, 8; add.s64 %d1, %p0, %d1; ld.global.u32 %r1, [%d1];",
    );
    let c = Run::new(&text).words(&[0; 64]).go().expect("runs");
    assert_eq!((c.global_sectors, c.global_sectors_ideal), (8, 4));
    assert_eq!((c.global_bytes_read, c.global_bytes_written), (128, 0));
}

#[test]
fn instructions_bytes_barriers_and_branches_are_counted() {
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        SMEM,
        "setp.lt.u32 %q1, %t, 3; @%q1 bra A; add.u32 %r1, %t, 1; A: bar.sync 0; st.shared.u32 [s], 1; bar.sync 0; ld.shared.u32 %r3, [s];",
    );
    // Two warps store the same value: a race, but not the point here.
    let c = Run::new(&text)
        .block(64)
        .races(false)
        .words(&[0])
        .go()
        .expect("runs");
    assert_eq!(c.barriers, 4);
    assert_eq!(c.divergent_branches, 1);
    assert_eq!((c.shared_bytes_written, c.shared_bytes_read), (256, 256));
    let class = |n: &str| c.classes().find(|(k, _)| *k == n).expect("a class").1;
    assert_eq!(class("integer"), 61);
    assert_eq!(class("compare"), 64);
    assert_eq!(class("barrier"), 128);
    assert_eq!(class("load_shared"), 64);
    // ld.param, mov, setp, bra (3 lanes), add (61), bar, st, bar, ld, ret.
    assert_eq!(c.thread_instructions, 64 * 8 + 3 + 61);
}

#[test]
fn an_order_dependent_kernel_shows_two_results() {
    // The last of two warps wins; atomics, so that it is no race.
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        "",
        "shr.u32 %r1, %t, 5; atom.global.exch.b32 %r2, [%p0], %r1;",
    );
    let seen: BTreeSet<u32> = (0..8)
        .map(|s| Run::new(&text).block(64).words(&[9]).seed(s).result(0)[0])
        .collect();
    assert_eq!(seen, BTreeSet::from([0, 1]));
    // And with stores of two blocks, without the race check; each seed gives one result.
    for store in ["st.volatile.global.u32", "st.global.u32"] {
        let text = kernel(
            "sm_80",
            "7.8",
            1,
            "",
            &format!("mov.u32 %r1, %ctaid.x; {store} [%p0], %r1;"),
        );
        let run = |s| {
            Run::new(&text)
                .grid(2)
                .block(64)
                .words(&[9])
                .seed(s)
                .races(false)
                .result(0)[0]
        };
        let seen: Vec<u32> = (0..8).map(run).collect();
        assert_eq!(
            seen.iter().copied().collect::<BTreeSet<_>>(),
            BTreeSet::from([0, 1])
        );
        for _ in 0..20 {
            assert_eq!((0..8).map(run).collect::<Vec<_>>(), seen);
        }
    }
    // A warp that reads what another writes, with nothing between.
    let text = kernel(
        "sm_80",
        "7.8",
        1,
        SMEM,
        "setp.lt.u32 %q1, %t, 32; setp.eq.u32 %q2, %t, 40; @%q1 st.shared.u32 [s], 5; @%q2 ld.shared.u32 %r1, [s]; @%q2 st.global.u32 [%p0], %r1;",
    );
    let seen: BTreeSet<u32> = (0..8)
        .map(|s| {
            Run::new(&text)
                .block(64)
                .words(&[9])
                .seed(s)
                .races(false)
                .result(0)[0]
        })
        .collect();
    assert!(seen.len() == 2 && seen.contains(&5), "{seen:?}");
}
