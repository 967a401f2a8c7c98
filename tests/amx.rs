// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Tile instructions in a guest: the harness executes them, for Bochs' CPU does not. Here they come from an assembler, in every form of
//! address; what they compute is checked by `tests/bochs/test_amx.py`.
//!
//! In: small assembled functions. Out: tiles moved and multiplied as Intel's manual says, and refusals where the system grants nothing.

use attnc_tests::bochs::{
    Arg, Image, Processor, SAPPHIRE_RAPIDS, SAPPHIRE_RAPIDS_AMX, SAPPHIRE_RAPIDS_DENIED,
    SAPPHIRE_RAPIDS_TILES, Stopped, python_test, there,
};
use half::bf16;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Assembles a function.
fn code(write: impl Fn(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    let mut a = CodeAssembler::new(64).expect("64-bit code");
    write(&mut a).expect("instructions that exist");
    a.assemble(0).expect("short jumps")
}

/// A tile configuration: rows and bytes a row of the first tiles.
fn config(tiles: &[(u8, u16)]) -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[0] = 1;
    for (i, (rows, columns)) in tiles.iter().enumerate() {
        bytes[16 + 2 * i..18 + 2 * i].copy_from_slice(&columns.to_le_bytes());
        bytes[48 + i] = *rows;
    }
    bytes
}

#[test]
fn the_instructions_of_the_harness_are_those_of_the_manual() {
    if there() {
        python_test("test_amx.py");
    }
}

/// Loads, a product, stores: A is 5 by 6, B is 3 pairs by 7, C is 5 by 7, each with a stride of its own.
#[test]
fn an_assembled_product_of_tiles_comes_out_right() {
    if !there() {
        return;
    }
    let small = |i: usize| bf16::from_f32((i * 7 % 13) as f32 - 6.0);
    let (strides, rows) = ([16, 40, 36], [5, 3, 5]);
    let tensor = |which: usize, seed: usize| -> Vec<u8> {
        let len = strides[which] * rows[which] / 2;
        (0..len)
            .flat_map(|i| small(i + seed).to_le_bytes())
            .collect()
    };
    let (a, b) = (tensor(0, 1), tensor(1, 4));
    let c: Vec<f32> = (0..45).map(|i| i as f32 / 4.0).collect();
    let c: Vec<u8> = c.iter().flat_map(|x| x.to_le_bytes()).collect();
    let write = |asm: &mut CodeAssembler| {
        // rdi config, rsi A, rdx B, rcx C, r8 out, r9 copy of the configuration.
        asm.push(r12)?;
        asm.push(r13)?;
        asm.ldtilecfg(ptr(rdi))?;
        asm.sttilecfg(ptr(r9))?;
        // Base and index alone; a large displacement, a scale.
        asm.mov(eax, strides[0] as i32)?;
        asm.tileloadd(tmm3, ptr(rsi + rax))?;
        asm.mov(r12d, (strides[1] / 4) as i32)?;
        asm.lea(r13, ptr(rdx - 1000))?;
        asm.tileloaddt1(tmm6, ptr(r13 + r12 * 4 + 1000))?;
        // The stack as base, a small displacement, an extended index.
        asm.xchg(rsp, rcx)?;
        asm.mov(r13d, (strides[2] / 2) as i32)?;
        asm.tileloadd(tmm1, ptr(rsp + r13 * 2 + 4))?;
        asm.xchg(rsp, rcx)?;
        asm.tdpbf16ps(tmm1, tmm3, tmm6)?;
        // r13 as base has a displacement, if one of 0.
        asm.lea(r13, ptr(r8))?;
        asm.tilestored(ptr(r13 + r12 * 4), tmm1)?;
        asm.tilezero(tmm1)?;
        // No index: every row goes to the same place. The assembler would leave the byte for it out.
        asm.lea(rax, ptr(r8 + 512))?;
        asm.mov(r12, 0x3f3f_3f3f_3f3f_3f3fu64)?;
        asm.mov(qword_ptr(rax), r12)?;
        asm.db(&[0xc4, 0xe2, 0x7a, 0x4b, 0x0c, 0x20])?;
        asm.tilerelease()?;
        asm.sttilecfg(ptr(r9 + 64))?;
        asm.pop(r13)?;
        asm.pop(r12)?;
        asm.ret()
    };
    let kept = config(&[(0, 0), (5, 28), (0, 0), (5, 12), (0, 0), (0, 0), (3, 28)]);
    let mut image = Image::code(&code(write));
    let given = [&kept, &a, &b].map(|x| Arg::At(image.constant(x, 4)));
    // A row of C begins 4 bytes behind its stride.
    let c_at = image.constant(&c, 4);
    let out = image.buffer(&[0xee; 1024], 4);
    let copy = image.buffer(&[0xee; 128], 4);
    image.call(
        "code",
        &[&given[..], &[Arg::At(c_at), Arg::At(out), Arg::At(copy)]].concat(),
    );
    let ran = image
        .run(&SAPPHIRE_RAPIDS_TILES)
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(ran.bytes(copy), [&kept[..], &[0; 64]].concat());
    let at = |bytes: &[u8], i: usize| bf16::from_le_bytes([bytes[i], bytes[i + 1]]).to_f32();
    let single = |bytes: &[u8], i: usize| {
        f32::from_le_bytes([bytes[i], bytes[i + 1], bytes[i + 2], bytes[i + 3]])
    };
    let mut want = vec![0xee; 1024];
    for m in 0..5 {
        for n in 0..7 {
            let product = |k: usize| {
                let (pair, odd) = (k / 2, k % 2);
                at(&a, m * 16 + k * 2) * at(&b, pair * 40 + n * 4 + odd * 2)
            };
            // Small whole numbers and quarters: exact in any order.
            let sum: f32 = (0..6).map(product).sum();
            let sum = sum + single(&c, m * 36 + 4 + n * 4);
            want[m * 40 + n * 4..][..4].copy_from_slice(&sum.to_le_bytes());
        }
    }
    want[512..540].fill(0);
    assert!(ran.bytes(out) == want);
}

