// SPDX-License-Identifier: Apache-2.0 OR MIT
//! shfl, vote, match, redux, elect and atomics: values from the manual's pseudo code.

mod common;
use common::{Run, kernel};

fn run(body: &str) -> Vec<u32> {
    let text = kernel(
        "sm_90",
        "8.0",
        2,
        ".shared .align 16 .b8 s[256];",
        &format!(
            "{body} mul.wide.u32 %d9, %t, 4; add.s64 %d9, %p0, %d9; st.global.u32 [%d9], %r9;"
        ),
    );
    Run::new(&text).words(&[0; 32]).words(&[0; 32]).result(0)
}

fn lanes(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn shuffles() {
    assert_eq!(
        run("shfl.sync.up.b32 %r9, %t, 3, 0, -1;"),
        lanes(|l| if l < 3 { l } else { l - 3 })
    );
    assert_eq!(
        run("shfl.sync.down.b32 %r9, %t, 3, 31, -1;"),
        lanes(|l| if l > 28 { l } else { l + 3 })
    );
    assert_eq!(
        run("shfl.sync.bfly.b32 %r9, %t, 5, 31, -1;"),
        lanes(|l| l ^ 5)
    );
    assert_eq!(run("shfl.sync.idx.b32 %r9, %t, 9, 31, -1;"), lanes(|_| 9));
    // Segments of 8 lanes: the mask in bits 8-12 is 0x18.
    assert_eq!(
        run("shfl.sync.idx.b32 %r9, %t, 2, 0x181f, -1;"),
        lanes(|l| l / 8 * 8 + 2)
    );
    assert_eq!(
        run("shfl.sync.up.b32 %r9, %t, 1, 0x1800, -1;"),
        lanes(|l| if l % 8 == 0 { l } else { l - 1 })
    );
    assert_eq!(
        run("shfl.sync.down.b32 %r9|%q1, %t, 1, 0x181f, -1; @!%q1 mov.u32 %r9, 99;"),
        lanes(|l| if l % 8 == 7 { 99 } else { l + 1 })
    );
}

#[test]
fn votes_and_matches() {
    let odd = "and.b32 %r1, %t, 1; setp.eq.u32 %q1, %r1, 1;";
    assert_eq!(
        run(&format!("{odd} vote.sync.ballot.b32 %r9, %q1, -1;")),
        lanes(|_| 0xaaaa_aaaa)
    );
    assert_eq!(
        run(&format!("{odd} vote.sync.ballot.b32 %r9, !%q1, -1;")),
        lanes(|_| 0x5555_5555)
    );
    assert_eq!(
        run(&format!(
            "{odd} vote.sync.any.pred %q2, %q1, -1; selp.u32 %r9, 1, 0, %q2;"
        )),
        lanes(|_| 1)
    );
    assert_eq!(
        run(&format!(
            "{odd} vote.sync.all.pred %q2, %q1, -1; selp.u32 %r9, 1, 0, %q2;"
        )),
        lanes(|_| 0)
    );
    assert_eq!(
        run(&format!(
            "{odd} vote.sync.uni.pred %q2, %q1, -1; selp.u32 %r9, 1, 0, %q2;"
        )),
        lanes(|_| 0)
    );
    assert_eq!(
        run("shr.u32 %r1, %t, 3; match.any.sync.b32 %r9, %r1, -1;"),
        lanes(|l| 0xff << (l / 8 * 8))
    );
    assert_eq!(
        run("mov.u32 %r1, 4; match.all.sync.b32 %r9|%q1, %r1, -1;"),
        lanes(|_| u32::MAX)
    );
    assert_eq!(
        run("match.all.sync.b32 %r9|%q1, %t, -1; @%q1 mov.u32 %r9, 7;"),
        lanes(|_| 0)
    );
    // The two halves vote for themselves.
    let halves = "setp.lt.u32 %q1, %t, 16; @%q1 bra A; vote.sync.ballot.b32 %r9, 1, 0xffff0000; bra B; A: vote.sync.ballot.b32 %r9, 1, 0xffff; B:";
    let halves = halves.replace("%r9, 1,", "%r9, %q2,");
    assert_eq!(
        run(&format!("setp.ge.u32 %q2, %t, 0; {halves}")),
        lanes(|l| if l < 16 { 0xffff } else { 0xffff_0000 })
    );
}

#[test]
fn reductions_and_election() {
    assert_eq!(run("redux.sync.add.u32 %r9, %t, -1;"), lanes(|_| 496));
    assert_eq!(
        run("sub.s32 %r1, %t, 5; redux.sync.min.s32 %r9, %r1, -1;"),
        lanes(|_| -5i32 as u32)
    );
    assert_eq!(
        run("sub.s32 %r1, %t, 5; redux.sync.max.u32 %r9, %r1, -1;"),
        lanes(|_| u32::MAX)
    );
    assert_eq!(
        run("mov.u32 %r1, 1; shl.b32 %r1, %r1, %t; redux.sync.or.b32 %r9, %r1, -1;"),
        lanes(|_| u32::MAX)
    );
    assert_eq!(run("redux.sync.xor.b32 %r9, %t, -1;"), lanes(|_| 0));
    assert_eq!(
        run("elect.sync %r1|%q1, -1; selp.u32 %r9, 1, 0, %q1;"),
        lanes(|l| u32::from(l == 0))
    );
    assert_eq!(
        run("mov.u32 %r9, %lanemask_lt;"),
        lanes(|l| (1u32 << l) - 1)
    );
    assert_eq!(run("mov.u32 %r9, %lanemask_ge;"), lanes(|l| u32::MAX << l));
}

#[test]
fn atomics_of_every_operation() {
    let f = |x: f32| x.to_bits();
    let h2 = |a: u32, b: u32| a | b << 16;
    // Initial word, instruction on [%p1] by all lanes, final word.
    let cases: &[(u32, &str, u32)] = &[
        (5, "atom.global.add.u32 %r1, [%p1], %t;", 5 + 496),
        (5, "atom.global.min.s32 %r1, [%p1], -3;", -3i32 as u32),
        (5, "atom.global.max.u32 %r1, [%p1], %t;", 31),
        (0xff, "atom.global.and.b32 %r1, [%p1], 0x3c;", 0x3c),
        (1, "red.global.or.b32 [%p1], 0x30;", 0x31),
        (1, "red.relaxed.gpu.global.xor.b32 [%p1], %t;", 1),
        (30, "atom.global.inc.u32 %r1, [%p1], 40;", 21),
        (3, "atom.global.dec.u32 %r1, [%p1], 40;", 12),
        (7, "atom.global.cas.b32 %r1, [%p1], 7, 100;", 100),
        (8, "atom.acq_rel.sys.global.cas.b32 %r1, [%p1], 7, 100;", 8),
        (
            0x3f80_0000,
            "mov.f32 %f1, 0f3F000000; red.global.add.f32 [%p1], %f1;",
            0x4188_0000,
        ),
        (
            h2(0x3c00, 0x4000),
            "mov.b32 %r2, 0x3c003c00; red.global.add.noftz.f16x2 [%p1], %r2;",
            h2(0x5020, 0x5040),
        ),
        (
            h2(0x3f80, 0x4000),
            "mov.b32 %r2, 0x3f803f80; atom.global.add.noftz.bf16x2 %r1, [%p1], %r2;",
            h2(0x4204, 0x4208),
        ),
    ];
    for (start, op, want) in cases {
        let text = kernel("sm_90", "8.1", 2, "", op);
        for seed in 0..4 {
            let got = Run::new(&text)
                .words(&[0])
                .words(&[*start, 0])
                .seed(seed)
                .result(1);
            assert_eq!(got[0], *want, "{op}");
        }
    }
    assert_eq!(f(17.0), 0x4188_0000);
    // In shared memory, and with vectors.
    let text = kernel(
        "sm_90",
        "8.1",
        2,
        ".shared .align 16 .b8 s[16];",
        "setp.ne.u32 %q1, %t, 0; @!%q1 st.shared.u32 [s], 4; bar.warp.sync -1; atom.shared.add.u32 %r1, [s], 2; bar.warp.sync -1; ld.shared.u32 %r2, [s]; @!%q1 st.global.u32 [%p0], %r2;
         mov.f32 %f1, 0f3F800000; @!%q1 atom.global.v2.f32.add {%f2, %f3}, [%p1], {%f1, %f1};",
    );
    let text = text.replace("atom.global.v2.f32.add", "atom.global.add.v2.f32");
    let mut r = Run::new(&text).words(&[0]).words(&[0, 0]);
    assert_eq!(r.result(0), [68]);
    assert_eq!(common::words(&r.buffers[1]), [0x3f80_0000; 2]);
}
