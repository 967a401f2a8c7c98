// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The corpus: the operators of `dsl/examples/` and `tests/cases/` at the sizes they run at, and the golden files.
//!
//! In: a path. Out: [`Case`]s, or operators with tensors. A file names its lengths in a line `// N = 1, 7, 64`; without one it runs at
//! [`LENGTHS`].

use std::path::Path;
use std::sync::Arc;

use attnc::{Inputs, Signature};
use attnc_spec::{
    Branch, Gradient, LoadError, Loaded, Loader, Offsets, Operator, Precision, Profile, Segment,
    resolve,
};
use attnc_tensor::{DType, Storage, Tensor, TensorFile};
use serde_json::Value;

use crate::random::Case;

/// Lengths for files that name none: one token, less than a tile, a tile, one more, several tiles.
pub const LENGTHS: [usize; 5] = [1, 7, 64, 65, 1003];

/// Files beside the file that uses them.
struct Beside;

impl Loader for Beside {
    fn load(&mut self, from: &str, path: &str) -> Result<Loaded, LoadError> {
        let at = Path::new(from).with_file_name(path);
        let text = std::fs::read_to_string(&at).map_err(|_| LoadError::NotFound)?;
        Ok(Loaded::text(&at.to_string_lossy(), &text))
    }
}

/// The own operators of a file, each at every length. Panics with the file's mistakes: the corpus has none.
pub fn cases(path: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(path).expect("a case can be read");
    let found = resolve(
        vec![Ok(Loaded::text(&path.to_string_lossy(), &text))],
        &mut Beside,
    );
    let mistakes: Vec<&str> = found.diagnostics.iter().map(|d| &*d.message).collect();
    assert!(!found.has_errors(), "{}: {mistakes:?}", path.display());
    let lengths = lengths(&text);
    let sizes = |op: &Arc<Operator>| {
        let op = (**op).clone();
        let case = move |&seq_len: &usize| Case {
            op: op.clone(),
            batch: if seq_len < 1000 { 2 } else { 1 },
            seq_len,
            seed: seq_len as u64,
        };
        lengths.iter().map(case).collect::<Vec<_>>()
    };
    found.files[0].own.iter().flat_map(sizes).collect()
}

/// The lengths of the line `// N = ...`.
fn lengths(text: &str) -> Vec<usize> {
    match text.lines().find_map(|l| l.strip_prefix("// N = ")) {
        None => LENGTHS.to_vec(),
        Some(list) => list
            .split(", ")
            .map(|n| n.trim().parse().expect("a length"))
            .collect(),
    }
}

/// Tensors that the original implementation made.
#[derive(Debug)]
pub struct Golden {
    /// The operator that should give them.
    pub case: Case,
    /// Its inputs in f32.
    pub x: Inputs,
    /// The original's `out`.
    pub out: Tensor,
    /// The original's `lse`; <= -9e7 stands for -inf.
    pub lse: Tensor,
}

/// What a golden file holds of the forward pass: `semantics = torchscale` and `offsets = blocked` alone (its README tells).
pub fn golden(path: &Path) -> Vec<Golden> {
    let file = TensorFile::open(path).expect("a golden file");
    let config: Value =
        serde_json::from_str(file.metadata("config").expect("a config")).expect("JSON");
    let number = |key: &str| config[key].as_u64().expect("a number");
    let numbers = |key: &str| -> Vec<u64> {
        let all = config[key].as_array().expect("a list").iter();
        all.map(|x| x.as_u64().expect("a number")).collect()
    };
    let names = file.names();
    let masked = Profile {
        offsets: Offsets::Blocked,
        gradient: Gradient::Detached,
        ..Profile::PAPER
    };
    let variant = |(prefix, profile): (&str, Profile)| {
        let head_dim = number("head_dim") as u32;
        let (w, r) = (numbers("segment_lengths"), numbers("dilation_rates"));
        let branch = |(&w, &dilation)| Branch {
            segment: Segment::Finite(w),
            dilation,
        };
        let load = |name: &str, as_type: Storage| {
            let full = format!("{prefix}{name}");
            let name = if names.contains(&full) { &full } else { name };
            file.load_as(name, as_type).expect("a tensor")
        };
        let op = Operator {
            name: config["name"].as_str().expect("a name").to_owned(),
            heads: number("heads") as u32,
            kv_heads: number("heads") as u32,
            head_dim,
            dtype: DType::F32,
            precision: Precision::Standard,
            causal: config["causal"].as_bool().expect("a boolean"),
            scale: 1.0 / f64::from(head_dim).sqrt(),
            profile,
            branches: w.iter().zip(&r).map(branch).collect(),
        };
        let x = Inputs::load(&Signature::from(&op), path).expect("q, k and v");
        Golden {
            case: Case {
                op,
                batch: x.batch,
                seq_len: x.seq_len,
                seed: 0,
            },
            out: load("out", Storage::F64),
            lse: load("lse", Storage::F64),
            x,
        }
    };
    [("", Profile::TORCHSCALE), ("masked_", masked)]
        .map(variant)
        .into()
}
