// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guests of many processors, by an emulator: what the harness sees of them, what programs find out about them, and what they leave as
//! it was.
//!
//! In: small functions, an operator. Out: faults by name; the body that fits each processor, or a refusal; MXCSR untouched.

use std::collections::BTreeMap;

use attnc::pipeline::{self, Choices};
use attnc::{Inputs, Signature};
use attnc_codegen_cpu::{
    CpuTarget, Detect, ERROR_MACHINE, Family, Level, Part, Program, compile_parts,
};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use attnc_tests::bochs::{
    AVX, AVX512, Arg, HASWELL, Image, MXCSR, Processor, Refused, SANDY_BRIDGE, SAPPHIRE_RAPIDS,
    SAPPHIRE_RAPIDS_AMX, SAPPHIRE_RAPIDS_DENIED, SAPPHIRE_RAPIDS_TILES, SKYLAKE_X, SSE, Stopped,
    forward, there,
};
use attnc_tile::core::Core;

/// The harness itself: guards, protection and refusals are seen, and named.
#[test]
fn what_a_guest_does_wrong_is_told() {
    if !there() {
        return;
    }
    let fault = |code: &[u8], write: bool, processor: &Processor| {
        let mut image = Image::code(code);
        let args = [8, 16].map(|n| Arg::At(image.buffer(&vec![0; n], 8)));
        let constant = Arg::At(image.constant(&[0; 8], 8));
        image.call("code", &[if write { args[0] } else { constant }, args[1]]);
        match image.run(processor) {
            Err(Stopped::Fault(f, name)) => Some((f.vector, name, f.memory % 4096)),
            Ok(_) => None,
            Err(Stopped::Harness(why)) => panic!("{why}"),
        }
    };
    let at = |far: u32| format!("code+{far:#x}");
    // mov [rdi], rax; ret: allowed, and refused where the buffer is constant.
    let store = [0x48, 0x89, 0x07, 0xc3];
    assert_eq!(fault(&store, true, &HASWELL), None);
    assert_eq!(fault(&store, false, &HASWELL), Some((14, at(0), 0xff8)));
    // nop; mov [rdi + 1], rax; ret: one byte into the guard.
    let beyond = [0x90, 0x48, 0x89, 0x47, 0x01, 0xc3];
    assert_eq!(fault(&beyond, true, &HASWELL), Some((14, at(1), 0)));
    // call rdi: data are no code.
    assert_eq!(fault(&[0xff, 0xd7], true, &HASWELL).map(|f| f.0), Some(14));
    // vaddps zmm0, zmm0, zmm0; vdpbf16ps zmm0, zmm0, zmm0; ret
    let wide = [
        0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc0, 0x62, 0xf2, 0x7e, 0x48, 0x52, 0xc0, 0xc3,
    ];
    assert_eq!(fault(&wide, true, &HASWELL), Some((6, at(0), 0)));
    assert_eq!(fault(&wide, true, &SKYLAKE_X), Some((6, at(6), 0)));
    assert_eq!(fault(&wide, true, &SAPPHIRE_RAPIDS), None);
    // mov rbx, rdi; ret: callers keep RBX.
    let kept = fault(&[0x48, 0x89, 0xfb, 0xc3], true, &HASWELL);
    assert_eq!(kept.map(|f| f.0), Some(-1));
    // mov eax, 39; syscall; ret: no system call is foreseen.
    let call = [0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3];
    assert_eq!(fault(&call, true, &HASWELL), Some((128, at(5), 0)));
}

fn operator() -> Operator {
    let branch = |w, dilation| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    Operator {
        name: "op".into(),
        heads: 2,
        kv_heads: 1,
        head_dim: 9,
        dtype: DType::Bf16,
        precision: Precision::Standard,
        causal: true,
        scale: 0.3,
        profile: Profile::PAPER,
        branches: vec![branch(32, 1), branch(128, 2)],
    }
}

/// The programs for a target, each with what it needs.
fn cores(target: CpuTarget) -> Vec<(Core, CpuTarget)> {
    let choices = Choices::new(target.name());
    let graph = pipeline::graph(&operator()).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    let cores = pipeline::tiles(&fused.graph, &choices).expect("programs");
    cores.into_iter().map(|c| (c, target)).collect()
}

fn compile(cores: &[(Core, CpuTarget)], detect: Detect) -> Program {
    let parts: Vec<Part<'_>> = cores.iter().map(|(c, t)| Part::of(c, *t)).collect();
    compile_parts(&parts, detect).expect("code")
}

/// The body that ran, and the bits that it gave.
fn run(program: &Program, p: &Processor) -> Result<(Option<Level>, Vec<u8>), Refused> {
    let op = operator();
    let x = Inputs::generate(&Signature::from(&op), 1, 150, 8).expect("small");
    let done = forward(program, &op, &x, p)?;
    let bits = [done.outcome.out.bytes(), done.outcome.lse.bytes()].concat();
    Ok((done.level, bits))
}

