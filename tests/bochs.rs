// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Guests of many processors, by an emulator: what the harness sees of them, what programs find out about them, and what they leave as
//! it was.
//!
//! In: small functions, an operator. Out: faults by name; the body that fits each processor, or a refusal; MXCSR untouched.

use attnc::pipeline::{self, Choices};
use attnc::{Inputs, Signature};
use attnc_codegen_cpu::{
    CpuTarget, Detect, ERROR_MACHINE, Family, Level, Part, Program, compile_parts,
};
use attnc_spec::{Branch, Operator, Precision, Profile, Segment};
use attnc_tensor::DType;
use attnc_tests::bochs::{
    AVX, Arg, HASWELL, Image, MXCSR, Processor, Refused, SANDY_BRIDGE, SAPPHIRE_RAPIDS, SKYLAKE_X,
    SSE, Stopped, forward, there,
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
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: true,
        scale: 0.3,
        profile: Profile::PAPER,
        branches: vec![branch(32, 1), branch(128, 2)],
    }
}

fn core(target: CpuTarget) -> Core {
    let choices = Choices::new(target.name());
    let graph = pipeline::graph(&operator()).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("rewriting ends");
    pipeline::tile(&fused.graph, &choices).expect("a program")
}

/// The bits of a run.
fn bits(program: &Program, p: &Processor) -> Result<Vec<u8>, Refused> {
    let op = operator();
    let x = Inputs::generate(&Signature::from(&op), 1, 150, 8).expect("small");
    forward(program, &op, &x, p).map(|y| [y.out.bytes(), y.lse.bytes()].concat())
}

/// One program for every `x86_64`: each processor runs the best body that it and its system have, and raises nothing.
#[test]
fn every_processor_runs_the_body_that_fits_it() {
    if !there() {
        return;
    }
    let targets = CpuTarget::ALL.map(|t| (t.family() == Family::X86_64).then_some(t));
    let cores: Vec<(Core, CpuTarget)> = targets
        .into_iter()
        .flatten()
        .map(|t| (core(t), t))
        .collect();
    let parts: Vec<Part<'_>> = cores.iter().map(|(c, t)| Part::of(c, *t)).collect();
    let joined = |detect| compile_parts(&parts, detect).expect("code");
    let program = joined(Detect::Machine);
    // What each body gives, on a processor that has everything.
    let alone = |level: Level| {
        let part = parts
            .iter()
            .find(|p| p.levels.contains(&level))
            .expect("a part");
        let levels = [level];
        let part = Part {
            levels: &levels,
            ..*part
        };
        let program = compile_parts(&[part], Detect::Trusted).expect("code");
        bits(&program, &SAPPHIRE_RAPIDS).unwrap_or_else(|e| panic!("{e}"))
    };
    let [base, v3, v4] = [Level::Base, Level::V3, Level::V4].map(alone);
    assert!(base != v3 && v3 != v4 && base != v4);
    let system = |p: Processor, xcr0| Processor { xcr0, ..p };
    for (p, want) in [
        (SANDY_BRIDGE, &base),
        (system(HASWELL, SSE), &base),
        (HASWELL, &v3),
        (system(SKYLAKE_X, AVX), &v3),
        (system(SKYLAKE_X, SSE), &base),
        (SKYLAKE_X, &v4),
    ] {
        let got = bits(&program, &p).unwrap_or_else(|e| panic!("{p:?}: {e}"));
        assert!(got == *want, "{p:?} runs another body");
    }
    // What a program is told counts, whatever the processor has.
    for (told, want) in [(Level::Base, &base), (Level::V3, &v3), (Level::V4, &v4)] {
        let got = bits(&joined(Detect::Told(told.needs())), &SAPPHIRE_RAPIDS);
        assert!(got.as_ref() == Ok(want), "{told:?}");
    }
}

#[test]
fn a_processor_without_any_body_is_told_so() {
    if !there() {
        return;
    }
    let core = core(CpuTarget::X86_64V4);
    let part = [Part::of(&core, CpuTarget::X86_64V4)];
    let asking = compile_parts(&part, Detect::Machine).expect("code");
    for p in [
        SANDY_BRIDGE,
        HASWELL,
        Processor {
            xcr0: AVX,
            ..SKYLAKE_X
        },
    ] {
        assert_eq!(
            bits(&asking, &p),
            Err(Refused::Plan(ERROR_MACHINE)),
            "{p:?}"
        );
    }
    // The test above can fail: code that does not ask stops there.
    let trusting = compile_parts(&part, Detect::Trusted).expect("code");
    match bits(&trusting, &HASWELL) {
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
    let core = core(CpuTarget::X86_64V4);
    let program = compile_parts(&[Part::of(&core, CpuTarget::X86_64V4)], Detect::Machine);
    let program = program.expect("code");
    let want = bits(&program, &SKYLAKE_X).unwrap_or_else(|e| panic!("{e}"));
    for mxcsr in [
        MXCSR | flush,
        MXCSR | upwards,
        MXCSR & !masks,
        flush | upwards,
    ] {
        let p = Processor { mxcsr, ..SKYLAKE_X };
        let got = bits(&program, &p).unwrap_or_else(|e| panic!("{mxcsr:#x}: {e}"));
        assert!(got == want, "{mxcsr:#x}");
    }
}
