// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The text forms of the stages, and tensor files.
//!
//! In: bytes. Promises: nothing panics; what is read is printed so that it reads back as itself; what a verifier accepts the next stage
//! takes or refuses in words; a tensor file's tensors are all within it.

use std::path::Path;

use attnc::pipeline::{self, Choices};
use attnc_tensor::{Tensor, TensorFile, write_safetensors};

/// Words of the graph's text.
pub(super) const GRAPH_WORDS: &[&str] = &[
    "graph 1 a",
    "fused 1 a",
    "heads = 1",
    "kv_heads = 1",
    "head_dim = 1",
    "dtype = bf16",
    "causal = true",
    "scale 0.5",
    "%0",
    "%1",
    "%2",
    "%9",
    " = ",
    "input q",
    "input k",
    "input v",
    "gather query br(2, 1) ",
    "gather key br(1, 3) ",
    "br(whole, 1)",
    "br(1099511627776, 1)",
    "scatter ",
    " : ",
    "f32[B, N, 1, 1]",
    "0",
    "1",
    "18446744073709551615",
    "-1",
    "1e400",
    "NaN",
    "inf",
    "//",
    "\n",
    ",",
    "(",
    ")",
    "[",
    "]",
    "merge",
    "softmax",
    "finish",
    "é",
];

/// Words of the tile form.
pub(super) const TILE_WORDS: &[&str] = &[
    "tile 2 a",
    "for ",
    "if ",
    "while ",
    "loop ",
    "let ",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    ",",
    ";",
    ":",
    "=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "min(",
    "max(",
    "select(",
    "gather",
    "scatter",
    "step(",
    "finish(",
    "0",
    "1",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "4294967295",
    "v0",
    "v1",
    "v999999999",
    "f32",
    "i64",
    "é",
    "\n",
    "//",
];

/// What tensor files are made of.
pub(super) const TENSOR_WORDS: &[&str] = &[
    "\"q\"",
    "\"k\"",
    "\"dtype\":",
    "\"F32\"",
    "\"F64\"",
    "\"BF16\"",
    "\"F16\"",
    "\"I64\"",
    "\"U8\"",
    "\"shape\":",
    "\"data_offsets\":",
    "[0,0]",
    "[0,4]",
    "[]",
    "[1]",
    "[4294967296,4294967296]",
    "18446744073709551615",
    "{",
    "}",
    ":",
    ",",
    "\"__metadata__\":{}",
    "\0\0\0\0\0\0\0\0",
    " ",
    "\u{1}\0\0\0\0\0\0\0",
];

/// Graphs as text.
pub(super) fn graph_text(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match attnc_graph::parse(text) {
        Ok(graph) => {
            let printed = attnc_graph::print(&graph);
            assert_eq!(
                attnc_graph::parse(&printed).as_ref(),
                Ok(&graph),
                "{printed}"
            );
            let json = attnc_graph::to_json(&graph);
            if let Ok(json) = json {
                assert_eq!(
                    attnc_graph::from_json(&json).as_ref().ok(),
                    Some(&graph),
                    "{printed}"
                );
            }
            true
        }
        Err(e) => {
            let lines = text.lines().count().max(1);
            assert!(e.line >= 1 && e.column >= 1 && e.line <= lines, "{e}");
            false
        }
    }
}

/// Graphs as text, through rewriting and lowering: each stage takes what the one before made, or says why not.
pub(super) fn lowered_graph(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    let Ok(graph) = attnc_graph::parse(text) else {
        return false;
    };
    let choices = Choices::new("x86_64");
    let fused = match graph.header().form {
        attnc_graph::Form::Fused => graph,
        attnc_graph::Form::Graph => match pipeline::fuse(&graph, &choices) {
            Ok(fused) => fused.graph,
            Err(e) => {
                assert!(!e.to_string().is_empty());
                return true;
            }
        },
    };
    if let Err(e) = pipeline::tile(&fused, &choices) {
        assert!(
            !matches!(e, pipeline::CompileError::Verify(_)),
            "{e}\n{text}"
        );
    }
    true
}

/// Tile programs as text.
pub(super) fn tile_text(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    match attnc_tile::parse(text) {
        Ok(core) => {
            let verified = attnc_tile::verify::core(&core).is_ok();
            if verified {
                let printed = attnc_tile::print(&core);
                assert_eq!(attnc_tile::parse(&printed).as_ref(), Ok(&core), "{printed}");
            }
            verified
        }
        Err(e) => {
            assert!(e.line >= 1 && e.column >= 1, "{e}");
            false
        }
    }
}

/// Tensor files: the bytes as they are, and with a length of header and data that fit what the header says.
pub(super) fn tensors(data: &[u8]) -> bool {
    let repaired = repaired(data);
    let (raw, repaired) = (tensor_file(data.to_vec()), tensor_file(repaired));
    raw || repaired
}

/// The length in front set to where the header ends, the data as long as the largest small number in the header.
fn repaired(data: &[u8]) -> Vec<u8> {
    let rest = data.get(8..).unwrap_or_default();
    let end = rest.iter().rposition(|b| *b == b'}').map_or(0, |at| at + 1);
    let header = &rest[..end];
    let numbers = header.split(|b| !b.is_ascii_digit());
    let numbers = numbers.filter_map(|n| std::str::from_utf8(n).ok()?.parse().ok());
    let length = numbers.filter(|n| *n <= 4096).max().unwrap_or(0);
    let mut out = (end as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header);
    out.extend(rest[end..].iter().chain(&[0; 4096]).take(length));
    out
}

fn tensor_file(data: Vec<u8>) -> bool {
    let Ok(file) = TensorFile::of_bytes(Path::new("a.safetensors"), data) else {
        return false;
    };
    for name in file.names() {
        let Ok(tensor) = file.load(&name) else {
            continue;
        };
        assert_eq!(tensor.shape(), file.shape(&name).expect("listed"));
        let mut written = Vec::new();
        write_safetensors(&mut written, &[("t", &tensor)], &[]).expect("memory takes it");
        let back = TensorFile::of_bytes(Path::new("b.safetensors"), written);
        let back = back.expect("what is written is read");
        let bits = |t: &Tensor| t.to_f64().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&back.load("t").expect("there")), bits(&tensor));
    }
    true
}
