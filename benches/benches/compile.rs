// SPDX-License-Identifier: Apache-2.0 OR MIT
//! From `.attn` text to a callable kernel, cold: nothing is kept from one round to the next. Goals: 25 ms for five branches, 1 s for 16.

use attnc::CpuTarget;
use attnc::pipeline::Plan;
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
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
