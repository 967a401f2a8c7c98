// SPDX-License-Identifier: Apache-2.0 OR MIT
//! mbarrier, bulk copies, wgmma: results from the manual's definitions, and every missing
//! wait or fence reported whatever the order.

mod common;
use attnc_ptx::emu::FaultKind;
use common::{Run, kernel};

const SMEM: &str = ".shared .align 128 .b8 s[8192];\n.shared .align 8 .b64 bar;";

fn k(body: &str) -> String {
    kernel("sm_90a", "8.0", 2, SMEM, body)
}

/// Runs with every seed; all verdicts must be of one kind.
fn verdict(text: &str, block: u32) -> Result<Vec<u32>, FaultKind> {
    let input: Vec<u32> = (0..2048).map(|x| 100 + x).collect();
    let mut all: Vec<Result<Vec<u32>, FaultKind>> = Vec::new();
    for seed in 0..8 {
        let mut r = Run::new(text)
            .block(block)
            .words(&input)
            .words(&[0; 2048])
            .seed(seed);
        all.push(match r.go() {
            Ok(_) => Ok(common::words(&r.buffers[1])),
            Err(attnc_ptx::emu::LaunchError::Fault(f)) => Err(f.kind),
            Err(e) => panic!("{e}"),
        });
    }
    for v in &all {
        let same = match (v, &all[0]) {
            (Ok(a), Ok(b)) => a == b,
            // Which access comes first decides between a race and a read of nothing.
            (
                Err(
                    FaultKind::Race { .. }
                    | FaultKind::Uninitialised { .. }
                    | FaultKind::Operand(_),
                ),
                Err(
                    FaultKind::Race { .. }
                    | FaultKind::Uninitialised { .. }
                    | FaultKind::Operand(_),
                ),
            ) => true,
            (Err(a), Err(b)) => std::mem::discriminant(a) == std::mem::discriminant(b),
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        };
        assert!(
            same,
            "the verdict depends on the seed: {v:?} and {:?}\n{text}",
            all[0]
        );
    }
    all.swap_remove(0)
}

fn without(text: &str, part: &str) -> String {
    assert!(text.contains(part), "`{part}` is not there");
    text.replacen(part, "", 1)
}

const BULK: &str = "setp.ne.u32 %q1, %t, 0; mov.u32 %r1, bar; mov.u32 %r2, s;
    @!%q1 mbarrier.init.shared.b64 [%r1], 1; bar.sync 0;
    @!%q1 mbarrier.arrive.expect_tx.shared.b64 _, [%r1], 256;
    @!%q1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%p0], 256, [%r1];
    W: mbarrier.try_wait.parity.shared.b64 %q2, [%r1], 0; @!%q2 bra W;
    shl.b32 %r3, %t, 2; add.u32 %r4, %r2, %r3; ld.shared.u32 %r5, [%r4];
    cvt.u64.u32 %d1, %r3; add.s64 %d1, %p1, %d1; st.global.u32 [%d1], %r5;";

#[test]
fn a_bulk_copy_lands_at_its_mbarrier() {
    let text = k(BULK);
    let got = verdict(&text, 64).expect("runs");
    assert_eq!(got[..64], (100..164).collect::<Vec<u32>>());
    // Nobody waits: the reads race with the copy.
    let f = verdict(
        &without(
            &text,
            "W: mbarrier.try_wait.parity.shared.b64 %q2, [%r1], 0; @!%q2 bra W;",
        ),
        64,
    )
    .expect_err("a race");
    assert!(
        matches!(f, FaultKind::Race { .. } | FaultKind::Uninitialised { .. }),
        "{f}"
    );
    // Fewer bytes arrive than are expected: the phase never ends.
    let f = verdict(&text.replace("_, [%r1], 256", "_, [%r1], 512"), 64).expect_err("a deadlock");
    assert!(matches!(f, FaultKind::Deadlock(_)), "{f}");
    // Threads use the object before it is initialised for them.
    let f = verdict(&without(&text, "bar.sync 0;"), 64).expect_err("a fault");
    assert!(
        matches!(
            f,
            FaultKind::Race { .. } | FaultKind::Operand(_) | FaultKind::Uninitialised { .. }
        ),
        "{f}"
    );
    // A copy over what threads still read.
    let again = text.replace(
        "cvt.u64.u32 %d1",
        "@!%q1 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%p0], 256, [%r1]; cvt.u64.u32 %d1",
    );
    let f = verdict(&again, 64).expect_err("a race");
    assert!(matches!(f, FaultKind::Race { .. }), "{f}");
}