/// One program for every `x86_64`: each processor runs the best body that it and its system have, and raises nothing.
#[test]
fn every_processor_runs_the_body_that_fits_it() {
    if !there() {
        return;
    }
    let targets = CpuTarget::ALL
        .into_iter()
        .filter(|t| t.family() == Family::X86_64);
    let cores: Vec<(Core, CpuTarget)> = targets.flat_map(cores).collect();
    let parts: Vec<Part<'_>> = cores.iter().map(|(c, t)| Part::of(c, *t)).collect();
    // What a body gives alone, on a processor that has everything.
    let alone = |level: Level| {
        let part = parts.iter().find(|p| p.levels.contains(&level));
        let levels = [level];
        let part = Part {
            levels: &levels,
            ..*part.expect("a part")
        };
        let program = compile_parts(&[part], Detect::Trusted).expect("code");
        let (ran, bits) = run(&program, &SAPPHIRE_RAPIDS_TILES).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(ran, Some(level));
        bits
    };
    let levels: Vec<Level> = parts.iter().flat_map(|p| p.levels).copied().collect();
    let wanted: BTreeMap<Level, Vec<u8>> = levels.iter().map(|l| (*l, alone(*l))).collect();
    let [base, v3, v4] = [Level::Base, Level::V3, Level::V4].map(|l| &wanted[&l]);
    assert!(base != v3 && v3 != v4 && base != v4);
    let highest = |most: Level| levels.iter().filter(|l| **l <= most).max().copied();
    let system = |p: Processor, xcr0| Processor { xcr0, ..p };
    let program = compile(&cores, Detect::Machine);
    for (p, most) in [
        (SANDY_BRIDGE, Level::Base),
        (system(HASWELL, SSE), Level::Base),
        (HASWELL, Level::V3),
        (system(SKYLAKE_X, AVX), Level::V3),
        (system(SKYLAKE_X, SSE), Level::Base),
        (SKYLAKE_X, Level::V4),
        (SAPPHIRE_RAPIDS, Level::V4Bf16),
        (SAPPHIRE_RAPIDS_DENIED, Level::V4Bf16),
        (system(SAPPHIRE_RAPIDS_AMX, AVX512), Level::V4Bf16),
        (SAPPHIRE_RAPIDS_AMX, Level::Amx),
    ] {
        let (ran, bits) = run(&program, &p).unwrap_or_else(|e| panic!("{p:?}: {e}"));
        assert_eq!(ran, highest(most), "{p:?}");
        assert!(ran.is_some_and(|l| bits == wanted[&l]), "{p:?}");
    }
    // What a program is told counts, whatever the processor has.
    for told in &levels {
        let program = compile(&cores, Detect::Told(told.needs()));
        let (ran, bits) = run(&program, &SAPPHIRE_RAPIDS_TILES).unwrap_or_else(|e| panic!("{e}"));
        let same = |l: Level| l.needs() == told.needs();
        assert!(
            ran.is_some_and(|l| same(l) && bits == wanted[&l]),
            "{told:?}: {ran:?}"
        );
    }
}

#[test]
fn a_processor_without_any_body_is_told_so() {
    if !there() {
        return;
    }
    let cores = cores(CpuTarget::X86_64V4);
    let asking = compile(&cores, Detect::Machine);
    for p in [
        SANDY_BRIDGE,
        HASWELL,
        Processor {
            xcr0: AVX,
            ..SKYLAKE_X
        },
    ] {
        assert_eq!(run(&asking, &p), Err(Refused::Plan(ERROR_MACHINE)), "{p:?}");
    }
    // The test above can fail: code that does not ask stops there.
    let trusting = compile(&cores, Detect::Trusted);
    match run(&trusting, &HASWELL) {
        Err(Refused::Stopped(Stopped::Fault(f, _))) => assert_eq!(f.vector, 6),
        other => panic!("{other:?}"),
    }
}

/// Whatever the caller has set for its own arithmetic (flushing, rounding upwards, exceptions that stop it), results are the same, and it
/// finds its settings again.
#[test]
fn arithmetic_of_the_caller_neither_counts_nor_changes() {
    if !there() {
        return;
    }
    let (flush, upwards, masks) = (0x8040, 0x4000, 0x1f80);
    for (target, p) in [
        (CpuTarget::X86_64V4, SKYLAKE_X),
        (CpuTarget::X86_64V4, SAPPHIRE_RAPIDS),
        (CpuTarget::X86_64Amx, SAPPHIRE_RAPIDS_AMX),
    ] {
        let program = compile(&cores(target), Detect::Machine);
        let want = run(&program, &p).unwrap_or_else(|e| panic!("{e}"));
        for mxcsr in [
            MXCSR | flush,
            MXCSR | upwards,
            MXCSR & !masks,
            flush | upwards,
        ] {
            let p = Processor { mxcsr, ..p };
            let got = run(&program, &p).unwrap_or_else(|e| panic!("{mxcsr:#x}: {e}"));
            assert!(got == want, "{mxcsr:#x}");
        }
    }
}
