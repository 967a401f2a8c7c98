// SPDX-License-Identifier: Apache-2.0 OR MIT
//! Prints this machine's f32 ceilings of one thread as JSON: `{"128": GFLOP/s, "256": ..., "512": ...}`, the widths it has. Wider or newer
//! comparisons (`benches/peers`) read it; pin it with `taskset -c 0` as they pin what they measure.

use attnc_benches::Fma;

fn main() {
    let widths: Vec<String> = Fma::here()
        .into_iter()
        .map(|f| format!("\"{}\": {:.1}", f.bits(), f.ceiling()))
        .collect();
    println!("{{{}}}", widths.join(", "));
}