const BULK_OUT: &str = "shl.b32 %r3, %t, 2; mov.u32 %r2, s; add.u32 %r4, %r2, %r3; add.u32 %r5, %t, 7; st.shared.u32 [%r4], %r5;
    fence.proxy.async.shared::cta; bar.sync 0; setp.ne.u32 %q1, %t, 0;
    @!%q1 cp.async.bulk.global.shared::cta.bulk_group [%p1], [%r2], 256; @!%q1 cp.async.bulk.commit_group; @!%q1 cp.async.bulk.wait_group 0;
    bar.sync 0; st.shared.u32 [%r4], %t;";

#[test]
fn a_bulk_store_needs_its_proxy_fence_and_its_wait() {
    let text = k(BULK_OUT);
    let got = verdict(&text, 64).expect("runs");
    assert_eq!(got[..64], (7..71).collect::<Vec<u32>>());
    let f = verdict(&without(&text, "fence.proxy.async.shared::cta;"), 64)
        .expect_err("a fence is missing");
    assert!(matches!(f, FaultKind::ProxyFence { .. }), "{f}");
    let f = verdict(&without(&text, "@!%q1 cp.async.bulk.wait_group 0;"), 64)
        .expect_err("a wait is missing");
    assert!(matches!(f, FaultKind::Race { .. }), "{f}");
    let f = verdict(&without(&text, "@!%q1 cp.async.bulk.commit_group;"), 64)
        .expect_err("a commit is missing");
    assert!(matches!(f, FaultKind::Race { .. }), "{f}");
    let f = verdict(&without(&text, "bar.sync 0;"), 64).expect_err("a barrier is missing");
    assert!(
        matches!(
            f,
            FaultKind::Race { .. } | FaultKind::ProxyFence { .. } | FaultKind::Uninitialised { .. }
        ),
        "{f}"
    );
}

/// A `.read` wait frees the shared bytes; the global ones may still be under way.
#[test]
fn a_wait_for_reads_does_not_order_the_writes() {
    let reuse = BULK_OUT.replace("wait_group 0", "wait_group.read 0");
    let got = verdict(&k(&reuse), 64).expect("runs");
    assert_eq!(got[..64], (7..71).collect::<Vec<u32>>());
    let load = |wait: &str| {
        let text = BULK_OUT.replace("cp.async.bulk.wait_group 0", wait);
        k(&format!(
            "{text} cvt.u64.u32 %d1, %r3; add.s64 %d1, %p1, %d1; ld.global.u32 %r6, [%d1];"
        ))
    };
    verdict(&load("cp.async.bulk.wait_group 0"), 64).expect("runs");
    let f = verdict(&load("cp.async.bulk.wait_group.read 0"), 64).expect_err("a race");
    assert!(matches!(f, FaultKind::Race { .. }), "{f}");
}

