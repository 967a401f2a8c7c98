// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Machine code for AVX-512 in Bochs' CPU, an independent emulator, on machines that lack it and on those that do not.
//!
//! In: operators. Out: agreement with the oracle and the tile interpreter, guards untouched, refusals where a processor lacks something.

use attnc::pipeline::Plan;
use attnc_tests::bochs::{
    Arg, HASWELL, Image, Processor, SAPPHIRE_RAPIDS, SKYLAKE_X, Stopped, there,
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
