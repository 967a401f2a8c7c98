// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text form of tile programs: what is printed is read back as the same program, and damaged text is refused where it is damaged.

mod support;

use attnc_schedule::{Schedule, lower};
use attnc_tile::core::{Core, Inst};
use attnc_tile::{parse, print};
use proptest::prelude::*;
use support::nests;

fn programs() -> impl Iterator<Item = (String, Core)> {
    nests().into_iter().enumerate().map(|(i, (name, nest))| {
        let sched = match i % 3 {
            0 => Schedule::of("x86_64-v3", &nest),
            1 => Schedule::of("sm_80", &nest),
            _ => Schedule::half("x86_64-v4", nest.head_dim, 3),
        };
        let core = lower(&nest, &sched);
        (name, core.expect("these nests are within the limits"))
    })
}

/// The smallest program, for damage.
fn small() -> String {
    print(&programs().next().expect("there are programs").1)
}

#[test]
fn every_lowered_program_is_read_back_as_it_is() {
    for (name, core) in programs() {
        let text = print(&core);
        match parse(&text) {
            Ok(read) => assert!(read == core, "{name}: another program\n{text}"),
            Err(e) => panic!("{name}: {e}\n{text}"),
        }
    }
}

/// Numbers that do not follow each other, and values that nothing names.
#[test]
fn programs_with_numbers_in_any_order_are_read_back() {
    fn turn(code: &mut [Inst], vals: u32) {
        for inst in code {
            inst.rename(&mut |v| attnc_tile::core::Val(vals - 1 - v.0));
            inst.blocks_mut().into_iter().for_each(|b| turn(b, vals));
        }
    }
    for (name, mut core) in programs().step_by(41) {
        let vals = core.vals;
        turn(&mut core.plan, vals);
        turn(&mut core.enter, vals);
        turn(&mut core.body, vals);
        core.tasks.0 = vals - 1 - core.tasks.0;
        assert_eq!(parse(&print(&core)).as_ref(), Ok(&core), "{name}");
        core.vals += 7;
        assert_eq!(parse(&print(&core)).as_ref(), Ok(&core), "{name}");
    }
}

/// What the text of `small` becomes when `from` is replaced by `to` once.
fn edited(from: &str, to: &str) -> String {
    let text = small();
    assert!(text.contains(from), "no `{from}` in\n{text}");
    text.replacen(from, to, 1)
}

#[test]
fn mistakes_are_told_with_their_place() {
    let cases = [
        (
            "tile 2",
            "tile 1",
            "1:6: this is version 1 of the text form; this build reads version 2",
        ),
        ("tile 2", "tail 2", "1:1: expected `tile`, found `tail`"),
        ("heads 6", "heads -6", "2:7: `-6` is no number of heads"),
        (
            "work i64",
            "fridge i64",
            "3:7: expected a memory space, found `fridge`",
        ),
        ("work i64", "work $64", "3:12: unexpected character '$'"),
    ];
    for (from, to, message) in cases {
        let got = parse(&edited(from, to)).expect_err(message);
        assert_eq!(got.to_string(), message);
    }
    let unknown = parse(&edited("covered[%", "uncovered[%")).expect_err("no such buffer");
    assert!(
        unknown
            .to_string()
            .contains("there is no buffer or table `uncovered`")
    );
    let twice = parse(&edited("table segment", "table dilation")).expect_err("taken");
    assert!(
        twice
            .to_string()
            .contains("`dilation` cannot be a name here")
    );
}

/// An edit may use more values than the numbers around it leave room for.
#[test]
fn edited_code_finds_free_numbers() {
    let before = parse(&small()).expect("the text as printed");
    let read = parse(&edited(" = min(segment[", " = min(1 + 2 - 3 + segment["));
    let read = read.expect("a well-formed edit");
    assert_eq!(read.vals, before.vals + 6);
    attnc_tile::verify::core(&read).expect("the same values under other numbers");
    // A clamp that is taken away breaks the promise of the table it guards.
    let worse = parse(&edited(" = min(segment[", " = max(segment["));
    let errors = attnc_tile::verify::core(&worse.expect("well-formed")).expect_err("out of range");
    assert!(errors.iter().any(|e| e.rule.number() == 5), "{errors:?}");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = "(".repeat(100_000);
    for text in [
        edited(" = min(segment[", &format!(" = {deep}min(segment[")),
        edited(
            " = min(segment[",
            &format!(" = {} + min(segment[", vec!["1"; 100_000].join(" + ")),
        ),
        edited("plan {", &format!("plan {{ {}", "if 1 { ".repeat(100_000))),
        edited("o = o / l", &format!("o = {deep}o / l")),
        edited("o = o / l", &format!("o = {}o", "exp2(".repeat(100_000))),
    ] {
        let e = parse(&text).expect_err("too deep");
        assert!(e.to_string().contains("too many levels of nesting"), "{e}");
    }
}

proptest! {
    #[test]
    fn truncated_text_is_refused(cut in 0usize..10_000) {
        let text = small();
        let text = text.trim_end();
        let cut = cut * text.len() / 10_000;
        prop_assert!(parse(&text[..cut]).is_err());
    }

    /// Words moved, dropped, doubled or made up: an error or some program, and what is read once is read the same again.
    #[test]
    fn shuffled_text_never_panics(edits in prop::collection::vec((0usize..4, any::<usize>(), any::<usize>()), 1..4)) {
        let text = small();
        let mut words: Vec<&str> = text.split_inclusive([' ', '[', ']', '(', ')', ',', '\n', '=', ';', '{', '}']).collect();
        for (kind, a, b) in edits {
            let (a, b) = (a % words.len(), b % words.len());
            match kind {
                0 => words.swap(a, b),
                1 => { words.remove(a); }
                2 => words.insert(a, words[b]),
                _ => words[a] = ["9223372036854775808", "-", "%4194303", "2^64", "inf", "\u{e9}", "select", "1e999", "..", "%"][b % 10],
            }
        }
        if let Ok(core) = parse(&words.concat())
            && attnc_tile::verify::core(&core).is_ok()
        {
            prop_assert_eq!(parse(&print(&core)), Ok(core));
        }
    }
}