#[test]
fn mbarrier_phases_order_producers_and_consumers() {
    // Warp 0 fills, warp 1 reads, three rounds over one buffer with a full and an empty object.
    let text = kernel(
        "sm_90a",
        "8.0",
        2,
        ".shared .align 8 .b64 full;\n.shared .align 8 .b64 empty;\n.shared .align 16 .b8 s[128];",
        "mov.u32 %r1, full; mov.u32 %r2, empty; mov.u32 %r3, s; and.b32 %r4, %t, 31; shl.b32 %r4, %r4, 2; add.u32 %r3, %r3, %r4;
         setp.ne.u32 %q1, %t, 0; @!%q1 mbarrier.init.shared.b64 [%r1], 32; @!%q1 mbarrier.init.shared.b64 [%r2], 32; bar.sync 0;
         mov.u32 %r5, 0; mov.u32 %r9, 0; setp.ge.u32 %q2, %t, 32; @%q2 bra CONSUME;
         P: setp.eq.u32 %q3, %r5, 0; @%q3 bra PW; add.u32 %r6, %r5, 1; and.b32 %r6, %r6, 1;
         PL: mbarrier.test_wait.parity.shared.b64 %q4, [%r2], %r6; @!%q4 bra PL;
         PW: mad.lo.u32 %r7, %r5, 1000, %t; st.shared.u32 [%r3], %r7; mbarrier.arrive.shared.b64 _, [%r1];
         add.u32 %r5, %r5, 1; setp.lt.u32 %q3, %r5, 3; @%q3 bra P; bra E;
         CONSUME: and.b32 %r6, %r5, 1;
         CL: mbarrier.try_wait.parity.shared.b64 %q4, [%r1], %r6; @!%q4 bra CL;
         ld.shared.u32 %r7, [%r3]; add.u32 %r9, %r9, %r7; mbarrier.arrive.shared.b64 %d5, [%r2];
         add.u32 %r5, %r5, 1; setp.lt.u32 %q3, %r5, 3; @%q3 bra CONSUME;
         E: mul.wide.u32 %d1, %t, 4; add.s64 %d1, %p1, %d1; st.global.u32 [%d1], %r9;",
    );
    let got = verdict(&text, 64).expect("runs");
    for l in 0..32u32 {
        assert_eq!(got[32 + l as usize], 3000 + 3 * l);
    }
    // The consumer that does not wait reads what nothing orders.
    let bad = without(
        &text,
        "CL: mbarrier.try_wait.parity.shared.b64 %q4, [%r1], %r6; @!%q4 bra CL;",
    );
    assert!(verdict(&bad, 64).is_err());
    let bad = without(
        &text,
        "PL: mbarrier.test_wait.parity.shared.b64 %q4, [%r2], %r6; @!%q4 bra PL;",
    );
    // It overtakes: a race, too many arrivals, or a consumer that misses a phase for good.
    assert!(verdict(&bad, 64).is_err());
    // Relaxed arrivals publish nothing (PTX 8.0 has no such form; an extra arrival is refused).
    let bad = text.replace(
        "mbarrier.init.shared.b64 [%r1], 32",
        "mbarrier.init.shared.b64 [%r1], 16",
    );
    assert!(verdict(&bad, 64).is_err());
}

#[test]
fn copies_arrive_at_an_mbarrier() {
    let text = k(
        "mov.u32 %r1, bar; mov.u32 %r2, s; setp.ne.u32 %q1, %t, 0; @!%q1 mbarrier.init.shared.b64 [%r1], 64; bar.sync 0;
         shl.b32 %r3, %t, 2; add.u32 %r4, %r2, %r3; cvt.u64.u32 %d1, %r3; add.s64 %d2, %p0, %d1; add.s64 %d3, %p1, %d1;
         cp.async.ca.shared.global [%r4], [%d2], 4; cp.async.mbarrier.arrive.noinc.shared.b64 [%r1];
         W: mbarrier.test_wait.parity.shared.b64 %q2, [%r1], 0; @!%q2 bra W;
         xor.b32 %r5, %r4, 4; ld.shared.u32 %r6, [%r5]; st.global.u32 [%d3], %r6;",
    );
    let got = verdict(&text, 64).expect("runs");
    assert_eq!(
        got[..64],
        (0..64).map(|t| 100 + (t ^ 1)).collect::<Vec<u32>>()
    );
    let f = verdict(
        &without(
            &text,
            "W: mbarrier.test_wait.parity.shared.b64 %q2, [%r1], 0; @!%q2 bra W;",
        ),
        64,
    )
    .expect_err("a race");
    assert!(
        matches!(f, FaultKind::Race { .. } | FaultKind::Uninitialised { .. }),
        "{f}"
    );
}

