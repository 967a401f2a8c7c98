// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From `.attn` text to a callable kernel, cold: nothing is kept from one round to the next; and to an object file for every target, also
//! those that this machine does not run. Goals: 25 ms for five branches, 1 s for 16.

use attnc::CpuTarget;
use attnc::pipeline::{self, Choices, Plan};
use attnc_benches::{Case, compile};
use criterion::{Criterion, criterion_group, criterion_main};

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("compile");
    group.sample_size(20);
    let mut sixteen = Case::geometric(15);
    sixteen.name = "geometric16".to_string();
    for case in [
        Case::c1("C1", "dtype = f32"),
        Case::c2("C2", "dtype = f32"),
        sixteen,
    ] {
        for (name, plan) in [("share", Plan::Share), ("each", Plan::Each)] {
            group.bench_function(format!("{}/{name}", case.name), |b| {
                b.iter(|| compile(&case, CpuTarget::X86_64, plan))
            });
        }
    }
    for dtype in ["f32", "bf16"] {
        let case = Case::c2(&format!("C2-{dtype}"), &format!("dtype = {dtype}"));
        for target in CpuTarget::ALL {
            group.bench_function(format!("{}/object/{}", case.name, target.name()), |b| {
                b.iter(|| object(&case, target))
            });
        }
    }
    group.finish();
}

/// From text to the bytes of an object file.
fn object(case: &Case, target: CpuTarget) -> Vec<u8> {
    let choices = Choices::new(target.name());
    let graph = pipeline::graph(&case.operator()).expect("a graph");
    let fused = pipeline::fuse(&graph, &choices).expect("a plan");
    let cores = pipeline::tiles(&fused.graph, &choices).expect("programs");
    pipeline::object("bench", &cores).expect("an object")
}

criterion_group!(all, benches);
criterion_main!(all);
