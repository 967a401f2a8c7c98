// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Thread instructions a second for a flash-attention loop on one core of the host, without
//! and with the race check. The goals are 20 and 5 million.

use attnc_ptx::emu::{Launch, Memory, Options, Program};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn attention(c: &mut Criterion) {
    // bf16, 2 heads of 64, every second row of 1024, causal; 8 blocks a head.
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/ptx/triton/sm80_attn_bf16_1.ptx");
    let text = std::fs::read_to_string(path).expect("the kernel");
    let module = attnc_ptx::parse(&text).expect("parses");
    let mut memory = Memory::new();
    let program = Program::load(module, &mut memory);
    let (rows, heads, depth) = (1024u64, 2u64, 64u64);
    let mut params = Vec::new();
    for seed in 0..4u64 {
        let bytes = rows * heads * depth * 2;
        let a = memory.alloc(bytes);
        // bf16 numbers between 0.5 and 1.
        let data: Vec<u8> = (0..bytes / 2)
            .flat_map(|k| (0x3f00u16 | ((k * 37 + seed * 11) % 128) as u16).to_le_bytes())
            .collect();
        memory.write(a, &data).expect("fits");
        params.extend_from_slice(&a.to_le_bytes());
    }
    let lse = memory.alloc(rows * heads * 4);
    params.extend_from_slice(&lse.to_le_bytes());
    params.extend_from_slice(&0.18f32.to_le_bytes());
    params.extend_from_slice(&((rows / 2) as u32).to_le_bytes());
    params.extend_from_slice(&[0; 16]);
    let launch = Launch {
        entry: "attn",
        grid: [8, 2, 1],
        block: [128, 1, 1],
        dynamic_shared: 64 << 10,
        params: &params,
    };
    let run = |races: bool, counters: bool| {
        let o = Options {
            races,
            counters,
            threads: 1,
            ..Options::default()
        };
        program.launch(&memory, &launch, &o).expect("runs")
    };
    let n = run(false, true).thread_instructions;
    let mut g = c.benchmark_group("flash_attention");
    g.sample_size(10).throughput(Throughput::Elements(n));
    g.bench_function("unchecked", |b| b.iter(|| run(false, false)));
    g.bench_function("races", |b| b.iter(|| run(true, false)));
    g.finish();
}

criterion_group!(benches, attention);
criterion_main!(benches);