/// Asks as code must: CPUID, XGETBV, the system. Yields 0 where nothing is there, 1 where it is refused, 2 after a tile instruction.
fn asking(asm: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut done = asm.create_label();
    asm.push(rbx)?;
    asm.mov(r8, rdi)?;
    asm.xor(r9d, r9d)?;
    asm.mov(eax, 7)?;
    asm.xor(ecx, ecx)?;
    asm.cpuid()?;
    asm.bt(edx, 24)?;
    asm.jnc(done)?;
    asm.xor(ecx, ecx)?;
    asm.xgetbv()?;
    asm.bt(eax, 18)?;
    asm.jnc(done)?;
    asm.mov(eax, 158)?;
    asm.mov(edi, 0x1023)?;
    asm.mov(esi, 18)?;
    asm.syscall()?;
    asm.inc(r9d)?;
    asm.test(rax, rax)?;
    asm.jnz(done)?;
    asm.ldtilecfg(ptr(r8))?;
    asm.tilerelease()?;
    asm.inc(r9d)?;
    asm.set_label(&mut done)?;
    asm.mov(eax, r9d)?;
    asm.pop(rbx)?;
    asm.ret()
}

fn run(code: &[u8], p: &Processor) -> Result<u64, Stopped> {
    let mut image = Image::code(code);
    let config = Arg::At(image.constant(&config(&[(1, 4)]), 64));
    image.call("code", &[config]);
    image.run(p).map(|ran| ran.calls[0].rax)
}

#[test]
fn tiles_are_there_where_processor_and_system_say_so() {
    if !there() {
        return;
    }
    let asks = code(asking);
    assert_eq!(run(&asks, &SAPPHIRE_RAPIDS), Ok(0));
    assert_eq!(run(&asks, &SAPPHIRE_RAPIDS_DENIED), Ok(1));
    assert_eq!(run(&asks, &SAPPHIRE_RAPIDS_AMX), Ok(2));
    // Who does not ask is stopped: by the processor, by its system.
    let rash = code(|asm| {
        asm.ldtilecfg(ptr(rdi))?;
        asm.tilerelease()?;
        asm.ret()
    });
    let vector = |code: &[u8], p: &Processor| match run(code, p) {
        Err(Stopped::Fault(f, _)) => Some(f.vector),
        Ok(_) => None,
        Err(e) => panic!("{e}"),
    };
    assert_eq!(vector(&rash, &SAPPHIRE_RAPIDS), Some(6));
    assert_eq!(vector(&rash, &SAPPHIRE_RAPIDS_AMX), Some(7));
    assert_eq!(vector(&rash, &SAPPHIRE_RAPIDS_TILES), None);
    // Nor is who leaves tiles behind: the host would save them with every switch of tasks.
    let lazy = code(|asm| {
        asm.ldtilecfg(ptr(rdi))?;
        asm.ret()
    });
    assert_eq!(vector(&lazy, &SAPPHIRE_RAPIDS_TILES), Some(-1));
}
