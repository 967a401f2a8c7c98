// SPDX-License-Identifier: Apache-2.0 OR MIT
//! The versioned JSON form: `emit --stage graph --format json`.
//!
//! In: a graph. Out: one object with the version, the header and the nodes in topological order; and back, checked like the text.

use serde::{Deserialize, Serialize};

use crate::graph::{GraphError, Header, NodeRef, OpGraph};
use crate::op::Op;
use crate::text::VERSION;

/// Why JSON is no graph.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not of this form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// Another version.
    #[error("version {found} of the JSON form; this build reads version {VERSION}")]
    Version {
        /// What stands there.
        found: u64,
    },
    /// A node that breaks a rule.
    #[error("node {node}: {error}")]
    Node {
        /// Its number.
        node: usize,
        /// The rule.
        error: GraphError,
    },
    /// The whole breaks a rule.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// What a reader looks at before anything else.
#[derive(Deserialize)]
struct Versioned {
    attnc_graph: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    op: Op,
    operands: Vec<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    attnc_graph: u32,
    header: Header,
    nodes: Vec<Node>,
}

/// The graph as JSON.
///
/// # Errors
/// None for graphs; the signature is that of the serializer.
pub fn to_json(g: &OpGraph) -> Result<String, JsonError> {
    let nodes = g.nodes().map(|n| Node {
        op: g.op(n).clone(),
        operands: g.operands(n).iter().map(|o| o.0).collect(),
    });
    let file = File {
        attnc_graph: VERSION,
        header: g.header().clone(),
        nodes: nodes.collect(),
    };
    Ok(serde_json::to_string_pretty(&file)? + "\n")
}

/// The graph that `text` says.
///
/// # Errors
/// See [`JsonError`].
pub fn from_json(text: &str) -> Result<OpGraph, JsonError> {
    let version: Versioned = serde_json::from_str(text)?;
    if version.attnc_graph != u64::from(VERSION) {
        return Err(JsonError::Version {
            found: version.attnc_graph,
        });
    }
    let file: File = serde_json::from_str(text)?;
    file.header.check()?;
    let mut g = OpGraph::new(file.header);
    for (node, n) in file.nodes.into_iter().enumerate() {
        let operands: Vec<NodeRef> = n.operands.into_iter().map(NodeRef).collect();
        g.add(n.op, &operands)
            .map_err(|error| JsonError::Node { node, error })?;
    }
    g.output()?;
    Ok(g)
}
