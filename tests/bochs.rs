// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machine code for AVX-512 in Bochs' CPU, an independent emulator, on machines that lack it and on those that do not.
//!
//! In: operators. Out: agreement with the oracle and the tile interpreter, guards untouched, refusals where a processor lacks something.

use attnc::pipeline::{self, Choices, Plan};
use attnc_codegen_cpu::{ABI, Args, CpuTarget, Detect, Level, Part, compile_parts};
use attnc_spec::Operator;
use attnc_tests::bochs::{
    Arg, HASWELL, Image, Processor, SAPPHIRE_RAPIDS, SAPPHIRE_RAPIDS_AMX, SAPPHIRE_RAPIDS_DENIED,
    SKYLAKE_X, Stopped, there,
};
use attnc_tests::engines::Engine;
use attnc_tests::random::cases;

#[test]
fn avx_512_agrees_with_the_oracle_on_random_operators() {
    if !there() {
        return;
    }
    for plan in [Plan::Share, Plan::Each] {
        let engine = Engine::emulated(Some(plan));
        cases(5, 150, |c| engine.check(c).map(|_| ()));
    }
}

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

/// The detecting function asks each processor by the words of its manual, and Linux for tiles: what it grants or refuses decides, and
/// nobody is asked where there are no tiles.
#[test]
fn plan_takes_the_best_level_of_the_processor_and_its_system() {
    if !there() {
        return;
    }
    let text = "attention op { heads = 1, head_dim = 8, branch { segment = 16 } }";
    let parsed = attnc::Attention::parse(text).expect("an operator");
    let op: &Operator = parsed.operator();
    let core = |target: CpuTarget| {
        let choices = Choices::new(target.name());
        let fused = pipeline::fuse(&pipeline::graph(op).expect("a graph"), &choices);
        pipeline::tile(&fused.expect("rewriting ends").graph, &choices).expect("a program")
    };
    let levels = [
        (CpuTarget::X86_64, &[Level::Base, Level::Fma][..]),
        (CpuTarget::X86_64V3, &[Level::V3]),
        (CpuTarget::X86_64V4, &[Level::V4, Level::V4Bf16]),
        (CpuTarget::X86_64Amx, &[Level::Amx]),
    ];
    let cores = levels.map(|(target, _)| core(target));
    let parts = [0, 1, 2, 3].map(|i| Part {
        core: &cores[i],
        target: levels[i].0,
        levels: levels[i].1,
    });
    let program = compile_parts(&parts, Detect::Machine).expect("code");
    // The system's state components without those of AVX-512.
    let narrow = Processor {
        xcr0: HASWELL.xcr0,
        ..SAPPHIRE_RAPIDS
    };
    for (p, level) in [
        (HASWELL, Level::V3),
        (SKYLAKE_X, Level::V4),
        (SAPPHIRE_RAPIDS, Level::V4Bf16),
        (narrow, Level::V3),
        (SAPPHIRE_RAPIDS_AMX, Level::Amx),
        (SAPPHIRE_RAPIDS_DENIED, Level::V4Bf16),
    ] {
        let mut image = Image::of(&program);
        let tensor = image.buffer(&[0; 64], 64);
        let mut args = vec![size_of::<Args>() as u64 | (u64::from(ABI) << 32)];
        args.extend([tensor.address; 5]);
        // One sequence of one position, dense.
        args.extend([1, 1]);
        args.resize(size_of::<Args>() / 8, 8);
        let args: Vec<u8> = args.iter().flat_map(|w| w.to_le_bytes()).collect();
        let args = image.constant(&args, 8);
        let plan = image.buffer(&vec![0xff; program.layout().plan_bytes], 8);
        let call = image.call("attnc_op_plan", &[Arg::At(args), Arg::At(plan)]);
        let ran = image.run(&p).unwrap_or_else(|e| panic!("{p:?}: {e}"));
        assert_eq!(ran.calls[call].rax, 1, "{p:?}");
        let words = ran.bytes(plan).chunks_exact(8);
        let words = words.map(|b| b.iter().rev().fold(0, |x, b| x << 8 | u64::from(*b)));
        let words: Vec<u64> = words.collect();
        assert_eq!(Level::of_plan(&words), Some(level), "{p:?}");
    }
}
