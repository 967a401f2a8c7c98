// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The oracle against what the original implementation gave (tests/golden, made elsewhere; its README tells how).
//!
//! In: 26 files. Out: agreement to the rounding of the stored type, 2e-7 relative (1e-12 for the float64 file), of out, lse, every branch's lse and the
//! gradients in four variants: unprefixed = `semantics = torchscale`; `exact_` = that with `gradient = exact`; `masked_` = `offsets = blocked`,
//! `gradient = detached`; `masked_exact_` = `offsets = blocked`. Where a `masked_` tensor is absent, the unprefixed one holds for both.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use attnc_oracle::{Inputs, branch_lse, forward, gradients};
use attnc_spec::{Branch, Gradient, Offsets, Operator, Precision, Profile, Segment};
use attnc_tensor::measure::frobenius;
use attnc_tensor::{DType, Storage, Tensor, TensorFile};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn ints(v: &Value) -> Vec<u64> {
    v.as_array()
        .unwrap()
        .iter()
        .map(|x| x.as_u64().unwrap())
        .collect()
}

fn operator(c: &Value, profile: Profile) -> Operator {
    let number = |key: &str| c[key].as_u64().unwrap() as u32;
    assert_eq!(c["scale"], "1/sqrt(head_dim)");
    let (w, r) = (ints(&c["segment_lengths"]), ints(&c["dilation_rates"]));
    let branch = |(&w, &dilation)| Branch {
        segment: Segment::Finite(w),
        dilation,
    };
    Operator {
        name: c["name"].as_str().unwrap().to_owned(),
        heads: number("heads"),
        kv_heads: number("heads"),
        head_dim: number("head_dim"),
        dtype: DType::F32,
        precision: Precision::Standard,
        causal: c["causal"].as_bool().unwrap(),
        // The scale is kept in float64: every file says "1/sqrt(head_dim)".
        scale: 1.0 / f64::from(number("head_dim")).sqrt(),
        profile,
        branches: w.iter().zip(&r).map(branch).collect(),
    }
}

/// One file being checked.
struct Case {
    name: String,
    file: TensorFile,
    tolerance: f64,
    used: BTreeSet<String>,
    failures: Vec<String>,
}

impl Case {
    fn has(&self, name: &str) -> bool {
        self.file.names().iter().any(|n| n == name)
    }

    fn check(&mut self, what: &str, name: &str, got: &Tensor) {
        self.used.insert(name.to_owned());
        let want = self.file.load(name).unwrap();
        assert_eq!(want.shape(), got.shape(), "{} {name}", self.name);
        let (got, want) = (got.to_f64(), want.to_f64());
        let error = if name.ends_with("lse") {
            lse_error(&got, &want)
        } else {
            // Whole norm, and no element far off while the norm hides it.
            let scale = want.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let most = got
                .iter()
                .zip(&want)
                .map(|(g, w)| (g - w).abs())
                .fold(0.0, f64::max);
            frobenius(got.iter().copied(), want.iter().copied()).max(if scale > 0.0 {
                most / scale
            } else {
                most
            })
        };
        if error.is_nan() || error > self.tolerance {
            self.failures
                .push(format!("{} {what} {name}: {error:.3e}", self.name));
        }
    }
}

/// Largest |got - want| / max(1, |want|); infinite where only one of the two says "not covered".
fn lse_error(got: &[f64], want: &[f64]) -> f64 {
    let one = |(g, w): (&f64, &f64)| match (*g == f64::NEG_INFINITY, *w <= -9e7) {
        (true, true) => 0.0,
        (false, false) => (g - w).abs() / w.abs().max(1.0),
        (true, false) | (false, true) => f64::INFINITY,
    };
    got.iter().zip(want).map(one).fold(0.0, f64::max)
}

fn check(path: &Path) -> (usize, Vec<String>) {
    let file = TensorFile::open(path).unwrap();
    let config: Value = serde_json::from_str(file.metadata("config").unwrap()).unwrap();
    let f64_case = config["dtype"] == "f64";
    let mut case = Case {
        name: config["name"].as_str().unwrap().to_owned(),
        tolerance: if f64_case { 1e-12 } else { 2e-7 },
        file,
        used: BTreeSet::new(),
        failures: Vec::new(),
    };
    let load = |name: &str| case.file.load_as(name, Storage::F64).unwrap();
    let [q, k, v, dout] = ["q", "k", "v", "dout"].map(load);
    let masked = Profile {
        offsets: Offsets::Blocked,
        gradient: Gradient::Detached,
        ..Profile::PAPER
    };
    for (family, profile) in [("", Profile::TORCHSCALE), ("masked_", masked)] {
        let twin = |case: &Case, name: &str| {
            let full = format!("{family}{name}");
            if case.has(&full) {
                full
            } else {
                name.to_owned()
            }
        };
        let op = operator(&config, profile);
        let x = Inputs::new(&op, &q.view(), &k.view(), &v.view()).unwrap();
        let f = forward(&op, &x, &|_| ()).unwrap();
        case.check(family, &twin(&case, "out"), &f.out);
        case.check(family, &twin(&case, "lse"), &f.lse);
        if family.is_empty() {
            case.check(family, "branch_lse", &branch_lse(&op, &x).unwrap());
        } else if case.has("masked_branch_lse") {
            case.check(family, "masked_branch_lse", &branch_lse(&op, &x).unwrap());
        }
        for (prefix, gradient) in [("", Gradient::Detached), ("exact_", Gradient::Exact)] {
            let mut op = op.clone();
            op.profile.gradient = gradient;
            let g = gradients(&op, &x, &dout.view(), None).unwrap();
            for (name, got) in [("dq", &g.dq), ("dk", &g.dk), ("dv", &g.dv)] {
                // dv is the same in both and stored once.
                let name = format!("{prefix}{name}");
                let full = twin(&case, &name);
                let full = if case.has(&full) {
                    full
                } else {
                    twin(&case, &name[prefix.len()..])
                };
                case.check(&format!("{family}{prefix}"), &full, got);
            }
        }
    }
    let expected: BTreeSet<String> = case.file.names().into_iter().collect();
    for name in &expected {
        if !["q", "k", "v", "dout"].contains(&name.as_str()) && !case.used.contains(name) {
            case.failures
                .push(format!("{}: {name} was never compared", case.name));
        }
    }
    (case.used.len(), case.failures)
}

#[test]
fn every_golden_file_is_reproduced() {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    paths.sort();
    assert_eq!(paths.len(), 26);
    let (mut tensors, mut failures) = (0, Vec::new());
    for p in &paths {
        let (n, f) = check(p);
        tensors += n;
        failures.extend(f);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    println!("{tensors} tensors of {} files", paths.len());
}
