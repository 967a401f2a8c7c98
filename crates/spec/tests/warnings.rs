// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The warnings about coverage against a walk over positions, on all small operators; and that they stay cheap on large ones.

mod common;

use std::fmt::Write;
use std::time::Instant;

use attnc_spec::{Offsets, Operator, Ragged, Rows, Segment};
use common::{codes, mistakes, text};
use proptest::prelude::*;

/// Whether branch (w, r) covers head h at position n, by the definition, for N much larger than any segment.
fn covers(op: &Operator, branch: usize, h: u64, n: u64) -> bool {
    let r = op.branches[branch].dilation;
    let heads = u64::from(op.heads);
    let o = match op.profile.offsets {
        Offsets::Modulo => h % r,
        Offsets::Blocked => h / heads.div_ceil(r),
    };
    let Segment::Finite(w) = op.branches[branch].segment else {
        return n % r == o;
    };
    match op.profile.rows {
        Rows::Aligned => (n % w) % r == o,
        Rows::Displaced => {
            let p = n % (r * w.div_ceil(r));
            p % r == o && (p < w || op.profile.ragged == Ragged::ZeroKeys)
        }
    }
}

const LONG: u64 = 2000;

/// The codes that a walk over positions finds.
fn walked(op: &Operator) -> Vec<&'static str> {
    let heads = u64::from(op.heads);
    let mut list = Vec::new();
    let all: Vec<usize> = (0..op.branches.len()).collect();
    for b in &all {
        let never = (0..heads).any(|h| (0..LONG).all(|n| !covers(op, *b, h, n)));
        list.extend(never.then_some("W01"));
        let r = op.branches[*b].dilation;
        let free = (0..r).any(|o| (0..op.heads).all(|h| op.offset(h, r) != o));
        list.extend(free.then_some("W02"));
        if let Segment::Finite(w) = op.branches[*b].segment {
            list.extend((w % r != 0 && r < w).then_some("W04"));
            list.extend((r >= w && r > 1).then_some("W06"));
        }
        list.extend(
            op.branches[..*b]
                .contains(&op.branches[*b])
                .then_some("W05"),
        );
    }
    let bare = (0..heads).any(|h| (0..LONG).any(|n| all.iter().all(|b| !covers(op, *b, h, n))));
    list.extend(bare.then_some("W03"));
    list.sort_unstable();
    list
}

fn source(
    heads: u32,
    blocked: bool,
    zero_keys: bool,
    displaced: bool,
    branches: &[(Option<u64>, u64)],
) -> String {
    let mut out = format!("attention a {{\n heads = {heads}, head_dim = 4\n");
    let mut switch = |on, text| out.push_str(if on { text } else { "" });
    switch(blocked, " offsets = blocked\n");
    switch(zero_keys, " ragged = zero_keys\n");
    switch(displaced, " rows = displaced\n");
    for (w, r) in branches {
        let w = w.map_or("whole".to_owned(), |w| w.to_string());
        let _ = writeln!(out, " branch {{ segment = {w}, dilation = {r} }}");
    }
    out + "}\n"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_arithmetic_agrees_with_a_walk(
        heads in 1u32..=7,
        (blocked, zero_keys, displaced) in (any::<bool>(), any::<bool>(), any::<bool>()),
        branches in prop::collection::vec((prop::option::weighted(0.9, prop_oneof![Just(1u64), 1u64..=12]), prop_oneof![Just(1u64), 1u64..=7]), 1..=4),
    ) {
        let resolution = text(&source(heads, blocked, zero_keys, displaced, &branches));
        prop_assert!(!resolution.has_errors());
        let op = resolution.operators().next().expect("there is one");
        let mut found = codes(&resolution);
        found.sort_unstable();
        prop_assert_eq!(found, walked(op));
        // The place that is named is one that no branch covers.
        for d in resolution.diagnostics.iter().filter(|d| d.code.id() == "W03") {
            let numbers: Vec<u64> = d.message.split(' ').filter_map(|word| word.parse().ok()).collect();
            prop_assert!((0..op.branches.len()).all(|b| !covers(op, b, numbers[0], numbers[1])), "{}", d.message);
        }
    }
}

#[test]
fn every_single_branch_of_small_size() {
    for heads in 1..=6 {
        for switches in 0..8 {
            for w in 1..=8 {
                for r in 1..=6 {
                    let resolution = text(&source(
                        heads,
                        switches & 1 > 0,
                        switches & 2 > 0,
                        switches & 4 > 0,
                        &[(Some(w), r)],
                    ));
                    let op = resolution.operators().next().expect("there is one");
                    let mut found = codes(&resolution);
                    found.sort_unstable();
                    assert_eq!(
                        found,
                        walked(op),
                        "heads {heads} switches {switches} ({w}, {r})"
                    );
                }
            }
        }
    }
}

#[test]
fn once_for_a_span_and_for_copies_too() {
    let base = "attention a { heads = 4, head_dim = 4, branch { segment = 8 }\n for i in 0..3 { branch { segment = 10 + i, dilation = 8 } } }\n";
    assert_eq!(mistakes(base), ["W04 10 + i", "W02 8"]);
    assert_eq!(
        mistakes(&format!(
            "{base}attention b = a with {{ heads = 8 }}\nattention c = a with {{ heads = 2 }}\n"
        )),
        ["W04 10 + i", "W02 8"]
    );
    let used = "use \"std/longnet.attn\"\nattention mine = longnet_base with { heads = 8 }\n";
    assert_eq!(mistakes(used), ["W02 longnet_base", "W04 longnet_base"]);
    assert_eq!(mistakes("use \"std/longnet.attn\"\n"), [""; 0]);
}

#[test]
fn large_operators_are_judged_at_once() {
    let started = Instant::now();
    let source = "attention a {\n heads = 4096, head_dim = 4\n for i in 0..1024 { branch { segment = 2^40 - i, dilation = 2^40 - 3 * i } }\n}\n\
        attention b = a with { offsets = blocked, rows = displaced }\n";
    let found = codes(&text(source));
    assert_eq!(found, ["W03", "W04", "W02", "W06", "W03"]);
    assert!(
        started.elapsed().as_millis() < 500,
        "{:?}",
        started.elapsed()
    );
}