/// A 64x16 by 16x8 product in f16: both operands in core matrices of 8 rows of 16 bytes,
/// 128 bytes apart along K, 256 along rows (no swizzle). Thread t stores row t/2, half t%2.
const WGMMA: &str = "mov.u32 %r1, s; mul.wide.u32 %d1, %t, 16; add.s64 %d2, %p0, %d1; ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%d2];
    shr.u32 %r2, %t, 4; shl.b32 %r2, %r2, 8; shr.u32 %r3, %t, 1; and.b32 %r3, %r3, 7; shl.b32 %r3, %r3, 4; and.b32 %r4, %t, 1; shl.b32 %r4, %r4, 7;
    add.u32 %r5, %r1, %r2; add.u32 %r5, %r5, %r3; add.u32 %r5, %r5, %r4; st.shared.v4.u32 [%r5], {%r10, %r11, %r12, %r13};
    setp.lt.u32 %q1, %t, 16; @!%q1 bra S; ld.global.v4.u32 {%r10, %r11, %r12, %r13}, [%d2+2048]; st.shared.v4.u32 [%r5+4096], {%r10, %r11, %r12, %r13};
    S: fence.proxy.async.shared::cta; bar.sync 0;
    shr.u32 %r6, %r1, 4; cvt.u64.u32 %d3, %r6; or.b64 %d3, %d3, 0x1000080000; add.s64 %d4, %d3, 256;
    mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;
    wgmma.fence.sync.aligned;
    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %d3, %d4, 1, 1, 1, 0, 0;
    wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;
    add.s64 %d5, %p1, %d1; st.global.v4.f32 [%d5], {%f0, %f1, %f2, %f3};
    st.shared.u32 [%r5], %t;";

fn half(x: i32) -> u16 {
    if x == 0 {
        return 0;
    }
    let e = x.unsigned_abs().ilog2();
    let s = if x < 0 { 0x8000 } else { 0 };
    s | ((e + 15) << 10) as u16 | ((x.unsigned_abs() - (1 << e)) << (10 - e)) as u16
}

fn wgmma(text: &str, seed: u64) -> (Run<'_>, Vec<i32>) {
    let a: Vec<i32> = (0..64 * 16).map(|x| (x * 7 + x / 16) % 11 - 5).collect();
    let b: Vec<i32> = (0..8 * 16).map(|x| (x * 5 + 3) % 9 - 4).collect();
    let bytes: Vec<u8> = a
        .iter()
        .chain(&b)
        .flat_map(|x| half(*x).to_le_bytes())
        .collect();
    let mut want = vec![0i32; 64 * 8];
    for r in 0..64 {
        for c in 0..8 {
            want[r * 8 + c] = (0..16).map(|k| a[r * 16 + k] * b[c * 16 + k]).sum();
        }
    }
    (
        Run::new(text)
            .block(128)
            .bytes(&bytes)
            .bytes(&[0; 2048])
            .seed(seed),
        want,
    )
}

#[test]
fn wgmma_multiplies_and_every_missing_fence_or_wait_is_seen() {
    let text = k(WGMMA);
    for seed in 0..8 {
        let (mut r, want) = wgmma(&text, seed);
        let got = r.result(1);
        for t in 0..128 {
            for i in 0..4 {
                let (row, col) = (t / 32 * 16 + t % 32 / 4 + 8 * (i / 2), t % 4 * 2 + i % 2);
                assert_eq!(
                    f32::from_bits(got[t * 4 + i]),
                    want[row * 8 + col] as f32,
                    "thread {t} element {i}"
                );
            }
        }
        type Kind = fn(&FaultKind) -> bool;
        let missing: [(&str, Kind); 5] = [
            ("fence.proxy.async.shared::cta;", |f| {
                matches!(f, FaultKind::ProxyFence { .. })
            }),
            ("bar.sync 0;", |f| {
                matches!(
                    f,
                    FaultKind::ProxyFence { .. }
                        | FaultKind::Race { .. }
                        | FaultKind::Uninitialised { .. }
                )
            }),
            ("wgmma.fence.sync.aligned;", |f| {
                matches!(f, FaultKind::WgmmaFence(_))
            }),
            ("wgmma.commit_group.sync.aligned;", |f| {
                matches!(f, FaultKind::InFlight(_))
            }),
            ("wgmma.wait_group.sync.aligned 0;", |f| {
                matches!(f, FaultKind::InFlight(_))
            }),
        ];
        for (part, kind) in missing {
            let bad = without(&text, part);
            let f = wgmma(&bad, seed).0.fault();
            assert!(kind(&f), "without `{part}`: {f}");
        }
        // Shared memory that the product may still read is overwritten before the wait.
        let bad = text.replace(
            "wgmma.wait_group.sync.aligned 0;",
            "st.shared.u32 [%r5], %t; wgmma.wait_group.sync.aligned 0;",
        );
        let f = wgmma(&bad, seed).0.fault();
        assert!(matches!(f, FaultKind::Race { .. }), "{f}");
    }
}
