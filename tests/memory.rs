// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What a launch takes beyond its tensors, by the operating system's measure: the growth of resident memory while it runs.
//!
//! In: operators of five branches at a short and a long sequence, tensors touched beforehand. Out: at most 1.25 MB a thread and one
//! panel of keys and values per cached branch a thread, whatever N. Each case runs in a process of its own: memory that an earlier one
//! gave back would hide what a later one takes.

use std::process::Command;

use attnc::pipeline::{Choices, Plan};
use attnc::{Backend, Call, Compiler, Inputs, Signature, Source};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::{DType, SliceMut, Storage, Tensor};
use attnc_tests::engines::targets;

/// Branches, and panels that a worker keeps at most.
const BRANCHES: u32 = 5;
/// Keys of a panel at 64 elements a head, both tensors, f32, with their positions.
const PANEL: u64 = 2080 * (64 * 4 * 2 + 8);
const THREAD: u64 = 1_250_000;

fn operator(profile: Profile) -> Operator {
    let branch = |i| Branch {
        segment: Segment::Finite(2048u64 << i),
        dilation: 1u64 << i,
    };
    Operator {
        name: "memory".into(),
        heads: 2,
        kv_heads: 2,
        head_dim: 64,
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: false,
        scale: 0.125,
        profile,
        branches: (0..BRANCHES).map(branch).collect(),
    }
}

/// A line of /proc/self/status in bytes.
fn status(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find(|l| l.starts_with(key)).expect("a line");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    kilobytes.parse::<u64>().expect("a number") * 1024
}

/// Bytes by which resident memory grew, at its highest, during one launch.
fn growth(target: &str, plan: Plan, profile: Profile, seq_len: u64, threads: usize) -> u64 {
    let op = operator(profile);
    let mut choices = Choices::new(target);
    choices.plan = plan;
    let engine = Compiler::with(choices).engine(&Source::from(&op), Backend::Cpu);
    let engine = engine.expect("an engine");
    let s = Signature::from(&op);
    let x = Inputs::generate(&s, 1, seq_len, 0).expect("memory");
    let n = seq_len as usize;
    let mut out = Tensor::zeros(s.dtype, &s.query_shape(1, n)).expect("memory");
    let mut lse = Tensor::zeros(Storage::F32, &s.lse_shape(1, n)).expect("memory");
    for t in [&mut out, &mut lse] {
        if let SliceMut::F32(x) = t.view_mut().data_mut() {
            x.fill(1.0);
        }
    }
    // 5: the highest resident size begins anew at the present one.
    std::fs::write("/proc/self/clear_refs", "5").expect("this process's own");
    let before = status("VmRSS");
    let call = Call::new(x.q.view(), x.k.view(), x.v.view(), out.view_mut())
        .lse(lse.view_mut())
        .threads(threads);
    engine.forward(call).expect("a launch");
    status("VmHWM").saturating_sub(before)
}

const CASES: [(&str, Plan, Profile); 3] = [
    ("share", Plan::Share, Profile::PAPER),
    ("each", Plan::Each, Profile::PAPER),
    ("torchscale", Plan::Each, Profile::TORCHSCALE),
];

/// Runs one case if the variable says which, and prints its growth; does nothing by itself.
#[test]
fn one_case() {
    let Ok(case) = std::env::var("MEMORY_CASE") else {
        return;
    };
    let words: Vec<&str> = case.split(' ').collect();
    let (_, plan, profile) = CASES.into_iter().find(|c| c.0 == words[0]).expect("known");
    let (n, threads) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    println!("GROWTH {}", growth(words[3], plan, profile, n, threads));
}

#[test]
fn a_launch_takes_a_little_memory_a_thread_whatever_the_length() {
    let portable = std::env::consts::ARCH;
    let best = targets().last().map_or(portable, |t| t.name());
    for (name, _, _) in CASES {
        for (n, threads, target) in [(4096, 1, portable), (32768, 1, portable), (32768, 2, best)] {
            let me = std::env::current_exe().expect("this test");
            let child = Command::new(me)
                .args(["one_case", "--exact", "--nocapture", "--test-threads=1"])
                .env("MEMORY_CASE", format!("{name} {n} {threads} {target}"))
                .output()
                .expect("runs");
            let text = String::from_utf8_lossy(&child.stdout);
            let grown = text.split("GROWTH ").nth(1).and_then(|t| t.lines().next());
            let grown: u64 = grown.expect("a figure").trim().parse().expect("a number");
            let most = threads * (THREAD + u64::from(BRANCHES) * PANEL);
            println!("{name} {target} N {n} threads {threads}: {grown} of {most} bytes");
            assert!(
                grown <= most,
                "{name} N {n} threads {threads}: {grown} > {most}"
            );
            // A measure that sees nothing would pass too.
            assert!(grown > 400_000, "{name} N {n}: {grown}");
        }
    }
}
